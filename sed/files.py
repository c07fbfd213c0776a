"""Write files atomically, complete or not at all, and lock what one process may use at a time.

While a file is written it has the name ``.NAME.PID.part``, and its process holds a lock on it
(`flock`), which ends with the process, however that ends. A file without a lock was left by a
process that was killed. Where the system has no such locks, the number of the process decides.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sed.errors import OutputError, UsageError
from sed.text import printable

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

MAX_NAME_BYTES = 255  # of a file name, on nearly all file systems
# What is added to the name of a file while it is written, by this module and by others.
_PART_ROOM = len(".") + len(".1234567890.part") + len(".frames")
_PART = re.compile(r"(\.(.+)\.(\d+)\.part)(\..*)?", re.DOTALL)
_HASH_DIGITS = 12

# Descriptors with a lock. A process that is forked must not keep the locks of its parent.
_held: set[int] = set()


@contextmanager
def written_whole(path: str | os.PathLike[str], *, is_synced: bool = True) -> Iterator[Path]:
    """Write to a temporary file, renamed to `path` on success and removed on failure.

    Missing folders are created. The content is synced to the disk before the file is renamed,
    unless `is_synced` is false: after a power failure the file may then be empty.

    Yields
    ------
    Path
        The temporary file, in the folder of `path`; it exists and is empty.

    Raises
    ------
    OutputError
        If the folder cannot be written or the disk is full; `path` is then unchanged.
    """
    path = Path(path)
    part = path.with_name(f"{_part_stem(path)}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(part)
        try:
            yield part
            if is_synced:
                with open(part, "rb+") as file:
                    os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        finally:
            _release(lock)
    except OSError as error:
        raise OutputError(path, error) from error


@contextmanager
def written_csv(path: str | os.PathLike[str], *, delimiter: str = ",") -> Iterator[Any]:
    """Write a CSV file as `written_whole` does; names of files may hold any bytes.

    Yields
    ------
    csv.writer
        What writes the rows.
    """
    with (
        written_whole(path) as part,
        open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        yield csv.writer(file, delimiter=delimiter, lineterminator="\n")


def remove_parts(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Remove what killed processes left when they wrote these files; see `written_whole`.

    Files that a process is still writing stay.

    Parameters
    ----------
    paths
        The files; a folder stands for all files directly in it.
    """
    wanted: dict[Path, set[str] | None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            wanted[path] = None
        elif (stems := wanted.setdefault(path.parent, set())) is not None:
            stems.add(_part_stem(path))
    for folder, names in wanted.items():
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in list(entries):
                match = _PART.fullmatch(entry.name)
                if match and (names is None or f".{match[2]}" in names):
                    _remove_part(folder, entry.name, match[1], int(match[3]))


@contextmanager
def locked(path: str | os.PathLike[str], on_busy: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that one thread of one process can have; it ends with the process.

    Parameters
    ----------
    path
        A file that stands for what is locked; it exists as long as the lock is held.
    on_busy
        Called with the name of the holder if there is another one. If it returns, the lock is
        waited for.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(path, on_busy)
        if lock is not None:
            os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
    except OSError as error:
        raise OutputError(path, error) from error
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):
                path.unlink()
        _release(lock)


def private_folder() -> Path:
    """Return a folder for temporary files that is this user's, and that no other user can read.

    It is found again by later processes. Its name cannot be guessed, and what another user puts in
    its place is not taken.

    Raises
    ------
    OutputError
        If there is no folder for temporary files.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    prefix = f"sed-engine-{user}-"
    try:
        place = Path(tempfile.gettempdir())
        if not (found := _own_folders(place, prefix, user)):
            tempfile.mkdtemp(prefix=prefix)
            found = _own_folders(place, prefix, user)
        return found[0]
    except (OSError, IndexError) as error:
        reason = "no folder for temporary files; set SED_CACHE to one"
        raise OutputError(prefix, OSError(errno.ENOENT, reason)) from error


def short_name(name: str, room: int = MAX_NAME_BYTES) -> str:
    """Return a file name that has at most `room` bytes.

    A longer one is cut, and a hash of the whole name follows, so that different names stay
    different; the last ending is kept if it is short.
    """
    raw = os.fsencode(name)
    if len(raw) <= room:
        return name
    digits = hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]
    ending = os.path.splitext(name)[1]
    ending = f"~{digits}{ending}" if len(os.fsencode(ending)) <= 16 else f"~{digits}"
    # Whole characters, so that the name stays text.
    while len(os.fsencode(name + ending)) > room:
        name = name[:-1]
    return name + ending


def result_path(folder: Path, name: str, ending: str) -> Path:
    """Return the path of a result: the name of what it is about, and one more ending.

    Names that the file system would refuse for their length are shortened, see `short_name`.

    Parameters
    ----------
    folder
        Where the result goes.
    name
        A relative path.
    ending
        Such as ``.csv``.
    """
    parent, base = os.path.split(name)
    return folder / os.path.join(parent, short_name(base, MAX_NAME_BYTES - len(ending)) + ending)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If it is not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def refuse_to_replace(output: str | os.PathLike[str] | None, sources: Iterable[str]) -> None:
    """Make sure that the file of results is none of the recordings.

    Raises
    ------
    UsageError
        If it is one of them.
    """
    if output is None or not os.path.isfile(output):
        return
    for source in sources:
        if os.path.isfile(source) and os.path.samefile(output, source):
            raise UsageError(
                f"--output {printable(str(output))} is one of the recordings: give another name"
            )


def _own_folders(place: Path, prefix: str, user: int) -> list[Path]:
    """Return the folders with names of a prefix that only this user can read."""
    found = []
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                is_private = not hasattr(os, "getuid") or not status.st_mode & 0o077
                if is_private and status.st_uid == user:
                    found.append(Path(entry.path))
    return sorted(found)


def _part_stem(path: Path) -> str:
    return f".{short_name(path.name, MAX_NAME_BYTES - _PART_ROOM)}"


def _remove_part(folder: Path, name: str, part: str, process: int) -> None:
    """Remove a file that was left, or one that goes with it, unless its process still runs."""
    path = folder / name
    owner = folder / part if (folder / part).exists() else path
    with suppress(OSError), open(owner, "rb+") as file:
        try:
            if not HAS_LOCKS:
                raise OSError
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:  # the file system has no locks
            if _is_alive(process):
                return
        path.unlink(missing_ok=True)


def _acquire(path: Path, on_busy: Callable[[str], None] = lambda _: None) -> int | None:
    """Create an empty file and lock it; return its descriptor, None without locks."""
    if not HAS_LOCKS:
        return None
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _wait(lock, on_busy)
            # The process that had the lock may have renamed or removed the file.
            if _is_at(lock, path):
                # Some file systems write what was truncated at once when it is closed.
                if os.fstat(lock).st_size:
                    os.ftruncate(lock, 0)
                _held.add(lock)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _release(lock: int | None) -> None:
    if lock is not None and lock in _held:
        _held.discard(lock)
        os.close(lock)


def _wait(lock: int, on_busy: Callable[[str], None]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 200, 0).decode("utf-8", "replace")
        on_busy(printable(holder) if holder else "another process")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:  # the file system has no locks
        return


def _is_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False


def _is_alive(process: int) -> bool:
    # On Windows this would end the process, and a file that is open cannot be removed anyway.
    if sys.platform == "win32":
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _close_in_child() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
