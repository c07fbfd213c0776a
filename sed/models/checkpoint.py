"""Save and load a model as two files: `NAME.safetensors` with weights, `NAME.json` with the rest.

Loading executes nothing that is in the files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from sed.config import config_from_dict
from sed.errors import CheckpointError
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.files import written_whole
from sed.models.backbone import ModelConfig, parameters_on_paper
from sed.models.fork import refuse_forked
from sed.models.heads.added import AddedHeadConfig
from sed.models.metadata import (
    FORMAT,
    FORMAT_VERSION,
    check_weights,
    checkpoint_files,
    library_versions,
    read_metadata,
    sha256_of,
)
from sed.models.network import SedModel
from sed.models.registry import DEFAULT_MODEL, find_model
from sed.models.spec import ModelSpec, hierarchy_of
from sed.text import message_of, printable, some
from sed.timeline import Timeline


@dataclass(repr=False)
class Checkpoint:
    """A network with everything that is needed to use it.

    Attributes
    ----------
    model
        The network.
    labels
        Names of the classes, in the order of its outputs.
    window_seconds
        Length of the input windows.
    post_processing
        Thresholds and durations that turn frame probabilities into events.
    metrics
        Metrics of the model, by the data that they were measured on.
    data
        What the model was trained on, and its licence.
    versions
        Versions of the libraries that trained it.
    path
        File of the weights, where it was loaded from one.
    hierarchy
        Which classes belong to which; None if the model does not say.
    audioset
        Display name and id in AudioSet (``name``, ``id``) of the classes that are in it.
    """

    model: SedModel
    labels: tuple[str, ...]
    window_seconds: float = 5.0
    post_processing: TrackerConfig = field(default_factory=TrackerConfig)
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    path: str = ""
    hierarchy: Hierarchy | None = None
    audioset: dict[str, dict[str, str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return three lines: network, classes, grid."""
        n_parameters = sum(p.numel() for p in self.model.parameters())
        log_mel, timeline = self.model.log_mel.config, self.timeline
        return (
            f"Checkpoint({self.path!r}: {self.model.config.backbone}, "
            f"{n_parameters:,} parameters,\n"
            f"  {len(self.labels)} classes: {some(self.labels, 5)},\n"
            f"  {log_mel.sample_rate} Hz, {log_mel.n_mels} mel bands, windows of "
            f"{self.window_seconds:g} s, frames of {1000 * timeline.frame_seconds:g} ms)"
        )

    @property
    def spec(self) -> ModelSpec:
        """Description of input and output of the network, without its weights."""
        log_mel, frame_columns = self.model.log_mel.config, self.model.frame_columns
        timeline = Timeline(log_mel.sample_rate, log_mel.hop_length, frame_columns)
        return ModelSpec(
            self.labels,
            log_mel,
            frame_columns,
            self.model.n_frames(timeline.columns_from_seconds(self.window_seconds)),
            self.window_seconds,
            self.post_processing,
            hierarchy=self.hierarchy,
        )

    @property
    def timeline(self) -> Timeline:
        """Grid of columns and frames."""
        return self.spec.timeline

    @property
    def window_columns(self) -> int:
        """Columns of a window."""
        return self.spec.window_columns


def save_checkpoint(
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Save a checkpoint to `path` (.safetensors) and the .json beside it, each atomically.

    The JSON is written last and holds the checksum of the weights, so that a crash between the
    two files is detected on loading.

    Parameters
    ----------
    checkpoint
        The checkpoint.
    path
        The file; its ending is replaced by .safetensors.
    dtype
        Type in which floating-point weights are stored.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    weights_path, json_path = checkpoint_files(path)
    tensors = {
        name: (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in checkpoint.model.state_dict().items()
    }
    with written_whole(weights_path) as part:
        part.write_bytes(safetensors.torch.save(tensors))
        checksum = sha256_of(part)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "labels": list(checkpoint.labels),
        **checkpoint.model.as_dict(),
        "window_seconds": checkpoint.window_seconds,
        "post_processing": checkpoint.post_processing.as_dict(),
        "metrics": checkpoint.metrics,
        "data": checkpoint.data,
        "versions": checkpoint.versions or library_versions(),
        "weights": {"sha256": checksum, "dtype": str(dtype).removeprefix("torch.")},
    }
    if checkpoint.hierarchy is not None:
        metadata["hierarchy"] = checkpoint.hierarchy.as_dict()
    if checkpoint.audioset:
        metadata["audioset"] = checkpoint.audioset
    with written_whole(json_path) as part:
        part.write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Load a checkpoint to the CPU, in inference mode.

    Parameters
    ----------
    path
        Either of its two files, a run directory, or the name of a model, such as ``general``; see
        `sed.models.registry.find_model`.

    Raises
    ------
    CheckpointError
        If a file is missing, corrupt, truncated, not of this package, or of another format
        version, or there is no model of this name.
    UsageError
        If this process was forked from one that had loaded a model.
    """
    refuse_forked()
    path = find_model(path)
    weights_path, _ = checkpoint_files(path)
    metadata = read_metadata(path)
    name = printable(str(weights_path))
    try:
        check_weights(path, metadata)
        tensors = safetensors.torch.load_file(weights_path)
        tensors = {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}
        labels = tuple(metadata["labels"])
        added_heads = [
            config_from_dict(AddedHeadConfig, values, "added_heads")
            for values in metadata.get("added_heads", ())
        ]
        config = config_from_dict(ModelConfig, metadata["model"], "model")
        n_classes = len(labels) - sum(added.n_classes for added in added_heads)
        _check_sizes(config, n_classes, added_heads, tensors)
        model = SedModel(
            config,
            config_from_dict(LogMelConfig, metadata["log_mel"], "log_mel"),
            n_classes,
            added_heads,
        )
        model.load_state_dict(tensors)
        return Checkpoint(
            model.eval(),
            labels,
            float(metadata["window_seconds"]),
            config_from_dict(TrackerConfig, metadata["post_processing"], "post_processing"),
            metadata["metrics"],
            metadata["data"],
            metadata["versions"],
            str(weights_path),
            hierarchy_of(metadata, labels),
            metadata.get("audioset", {}),
        )
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise CheckpointError(
            f"{name}: weights and metadata do not fit together "
            f"({message_of(error)}). Copy both again."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror or error}.") from error


def _check_sizes(
    config: ModelConfig,
    n_classes: int,
    added_heads: Sequence[AddedHeadConfig],
    tensors: Mapping[str, Tensor],
) -> None:
    """Refuse a network that would be larger than its weights, before memory is taken for it."""
    expected = {"hidden.weight": config.hidden} if config.hidden else {}
    if n_classes:
        names = (f"heads.{i}.{part}.weight" for i in range(config.n_heads)
                 for part in ("classes", "attention"))  # fmt: skip
        expected |= dict.fromkeys(names, n_classes)
    for i, added in enumerate(added_heads):
        is_knn = added.kind == "knn"
        expected[f"added_heads.{i}.{'targets' if is_knn else 'classes.weight'}"] = added.n_classes
        if is_knn:
            expected[f"added_heads.{i}.examples.weight"] = added.n_examples
        elif added.kind == "mlp":
            expected[f"added_heads.{i}.hidden.weight"] = added.hidden
    for name, n_rows in expected.items():
        if name not in tensors or tensors[name].shape[:1] != (n_rows,):
            raise ValueError(f"size mismatch: the weights have no {name} of {n_rows:,} rows")
    if any(isinstance(value, int | float) for value in config.backbone_args.values()):
        n_values = parameters_on_paper(config)
        n_there = sum(t.numel() for name, t in tensors.items() if name.startswith("backbone."))
        if n_values > n_there:
            raise ValueError(f"the backbone has {n_values:,} weights, and {n_there:,} are there")


def load_model(path: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Load a checkpoint by its name or path, by default the default model of the package.

    Parameters
    ----------
    path
        As in `load_checkpoint`; None for the default model.

    Returns
    -------
    Checkpoint
        The network with its labels, thresholds and metrics, on the CPU, in inference mode.

    Raises
    ------
    CheckpointError
        As `load_checkpoint`.
    """
    return load_checkpoint(DEFAULT_MODEL if path is None else path)
