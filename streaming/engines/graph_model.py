"""Run graphs of others, from windows of samples or log-mel to class scores, as engines."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from sed.errors import UsageError
from sed.features.log_mel import NumpyLogMel
from sed.models.devices import check_precision, n_cores
from sed.models.fork import refuse_forked
from sed.models.spec import ModelSpec, ReceptiveField
from sed.text import printable
from sed.types import Floats
from streaming.engines.base import Engine, FrameOutput, blocks_of_samples
from streaming.engines.graphs.description import (
    GraphModel,
    check_graph,
    find_graph,
    input_shape,
    read_graph_model,
)
from streaming.engines.graphs.output import are_probabilities
from streaming.engines.graphs.runtime import GraphRuntime
from streaming.engines.graphs.select import RUNTIMES, open_runtime

_log = logging.getLogger("sed.engines")


class GraphModelEngine(Engine):
    """A registered graph as an engine: the scores of a window are those of its only frame.

    Parameters
    ----------
    model
        The description of the graph.
    runtime
        The graph.
    n_streams
        Calls of `infer` that may run at once.
    n_threads
        Cores for each of them.
    """

    # A call per window anyway; small batches share the end of a recording among the streams.
    batch_size = 4
    chunk_seconds = 0.5  # live views show columns in such parts

    def __init__(
        self, model: GraphModel, runtime: GraphRuntime, n_streams: int = 1, n_threads: int = 1
    ) -> None:
        self.model = model
        self.spec = model.spec
        self.n_streams, self.n_threads = n_streams, n_threads
        self._runtime = runtime
        self._log_mel = None if model.log_mel is None else NumpyLogMel(model.log_mel)
        self._has_warned = False
        (tensor,) = runtime.inputs
        self._shape = input_shape(tensor.shape, model)

    def __str__(self) -> str:
        return str(self._runtime)

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """None: a frame depends on the whole window."""
        return None

    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel, or blocks of samples, (columns, values), of samples, (samples,)."""
        if self._log_mel is not None:
            return self._log_mel(samples)
        return blocks_of_samples(samples, self.spec.log_mel.hop_length)

    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the probabilities of windows, shape (batch, columns, values), one frame each."""
        refuse_forked()
        rows = [
            self._runtime.run(window.reshape(self._shape), [self.model.output])[0].reshape(-1)
            for window in log_mel
        ]
        scores = np.stack(rows)
        if self.model.activation == "none" and not self._has_warned:
            self._warn_of(scores)
        probs = probabilities(scores, self.model.activation)[:, None]
        heads = probs[:, :, None]
        return FrameOutput(probs, heads, np.broadcast_to(np.float32(1.0), heads.shape))

    def _warn_of(self, scores: Floats) -> None:
        """Say it once if scores are taken as they are, and are no probabilities."""
        if not are_probabilities(scores):
            self._has_warned = True
            _log.warning(
                "%s: the output %s gives %.3g, which is no probability. Register the graph again, "
                "with --activation sigmoid or softmax, as its authors say",
                printable(self.model.file),
                printable(self.model.output),
                scores.flat[np.argmax(np.abs(np.nan_to_num(scores) - 0.5))],
            )


def probabilities(scores: Floats, activation: str) -> Floats:
    """Return probabilities for scores, shape (windows, classes)."""
    if activation == "none":
        return scores
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
    # Beyond ±80 exp would overflow in fp32, and the result is 0 or 1 long before.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scores, -80.0, 80.0))), np.float32)


def open_graph_model(
    path: Path,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    n_streams: int | None = None,
    n_threads: int = 1,
    layer: str | None = None,
) -> GraphModelEngine:
    """Return an engine for a registered graph; see `streaming.engines.select.open_engine`.

    Parameters
    ----------
    path
        Its description.
    engine, device, precision, n_streams, n_threads, layer
        As for `open_engine`.

    Raises
    ------
    UsageError
        If an option does not fit the graph.
    CheckpointError
        If the graph cannot be loaded, or is not the one that was registered.
    MissingExtraError
        If a package is not installed.
    """
    if layer is not None:
        raise UsageError(
            "a registered graph gives scores and no embeddings: give `sed embed` a graph in ONNX "
            "by its path, with --layer OUTPUT"
        )
    if device not in ("auto", "cpu"):
        raise UsageError(f"graphs run on the CPU: leave out --device {device}")
    check_precision(precision, on_gpu=False)
    if precision not in ("auto", "fp32"):
        raise UsageError(f"registered graphs run in fp32, not in {precision}")
    model = read_graph_model(path)
    graph = check_graph(path, model)
    n_streams = n_streams or n_cores()
    runtime = open_runtime(graph, engine, n_streams=n_streams, n_threads=n_threads)
    return GraphModelEngine(model, runtime, n_streams, n_threads)


def spec_of_graph(model: object) -> ModelSpec | None:
    """Return input and output of a registered graph without loading it; None for other models.

    Raises
    ------
    CheckpointError
        If its description is wrong.
    """
    graph = find_graph(model)
    return None if graph is None else read_graph_model(graph).spec


def engines_of_graph(model: object) -> tuple[str, ...]:
    """Return the names of the engines that run a registered graph; none for other models.

    Raises
    ------
    CheckpointError
        If its description is wrong.
    """
    graph = find_graph(model)
    return () if graph is None else RUNTIMES[Path(read_graph_model(graph).file).suffix]
