"""What can go wrong, as a person should read it.

::

    ValueError
    └── UsageError                  the command or the call asked for what cannot be (exit status 2)
    SedError                        the world: a file, a device, a disk (exit status 1)
    ├── RecordingError              a recording cannot be read at all
    │   └── DamagedRecordingError   ... from some moment on; what came before is good
    ├── CheckpointError             a model file is not one of ours, or broken
    ├── TableError                  a table of labelled clips has faulty rows
    ├── OutputError                 a result cannot be written
    ├── DatabaseError               a database or journal of another program, or one in use
    ├── DeviceError                 a sound device or a GPU that is not there
    ├── ClusterError                a Ray cluster that cannot be joined, or does not do its work
    ├── WorkerError                 a process that should hear recordings could not start
    └── MissingExtraError           an optional package is not installed

A message names the file or device and ends with what to do next.
"""

from __future__ import annotations

import os

from sed.text import printable

OK, FAILED, MISUSE, INTERRUPTED = 0, 1, 2, 130  # exit statuses; the last is a shell's for Ctrl-C


class UsageError(ValueError):
    """Misuse that a person at the command line can cause and mend."""


class SedError(Exception):
    """Base of every error whose cause lies outside the program."""


class RecordingError(SedError):
    """A recording that cannot be read; `path` names it, `reason` says why."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        super().__init__(f"{printable(self.path)}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.reason)


class DamagedRecordingError(RecordingError):
    """A recording that is good up to `seconds` and damaged from there on."""

    def __init__(self, path: str | os.PathLike[str], seconds: float, reason: str) -> None:
        self.seconds = seconds
        self.damage = reason
        super().__init__(path, f"damaged at {seconds:.3f} s: {reason}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.seconds, self.damage)


class CheckpointError(SedError):
    """A checkpoint that is missing, corrupt, foreign or newer than this version."""


class TableError(SedError):
    """A table of labelled clips that cannot be trained on."""


class OutputError(SedError):
    """A result that cannot be written."""

    def __init__(self, path: str | os.PathLike[str], error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(
            f"{printable(os.fspath(path))}: cannot write: {reason}. "
            "Free some space or choose another place."
        )


class MissingExtraError(SedError):
    """An optional dependency that is needed now and not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs an extra: pip install 'sed-engine[{extra}]'")
