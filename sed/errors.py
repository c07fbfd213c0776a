"""Exceptions of this package, with messages for people.

::

    ValueError
    └── UsageError                  wrong options or arguments (exit status 2)
    SedError                        a cause outside the program: file, device, disk (exit status 1)
    ├── RecordingError              a recording cannot be read
    │   ├── DamagedRecordingError   a recording is damaged from some second on
    │   └── NoSoundError            all samples are zero, or some are not numbers
    ├── CheckpointError             a model file is missing, damaged or not of this package
    ├── TableError                  a table of labelled clips has faulty rows
    ├── OutputError                 a result cannot be written
    ├── DatabaseError               a database is not of this package, or in use
    ├── DeviceError                 a sound device or a GPU is not available
    └── MissingExtraError           an optional package is not installed

A message names the file or device, says what was expected, and ends with the remedy.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from sed.text import printable, without_controls

# Exit statuses; 130 is the one that shells use for Ctrl-C.
OK, FAILED, MISUSE, INTERRUPTED = 0, 1, 2, 130


class UsageError(ValueError):
    """Wrong options or arguments, which the user can correct."""

    def __str__(self) -> str:
        """Return the message, without characters that steer a terminal."""
        return without_controls(super().__str__())


class SedError(Exception):
    """Base of all errors whose cause is outside the program: a file, a device, a disk."""

    def __str__(self) -> str:
        """Return the message, without characters that steer a terminal."""
        return without_controls(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled by its message: the arguments of its class may be others.
        return _unpickled, (type(self), *self.args), self.__dict__


def _unpickled(kind: type[SedError], *arguments: object) -> SedError:
    return kind.__new__(kind, *arguments)


class RecordingError(SedError):
    """A recording cannot be read: `path` names it, `reason` gives the cause and the remedy."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        super().__init__(f"{printable(self.path)}: {reason}")


class DamagedRecordingError(RecordingError):
    """A recording is damaged from `seconds` on; the samples before are good."""

    def __init__(self, path: str | os.PathLike[str], seconds: float, reason: str) -> None:
        self.seconds = seconds
        self.damage = reason
        super().__init__(path, f"damaged at {seconds:.3f} s: {reason}")


class NoSoundError(RecordingError):
    """The samples of a recording are all zero, or some are not numbers and were made zero."""


class CheckpointError(SedError):
    """A checkpoint is missing, corrupt, not of this package, or of another format version."""


class TableError(SedError):
    """A table of labelled clips has faulty rows."""


class OutputError(SedError):
    """A result cannot be written, because of `error`."""

    def __init__(self, path: str | os.PathLike[str], error: OSError) -> None:
        self.path = os.fspath(path)
        self.error = error
        reason = error.strerror or str(error)
        # A file in the place of a folder, or the other way round.
        is_taken = isinstance(error, (FileExistsError, NotADirectoryError, IsADirectoryError))
        remedy = "Choose another name." if is_taken else "Free some space or choose another place."
        super().__init__(f"{printable(self.path)}: cannot write: {reason}. {remedy}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.error)


class MissingExtraError(SedError):
    """An optional dependency is needed and not installed."""

    def __init__(self, purpose: str, extra: str, alternative: str = "") -> None:
        self._arguments = purpose, extra, alternative
        super().__init__(
            f"{purpose} needs an extra: pip install 'sed-engine[{extra}]'{alternative}"
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self._arguments


# The extra that brings a package.
_EXTRAS = {
    "albumentations": "train",
    "astral": "sun",
    "colorednoise": "train",
    "matplotlib": "plot",
    "onnx": "torch",
    "paho": "mqtt",
    "pandas": "train",
    "pyarrow": "parquet",
    "sklearn": "train",
    "starlette": "web",
    "tensorboardX": "train",
    "timm": "torch",
    "torch": "torch",
    "torchlibrosa": "train",
    "transformers": "hf",
}


def check_extra(package: str, purpose: str) -> None:
    """Make sure that a package of an extra is installed, before work begins that needs it.

    Raises
    ------
    MissingExtraError
        If it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(purpose, _EXTRAS[package])


def missing_extra(
    purpose: str, error: ModuleNotFoundError, extra: str | None = None
) -> MissingExtraError | None:
    """Return the error that names the extra for a package that is not installed.

    Parameters
    ----------
    purpose
        What needs the package, for the message.
    error
        What the import raised.
    extra
        The extra to name; that of the package if not given.

    Returns
    -------
    MissingExtraError or None
        None if the package is of no extra: the error is one of this package or of its environment.
    """
    package = (error.name or "").partition(".")[0]
    return MissingExtraError(purpose, extra or _EXTRAS[package]) if package in _EXTRAS else None
