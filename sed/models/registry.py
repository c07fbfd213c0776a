"""Find models by name: those that ship with the package, and those in the user's model folder.

The folder of one's own models is ``$SED_MODELS``, else ``sed-engine/models`` in the user's data
folder. A model there is ``NAME.json`` with the metadata, and the files of its weights beside it:
``NAME.safetensors`` of a checkpoint, ``NAME.onnx``, ``NAME.tflite``, or ``NAME.xml`` and
``NAME.bin`` of a graph.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sed.errors import CheckpointError, SedError, UsageError
from sed.files import private_folder, written_whole
from sed.models.metadata import FORMAT, GRAPH_FORMAT, checkpoint_files, parse_metadata
from sed.text import near, printable

SHIPPED = ("general", "everyday")
# The model that is used where none is given.
DEFAULT_MODEL = "everyday"
DEFAULT_ALIAS = "default"
# Words that options for models give a meaning of their own.
RESERVED = (*SHIPPED, DEFAULT_ALIAS, "none", "timm", "auto")

SHIPPED_FOLDER = Path(__file__).parent / "pretrained"
WEIGHT_SUFFIXES = (".safetensors", ".onnx", ".tflite", ".xml", ".bin")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,59}")


@dataclass(frozen=True)
class ModelEntry:
    """A model that has a name.

    Attributes
    ----------
    name
        Its name.
    path
        What `find_model` returns for the name.
    is_shipped
        Whether it is part of the package.
    metadata
        Content of its JSON; empty if it cannot be read.
    n_bytes
        Size of all its files.
    problem
        Why it cannot be used, as far as its JSON shows; empty if it can.
    """

    name: str
    path: Path
    is_shipped: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_bytes: int = 0
    problem: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its classes."""
        labels = self.metadata.get("labels", ())
        return tuple(map(str, labels)) if isinstance(labels, list) else ()

    @property
    def is_default(self) -> bool:
        """Whether it is used where no model is given."""
        return self.is_shipped and self.name == DEFAULT_MODEL


def own_folder() -> Path:
    """Return the folder of the user's own models: ``$SED_MODELS``, else in the data folder."""
    if chosen := os.environ.get("SED_MODELS"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_DATA_HOME"):
        return Path(chosen, "sed-engine", "models")
    try:
        return Path.home() / ".local" / "share" / "sed-engine" / "models"
    except RuntimeError:
        # Containers and services may run as a user without a home.
        return private_folder() / "models"


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """Return the file of a model.

    A word without a dot and without a separator of folders is first looked up among the names; all
    else is a path.

    Parameters
    ----------
    name_or_path
        ``general``, ``everyday``, ``default``, the name of an own model, or a path, which is
        returned as it is; None for the default model.

    Returns
    -------
    Path
        The .safetensors of a checkpoint, the .json of a registered graph, or the path.

    Raises
    ------
    UsageError
        If the name is empty.
    CheckpointError
        If there is no model of this name, and no file either.
    """
    name = DEFAULT_ALIAS if name_or_path is None else os.fspath(name_or_path)
    if not name:
        raise UsageError(
            "expected the name or the path of a model, got an empty text: `sed models` lists names"
        )
    path = Path(name)
    if not is_bare(name):
        return path
    name = DEFAULT_MODEL if name == DEFAULT_ALIAS else name
    if name in SHIPPED:
        shipped = SHIPPED_FOLDER / f"{name}.safetensors"
        if os.path.exists(shipped):
            return shipped
        raise CheckpointError(
            f"{name}: this model is not part of this installation ({shipped} is missing). "
            f"Choose another: {', '.join(_names())}."
        )
    if (own := _own_file(name)) is not None:
        return own
    # A run directory, or a checkpoint without its ending, in the working directory.
    if os.path.exists(path) or any(os.path.exists(file) for file in checkpoint_files(path)):
        return path
    raise CheckpointError(
        f"{printable(name)}: no such file, and no model of this name. {near(name, _names())} "
        f"Models are looked for in this package, in {printable(str(own_folder()))} and as a path; "
        "`sed models` lists them."
    )


def model_name(model: str | os.PathLike[str] | None) -> str:
    """Return the name of a model for people and for stored results.

    Returns
    -------
    str
        The name in full where one is given or meant, never ``default``; else the path as it is.
    """
    name = DEFAULT_ALIAS if model is None else os.fspath(model)
    return DEFAULT_MODEL if name == DEFAULT_ALIAS else name


def is_registered(name: str) -> bool:
    """Return whether a word is the name of a shipped or own model, or ``default``."""
    return is_bare(name) and (name in (*SHIPPED, DEFAULT_ALIAS) or _own_file(name) is not None)


def is_bare(name: str) -> bool:
    """Return whether a text may be a name: one word without a dot, a colon or a separator."""
    return bool(name) and not set(name) & {".", ":", "/", "~", os.sep}


def shipped_with_weights(sha256: str) -> str | None:
    """Return the name of the shipped model whose weights have a checksum, None if none has.

    What was stored under the name ``default`` is found by it when another model is the default.
    """
    for entry in list_models():
        if entry.is_shipped and entry.metadata.get("weights", {}).get("sha256") == sha256:
            return entry.name
    return None


def list_models() -> list[ModelEntry]:
    """Return the models that have a name, shipped ones first.

    Returns
    -------
    list of ModelEntry
        With a `problem` where a model's files cannot be used.
    """
    shipped = [SHIPPED_FOLDER / f"{name}.json" for name in SHIPPED]
    entries = [_entry(path, is_shipped=True) for path in shipped if os.path.exists(path)]
    with suppress(OSError):
        own = sorted(own_folder().glob("*.json"))
        entries += [_entry(path, is_shipped=False) for path in own if _NAME.fullmatch(path.stem)]
    return entries


def check_name(name: str) -> None:
    """Check that a model of one's own may have a name.

    Raises
    ------
    UsageError
        If it is not a lower-case word, or has a meaning already.
    """
    if not _NAME.fullmatch(name):
        words = re.sub(r"[^a-z0-9_-]+", "-", name.lower())
        suggestion = words.lstrip("-_0123456789")[:60].rstrip("-_")
        hint = f" Take for example {suggestion}" if _NAME.fullmatch(suggestion) else ""
        raise UsageError(
            f"{printable(name)}: a name has lower-case letters, digits, - and _, starts with a "
            f"letter and has at most 60 characters.{hint}"
        )
    if name in RESERVED:
        raise UsageError(
            f"{name}: this name is taken: {', '.join(RESERVED)} have a meaning of their own. "
            "Choose another one"
        )


def add_model(
    name: str,
    metadata: bytes,
    files: Mapping[str, str | os.PathLike[str]],
    *,
    replace: bool = False,
) -> Path:
    """Copy a model into the folder of the user's own models.

    The metadata is written last; until then a new model is not listed.

    Parameters
    ----------
    name
        See `check_name`.
    metadata
        Content of its JSON, checked by the caller.
    files
        The other files by their suffixes in the folder, such as ``.safetensors``.
    replace
        Replace a model of this name.

    Returns
    -------
    Path
        As `find_model` gives.

    Raises
    ------
    UsageError
        If the name is not allowed, or there is such a model and `replace` is not set.
    CheckpointError
        If a file cannot be read.
    OutputError
        If a file cannot be written.
    """
    check_name(name)
    folder = own_folder()
    json_path = folder / f"{name}.json"
    if os.path.exists(json_path) and not replace:
        raise UsageError(
            f"{name}: there is a model of this name in {printable(str(folder))}. Choose another "
            "name, or give --replace"
        )
    for suffix, source in files.items():
        if suffix not in WEIGHT_SUFFIXES:
            raise ValueError(f"unexpected suffix {suffix!r}")
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"{printable(os.fspath(source))}: cannot read: {error.strerror}. Check the name."
            ) from error
        with written_whole(folder / f"{name}{suffix}") as part:
            part.write_bytes(content)
    with written_whole(json_path) as part:
        part.write_bytes(metadata)
    # What an earlier model of this name had, and this one has not.
    _remove(folder / f"{name}{suffix}" for suffix in WEIGHT_SUFFIXES if suffix not in files)
    return find_model(name)


def remove_model(name: str) -> None:
    """Remove a model from the folder of the user's own models.

    Raises
    ------
    UsageError
        If it is a shipped model.
    CheckpointError
        If there is no such model.
    SedError
        If a file cannot be removed.
    """
    if name in (*SHIPPED, DEFAULT_ALIAS):
        raise UsageError(f"{name}: is part of this package and cannot be removed")
    folder = own_folder()
    own = [entry.name for entry in list_models() if not entry.is_shipped]
    if name not in own:
        known = near(name, own) if own else "There is none."
        raise CheckpointError(
            f"{printable(name)}: no such model in {printable(str(folder))}. {known}"
        )
    _remove(folder / f"{name}{suffix}" for suffix in (".json", *WEIGHT_SUFFIXES))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SedError(
                f"{printable(str(path))}: cannot remove: {error.strerror}. Check its folder."
            ) from error


def _own_file(name: str) -> Path | None:
    """Return the file of a model of one's own, None if there is none of this name."""
    if not _NAME.fullmatch(name):
        return None
    json_path = own_folder() / f"{name}.json"
    weights = json_path.with_suffix(".safetensors")
    # exists() is also False without permission to look.
    if not os.path.exists(json_path):
        return None
    return weights if os.path.exists(weights) else json_path


def _names() -> list[str]:
    return [entry.name for entry in list_models()]


def _entry(json_path: Path, *, is_shipped: bool) -> ModelEntry:
    """Return what the JSON of a model says, or why it cannot be read."""
    name = json_path.stem
    files = [json_path.with_suffix(suffix) for suffix in (".json", *WEIGHT_SUFFIXES)]
    n_bytes = sum(file.stat().st_size for file in files if os.path.exists(file))
    weights = files[1]
    path = weights if os.path.exists(weights) else json_path
    problem, metadata = "", {}
    try:
        metadata = parse_metadata(json_path.read_text("utf-8"))
    except OSError as error:
        problem = f"cannot read {json_path.name}: {error.strerror}"
    except ValueError:
        problem = f"{json_path.name} is not JSON"
    if not problem:
        kind = metadata.get("format") if isinstance(metadata, dict) else None
        if kind not in (FORMAT, GRAPH_FORMAT):
            problem = f"{json_path.name} does not describe a model"
        elif kind == FORMAT and not os.path.exists(weights):
            problem = f"{weights.name} is missing"
        metadata = metadata if isinstance(metadata, dict) else {}
    return ModelEntry(name, path, is_shipped, metadata, n_bytes, problem)
