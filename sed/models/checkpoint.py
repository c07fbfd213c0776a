"""A model as two files: weights in `NAME.safetensors`, everything else in readable `NAME.json`.

Nothing in either is executed on loading.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from sed.config import config_from_dict
from sed.errors import CheckpointError
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.files import written_whole
from sed.models.metadata import (
    DEFAULT,
    FORMAT,
    FORMAT_VERSION,
    check_weights,
    checkpoint_files,
    library_versions,
    read_metadata,
    sha256_of,
)
from sed.models.network import ModelConfig, SedModel
from sed.models.spec import ModelSpec
from sed.text import printable
from sed.timeline import Timeline


@dataclass
class Checkpoint:
    """A model with all that is needed to use it."""

    model: SedModel
    labels: tuple[str, ...]  # one per class
    window_seconds: float = 5.0  # length of the model's input
    post_processing: TrackerConfig = field(default_factory=TrackerConfig)
    metrics: dict[str, Any] = field(default_factory=dict)  # how good it was, and on what
    data: dict[str, Any] = field(default_factory=dict)  # what it was trained on, and its licence
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries that made it
    path: str = ""  # where it was loaded from

    @property
    def timeline(self) -> Timeline:
        """The grid that the model's frames lie on."""
        log_mel = self.model.log_mel.config
        return Timeline(log_mel.sample_rate, log_mel.hop_length, self.model.frame_columns)

    @property
    def window_columns(self) -> int:
        """Columns in a window."""
        return self.timeline.columns_from_seconds(self.window_seconds)

    @property
    def spec(self) -> ModelSpec:
        """What the model hears and says, without its weights."""
        return ModelSpec(
            self.labels,
            self.model.log_mel.config,
            self.model.frame_columns,
            self.model.n_frames(self.window_columns),
            self.window_seconds,
            self.post_processing,
        )


def save_checkpoint(
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write `path` (ending in .safetensors) and the .json beside it, each whole or not at all.

    The JSON is written last and holds the checksum of the weights, so a pair that was torn apart
    by a crash is recognised.

    Parameters
    ----------
    checkpoint
        What to save.
    path
        Where to; the ending is set to .safetensors.
    dtype
        What floating-point weights are stored as.
    """
    weights_path, json_path = checkpoint_files(path)
    tensors = {
        name: (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in checkpoint.model.state_dict().items()
    }
    with written_whole(weights_path) as part:
        part.write_bytes(safetensors.torch.save(tensors))
        checksum = sha256_of(part)
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "labels": list(checkpoint.labels),
        **checkpoint.model.as_dict(),
        "window_seconds": checkpoint.window_seconds,
        "post_processing": dataclasses.asdict(checkpoint.post_processing),
        "metrics": checkpoint.metrics,
        "data": checkpoint.data,
        "versions": checkpoint.versions or library_versions(),
        "weights": {"sha256": checksum, "dtype": str(dtype).removeprefix("torch.")},
    }
    with written_whole(json_path) as part:
        part.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Load a checkpoint by either of its two files, on the CPU, ready for inference.

    Raises
    ------
    CheckpointError
        If a file is missing, corrupt, truncated, foreign, or of a newer format.
    """
    weights_path, _ = checkpoint_files(path)
    about = read_metadata(path)
    name = printable(str(weights_path))
    try:
        check_weights(path, about)
        tensors = safetensors.torch.load_file(weights_path)
        tensors = {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}
        labels = tuple(about["labels"])
        model = SedModel(
            config_from_dict(ModelConfig, about["model"], "model"),
            config_from_dict(LogMelConfig, about["log_mel"], "log_mel"),
            len(labels),
        )
        model.load_state_dict(tensors)
        return Checkpoint(
            model.eval(),
            labels,
            float(about["window_seconds"]),
            config_from_dict(TrackerConfig, about["post_processing"], "post_processing"),
            about["metrics"],
            about["data"],
            about["versions"],
            str(weights_path),
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
            f"{name}: weights and description do not fit together "
            f"({' '.join(str(error).split())[:300]}). Copy both again."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror or error}.") from error


def load_model(path: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Load a model by path, or the one that ships with the package."""
    return load_checkpoint(DEFAULT if path is None else path)
