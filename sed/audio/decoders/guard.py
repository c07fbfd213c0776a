"""Keep what libraries raise and print while they read a recording from leaving this layer."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sed.errors import RecordingError, SedError, UsageError
from sed.text import printable


@contextmanager
def recording_errors(path: str) -> Iterator[None]:
    """Turn any error into one about a recording.

    Libraries raise all kinds for files that are mutated or odd: UnicodeDecodeError, ValueError,
    OverflowError, MemoryError, struct.error, RuntimeError.

    Parameters
    ----------
    path
        Name of the recording in the message.

    Raises
    ------
    RecordingError
        For every error that is not a `SedError` or a `UsageError` already.
    """
    try:
        yield
    except (SedError, UsageError):
        raise
    except Exception as error:
        raise RecordingError(
            path,
            f"cannot be read ({type(error).__name__}: {reason_of(error)}). Check its content, or "
            "convert it.",
        ) from error


def reason_of(error: Exception) -> str:
    """Return what an error says, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(str(text).split()))


class _Quiet:
    """Silences what C libraries print, while any thread is inside.

    libmpg123 and libsndfile print warnings with C's ``stdout`` and ``stderr``, among the results
    and over the progress bar. These two variables of the C library, which Python does not use,
    point to the null device meanwhile; the file descriptors stay as they are, so nothing that
    another thread or a child process writes is lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._streams = _c_streams()
        self._saved: list[int | None] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_inside:
                self._saved = [stream.value for stream, _null in self._streams]
                for stream, null in self._streams:
                    stream.value = null
            self._n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                for (stream, _null), value in zip(self._streams, self._saved, strict=True):
                    stream.value = value


def _c_streams() -> list[tuple[ctypes.c_void_p, int]]:
    """Return the variables stdout and stderr of the C library, each with a stream to nowhere."""
    names = {"linux": ("stdout", "stderr"), "darwin": ("__stdoutp", "__stderrp")}
    try:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        null = library.fopen(os.devnull.encode(), b"w")
        streams = [ctypes.c_void_p.in_dll(library, name) for name in names[sys.platform]]
    except (KeyError, OSError, TypeError, ValueError, AttributeError):
        return []
    return [(stream, null) for stream in streams] if null else []


QUIET = _Quiet()
