"""Run exported graphs: the base of the engines for them. torch, which loads slowly, stays out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sed.errors import CheckpointError, UsageError
from sed.features.log_mel import NumpyLogMel
from sed.models.fork import refuse_forked
from sed.models.metadata import FORMAT_VERSION
from sed.models.spec import ModelSpec, ReceptiveField
from sed.text import printable
from sed.types import Floats
from streaming.engines.base import Engine, FrameOutput, concat, sub_batches
from streaming.export.onnx_file import EMBEDDINGS, FRAME_OUTPUT_NAMES

MAX_FRAMES, MAX_FEATURES = 1_000_000, 1_000_000  # that metadata may give


class GraphEngine(Engine):
    """The part of a graph from log-mel to frame probabilities; NumPy computes the log-mel.

    Parameters
    ----------
    path
        The graph, for messages.
    metadata
        The metadata that was exported with the graph.
    n_streams
        Calls of `infer` that may run at once.
    n_threads
        Cores for each of them.
    layer
        Layer whose output to give as embeddings; none if None.

    Raises
    ------
    CheckpointError
        If the metadata is of another version, or incomplete.
    UsageError
        If the graph was exported with another layer.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Any],
        n_streams: int,
        n_threads: int,
        layer: str | None = None,
    ) -> None:
        name = printable(str(path))
        self.spec, self._receptive_field = read_graph_spec(path, metadata)
        self.n_streams = n_streams
        self.n_threads = n_threads
        self.output_names: tuple[str, ...] = FRAME_OUTPUT_NAMES
        if layer is not None:
            self._set_layer(name, layer, metadata.get("embeddings", {}))
        self._log_mel = NumpyLogMel(self.spec.log_mel)

    def _set_layer(self, name: str, layer: str, embeddings: Mapping[str, Any]) -> None:
        if layer != embeddings.get("layer"):
            there = embeddings.get("layer", "none: it was exported by an older version")
            raise UsageError(
                f"{name}: this graph gives the layer {there}, not {layer}. Give its checkpoint, or "
                "export it again."
            )
        n_features = embeddings.get("n_features")
        if not isinstance(n_features, int) or not 1 <= n_features <= MAX_FEATURES:
            raise CheckpointError(
                f"{name}: the metadata give no width of {layer}. Export it again."
            )
        self.layer, self.n_features = layer, n_features
        self.output_names = (*FRAME_OUTPUT_NAMES, EMBEDDINGS)

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """Receptive field of a frame of the network; None if it is the whole window."""
        return self._receptive_field

    @property
    def _threads(self) -> str:
        n = self.n_streams * self.n_threads
        return f"{n} thread{'s' * (n != 1)}"

    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel spectrogram, shape (columns, mels), of samples, shape (samples,)."""
        return self._log_mel(samples)

    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the frame-wise output for a batch of log-mels, shape (batch, columns, mels)."""
        refuse_forked()
        return concat(self._infer(part) for part in sub_batches(log_mel))[: len(log_mel)]

    @abstractmethod
    def _infer(self, log_mel: Floats) -> FrameOutput:
        """Return the output for a sub-batch."""


def read_graph_spec(
    path: Path, metadata: Mapping[str, Any]
) -> tuple[ModelSpec, ReceptiveField | None]:
    """Return input and output of an exported graph, and its receptive field, which may be none.

    Parameters
    ----------
    path
        The graph, for messages.
    metadata
        The metadata that was exported with the graph.

    Raises
    ------
    CheckpointError
        If the metadata is of another version, incomplete, or has numbers out of bounds.
    """
    name = printable(str(path))
    version = metadata.get("format_version", 1)
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        raise CheckpointError(
            f"{name}: exported by a newer version. Upgrade: pip install -U sed-engine."
            if newer
            else f"{name}: exported by an older version: export again with `sed export`."
        )
    try:
        field = metadata["receptive_field"]
        is_local = field is not None
        return ModelSpec.from_dict(metadata["spec"]), _receptive_field(*field) if is_local else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name}: the metadata of this graph is incomplete ({error}). Export it again."
        ) from error


def _receptive_field(before: int, after: int) -> ReceptiveField:
    """Return a receptive field that metadata give; a wrong one raises `ValueError`."""
    if not all(isinstance(n, int) and 0 <= n <= MAX_FRAMES for n in (before, after)):
        raise ValueError(f"expected receptive_field from 0 to {MAX_FRAMES:,} frames")
    return ReceptiveField(before, after)
