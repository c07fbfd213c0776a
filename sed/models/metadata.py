"""Read and check the metadata of a checkpoint without its weights, and without torch."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sed.errors import CheckpointError
from sed.files import parse_json
from sed.models.bounds import check_metadata
from sed.text import printable, without_controls

FORMAT = "sed-engine checkpoint"
FORMAT_VERSION = 2
FITTED_FORMAT = "sed-engine fitted head"  # see train.fit.fitted
GRAPH_FORMAT = "sed-engine graph"  # see streaming.engines.graphs.description


def checkpoint_files(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the two files of a checkpoint, weights and metadata.

    Parameters
    ----------
    path
        Either file, or a run directory for its best checkpoint.
    """
    path = Path(path)
    if os.path.isdir(path):
        path = path / "best"
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def check_weights(path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> None:
    """Check that the weights of a checkpoint have the checksum in its metadata.

    Raises
    ------
    CheckpointError
        If they are missing, corrupt, truncated or of another run.
    """
    weights_path, json_path = checkpoint_files(path)
    name = printable(str(weights_path))
    if not os.path.isfile(weights_path):
        raise CheckpointError(f"{name}: not found. Keep the .safetensors beside the .json.")
    weights = metadata.get("weights")
    checksum = weights.get("sha256") if isinstance(weights, dict) else None
    try:
        is_same = checksum == sha256_of(weights_path)
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror}.") from error
    if not is_same:
        raise CheckpointError(
            f"{name}: the weights are not those that {json_path.name} describes: corrupt, "
            "truncated or from another run. Copy both files again."
        )


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata of a checkpoint: the content of its .json file.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, or of another format version.
    """
    weights_path, json_path = checkpoint_files(path)
    name = printable(os.fspath(path))
    foreign = (
        f"{name}: not a checkpoint of this engine. Give the .safetensors (or .json) that "
        "`sed train` wrote, or leave out --model for the default one."
    )
    if not any(map(os.path.exists, (path, weights_path, json_path))):
        raise CheckpointError(f"{name}: no such file. Check the name.")
    try:
        metadata = parse_metadata(json_path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{foreign} ({json_path.name} is missing beside it.)") from None
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{foreign} ({json_path.name} is not JSON: {error}.)") from error
    if isinstance(metadata, dict) and metadata.get("format") == FITTED_FORMAT:
        raise CheckpointError(
            f"{name}: a head that `sed fit` wrote for whole recordings, not a checkpoint. Use it "
            f"with `sed predict {name} RECORDINGS`."
        )
    if isinstance(metadata, dict) and metadata.get("format") == GRAPH_FORMAT:
        raise CheckpointError(
            f"{name}: a graph that `sed models add` registered, not a checkpoint of this engine: "
            "`sed detect` and `sed listen` take it, and in Python sed.open_engine."
        )
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise CheckpointError(foreign)
    format_version = metadata.get("format_version")
    if format_version != FORMAT_VERSION:
        is_older = isinstance(format_version, int) and format_version < FORMAT_VERSION
        remedy = "Train it again" if is_older else "Upgrade: pip install -U sed-engine"
        raise CheckpointError(
            f"{name}: format version {format_version}, and this sed-engine reads version "
            f"{FORMAT_VERSION} only. {remedy}."
        )
    try:
        check_metadata(metadata)
    except ValueError as error:
        raise CheckpointError(
            f"{name}: weights and metadata do not fit together: {error}. {json_path.name} is "
            "damaged, or not of a model: copy both files again."
        ) from error
    return dict(metadata)


def parse_metadata(text: str | bytes) -> Any:
    """Return the metadata of a model, JSON, without characters that steer a terminal.

    Its names and texts are printed, and it may come from anywhere; see `without_controls`.

    Raises
    ------
    ValueError
        If it is not JSON.
    """
    try:
        return _clean(parse_json(text))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return without_controls(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {without_controls(key): _clean(item) for key, item in value.items()}
    return value


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that determine results, if installed."""
    versions = {"python": platform.python_version()}
    for name in ("sed-engine", "torch", "timm", "numpy"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def sha256_of(path: Path) -> str:
    """Return the SHA-256 checksum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
