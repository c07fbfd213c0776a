"""Recordings that lie elsewhere: ``s3://``, ``gs://``, ``https://`` and whatever else fsspec knows.

They are copied to this machine while they are heard, and keep their names.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sed.errors import MissingExtraError, RecordingError
from sed.text import printable

_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*(://|::)")


class RemoteFile(NamedTuple):
    """A file that was found."""

    path: str  # with the protocol
    name: str  # relative to the folder that was searched; its own name if it was itself named
    n_bytes: int  # 0 if unknown


def is_remote(path: str) -> bool:
    """Return whether a path begins with a protocol."""
    return _PROTOCOL.match(path) is not None


def remote_files(path: str) -> Iterator[RemoteFile]:
    """Yield the files below a remote folder, in the order of their names, or the one file named.

    Raises
    ------
    RecordingError
        If there is nothing, or it cannot be looked at.
    MissingExtraError
        If fsspec is not installed.
    """
    with _explained(path):
        files, root = _opened(path)
        found = files.find(root, detail=True)
        is_file = list(found) == [root]
        if is_file:
            found = {root: files.info(root)}
    if not found:
        raise RecordingError(path, "there is nothing of this name. Check the name.")
    for place, about in sorted(found.items()):
        n_bytes = about.get("size") or 0
        if is_file:
            yield RemoteFile(path, _last_name(path), n_bytes)
        else:
            name = place.removeprefix(root).lstrip("/")
            yield RemoteFile(f"{path.rstrip('/')}/{name}", name, n_bytes)


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Give a copy of a remote file on the disk of this machine, removed at the end.

    Whoever has opened it by then can read on: the disk is freed when it is closed, or its process
    is gone.

    Raises
    ------
    RecordingError
        If it cannot be had, or there is no room for it.
    MissingExtraError
        If fsspec is not installed.
    """
    suffix = PurePosixPath(_last_name(path)).suffix
    handle, copy = tempfile.mkstemp(suffix=suffix, prefix="sed-")
    os.close(handle)
    try:
        with _explained(path):
            files, place = _opened(path)
            files.get_file(place, copy)
        yield copy
    finally:
        os.unlink(copy)


def _opened(path: str) -> tuple[Any, str]:
    """Return the file system that a path is on, and its place there."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(f"{printable(path)}: reading from elsewhere", "remote") from None
    files, place = fsspec.core.url_to_fs(path)
    return files, place


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Say what went wrong with a remote file, whatever the library behind fsspec raises."""
    try:
        yield
    except MissingExtraError:
        raise
    except FileNotFoundError:
        raise RecordingError(path, "no such file. Check the name.") from None
    except ImportError as error:  # fsspec names the package that a protocol needs
        reason = f"this protocol needs a package: {_one_line(error)}."
        raise RecordingError(path, reason) from error
    except Exception as error:
        reason = f"cannot be fetched: {_one_line(error) or type(error).__name__}"
        remedy = "Check the name, the network, the credentials and the room for temporary files."
        raise RecordingError(path, f"{reason}. {remedy}") from error


def _last_name(path: str) -> str:
    return os.path.basename(urlsplit(path).path)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
