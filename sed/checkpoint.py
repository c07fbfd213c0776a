"""A model as two files: weights in `NAME.safetensors`, everything else in readable `NAME.json`.

Nothing in either is executed on loading.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from sed.configs import config_from_dict
from sed.errors import CheckpointError, printable
from sed.events import TrackerConfig
from sed.features import LogMelConfig
from sed.files import written_whole
from sed.model import ModelConfig, SedModel
from sed.timeline import Timeline

FORMAT = "sed-engine checkpoint"
FORMAT_VERSION = 1
DEFAULT = Path(__file__).parent / "models" / "default.safetensors"


@dataclass
class Checkpoint:
    """A model with all that is needed to use it."""

    model: SedModel
    labels: tuple[str, ...]  # one per class
    window_seconds: float = 5.0  # length of the model's input
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    metrics: dict[str, Any] = field(default_factory=dict)  # how good it was, and on what
    data: dict[str, Any] = field(default_factory=dict)  # what it was trained on, and its licence
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries that made it
    path: str = ""  # where it was loaded from

    @property
    def timeline(self) -> Timeline:
        """The grid that the model's frames lie on."""
        front_end = self.model.log_mel.config
        return Timeline(front_end.sample_rate, front_end.hop_samples, self.model.frame_columns)

    @property
    def window_columns(self) -> int:
        """Columns in a window."""
        return self.timeline.columns_from_seconds(self.window_seconds)


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
    weights_path, json_path = _pair(Path(path))
    tensors = {
        name: (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in checkpoint.model.state_dict().items()
    }
    with written_whole(weights_path) as part:
        part.write_bytes(safetensors.torch.save(tensors))
        checksum = _sha256(part)
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "labels": list(checkpoint.labels),
        **checkpoint.model.as_dict(),
        "window_seconds": checkpoint.window_seconds,
        "tracker": dataclasses.asdict(checkpoint.tracker),
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
    weights_path, _ = _pair(Path(path))
    about = read_about(path)
    name = printable(str(weights_path))
    try:
        check_weights(path, about)
        tensors = safetensors.torch.load_file(weights_path)
        tensors = {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}
        labels = tuple(about["labels"])
        model = SedModel(
            config_from_dict(ModelConfig, about["model"], "model"),
            config_from_dict(LogMelConfig, about["front_end"], "front_end"),
            len(labels),
        )
        model.load_state_dict(tensors)
        return Checkpoint(
            model.eval(),
            labels,
            float(about["window_seconds"]),
            config_from_dict(TrackerConfig, about["tracker"], "tracker"),
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


def check_weights(path: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
    """Make sure that the weights beside a description are those that it describes.

    Raises
    ------
    CheckpointError
        If they are missing, corrupt, truncated or others.
    """
    weights_path, json_path = _pair(Path(path))
    name = printable(str(weights_path))
    if not weights_path.is_file():
        raise CheckpointError(f"{name}: not found. Keep the .safetensors beside the .json.")
    if about["weights"]["sha256"] != _sha256(weights_path):
        raise CheckpointError(
            f"{name}: the weights are not those that {json_path.name} describes: corrupt, "
            "truncated or from another run. Copy both files again."
        )


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the description of a checkpoint without loading its weights.

    Raises
    ------
    CheckpointError
        If there is none, or it is not one that this version reads.
    """
    weights_path, json_path = _pair(Path(path))
    name = printable(os.fspath(path))
    foreign = (
        f"{name}: not a checkpoint of this engine. Give the .safetensors (or .json) that "
        "`sed train` wrote, or leave out --model for the default one."
    )
    if not (Path(path).exists() or weights_path.exists() or json_path.exists()):
        raise CheckpointError(f"{name}: no such file. Check --model, or leave it out.")
    try:
        about = json.loads(json_path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{foreign} ({json_path.name} is missing beside it.)") from None
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{foreign} ({json_path.name} is no JSON: {error}.)") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CheckpointError(foreign)
    version = about.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{name}: format version {version}, and this sed-engine reads up to {FORMAT_VERSION}. "
            "Upgrade: pip install -U sed-engine."
        )
    return about


def load_model(path: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Load a model by path, or the one that ships with the package."""
    return load_checkpoint(DEFAULT if path is None else path)


def library_versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    names = ("sed-engine", "torch", "timm", "numpy")
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}


def _pair(path: Path) -> tuple[Path, Path]:
    """Return both files of a checkpoint; a run directory stands for its best one."""
    if path.is_dir():
        path = path / "best"
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
