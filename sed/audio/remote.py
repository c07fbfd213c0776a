"""Read remote recordings: ``s3://``, ``gs://``, ``https://`` and other protocols of fsspec.

They are copied to the local disk while they are processed, and keep their names in results.
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

# What the file systems of fsspec call a version of the content, or the time of its last change.
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime")

_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*(://|::)")


class RemoteFile(NamedTuple):
    """A file found in remote storage."""

    path: str  # with the protocol
    name: str  # relative to the folder searched; the file name if the file itself was given
    n_bytes: int  # 0 if unknown
    version: str = ""  # changes with the content; empty if unknown


def is_remote(path: str) -> bool:
    """Return whether a path starts with a protocol, such as ``s3://``."""
    return _PROTOCOL.match(path) is not None


def remote_files(path: str) -> Iterator[RemoteFile]:
    """Yield the files below a remote folder, sorted by name, or the one file that `path` names.

    Raises
    ------
    RecordingError
        If there is nothing at `path`, or it cannot be listed.
    MissingExtraError
        If fsspec is not installed.
    """
    with explained(path):
        files, root = _opened(path)
        found = files.find(root, detail=True)
        is_file = list(found) == [root]
        if is_file:
            found = {root: files.info(root)}
    if not found:
        raise RecordingError(path, "there is no file or folder of this name. Check the name.")
    for place, details in sorted(found.items()):
        n_bytes = details.get("size") or 0
        version = next((str(details[key]) for key in _VERSIONS if details.get(key)), "")
        if is_file:
            yield RemoteFile(path, _last_name(path), n_bytes, version)
        else:
            name = place.removeprefix(root).lstrip("/")
            yield RemoteFile(f"{path.rstrip('/')}/{name}", name, n_bytes, version)


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Copy a remote file to the local disk; the copy is unlinked at the end of the block.

    A descriptor opened within the block stays readable. The disk space is freed when it is closed
    or its process ends.

    Yields
    ------
    str
        Path of the copy.

    Raises
    ------
    RecordingError
        If it cannot be downloaded, or the disk is full.
    MissingExtraError
        If fsspec is not installed.
    """
    suffix = PurePosixPath(_last_name(path)).suffix
    handle, copy = tempfile.mkstemp(suffix=suffix, prefix="sed-")
    os.close(handle)
    try:
        with explained(path):
            files, place = _opened(path)
            files.get_file(place, copy)
        yield copy
    finally:
        os.unlink(copy)


def file_system(path: str) -> Any:
    """Return the file system of fsspec for the protocol of a path; chains are not followed.

    Raises
    ------
    RecordingError
        If the protocol is unknown or needs another package.
    MissingExtraError
        If fsspec is not installed.
    """
    with explained(path):
        return _fsspec(path).filesystem(urlsplit(path).scheme)


def _fsspec(path: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(f"{printable(path)}: reading remote files", "remote") from None
    return fsspec


def _opened(path: str) -> tuple[Any, str]:
    """Return the fsspec file system of a path, and the path within it."""
    files, place = _fsspec(path).core.url_to_fs(path)
    return files, place


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Raise `RecordingError` for any exception of the library behind fsspec.

    Raises
    ------
    RecordingError
        With the cause and the remedy.
    """
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
        reason = f"cannot be downloaded: {_one_line(error) or type(error).__name__}"
        remedy = "Check the name, the network, the credentials and the space for temporary files."
        raise RecordingError(path, f"{reason}. {remedy}") from error


def _last_name(path: str) -> str:
    return os.path.basename(urlsplit(path).path)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
