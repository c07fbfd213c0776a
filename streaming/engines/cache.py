"""Keep files that can be made again: the folder for them, and values in JSON with a checksum.

A file that is damaged in any way, by a crash, a full disk or another program, is made again. What
one process or thread makes, others wait for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sed.errors import OutputError
from sed.files import locked, parse_json, private_folder, written_whole

_log = logging.getLogger("sed.engines")


def cache_folder() -> Path:
    """Return the cache folder: ``$SED_CACHE``, else ``sed-engine`` in the user's cache folder.

    Where there is none, or it cannot be written, as for a service without a home directory, it is a
    folder for temporary files that only this user can read.

    Raises
    ------
    OutputError
        If there is no place at all.
    """
    if chosen := os.environ.get("SED_CACHE"):
        return Path(chosen)
    with suppress(RuntimeError):  # no home
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(caches, "sed-engine")
        if _is_usable(folder):
            return folder
    return private_folder()


def cached_json(
    path: Path,
    make: Callable[[], dict[str, Any]],
    is_valid: Callable[[dict[str, Any]], bool] = bool,
) -> dict[str, Any]:
    """Return the values in a JSON file, or make them and write the file.

    A file that cannot be read or written is no error: the values are then made on each call.

    Parameters
    ----------
    path
        The file.
    make
        Returns the values; called where the file is missing, damaged or not valid.
    is_valid
        Whether values may be kept; not empty by default.
    """
    kept = read_values(path)
    if kept is not None and is_valid(kept):
        return kept
    with made_once(path):
        kept = read_values(path)
        if kept is not None and is_valid(kept):
            return kept
        values = make()
        if is_valid(values):
            with suppress(OutputError):
                write_values(path, values)
        return values


def read_values(path: Path) -> dict[str, Any] | None:
    """Return the values that `write_values` wrote to a file; None if it is missing or damaged."""
    if not os.path.isfile(path):  # reading a pipe would wait for ever
        return None
    try:
        kept = parse_json(path.read_bytes())
        values: dict[str, Any] = kept["values"]
        return values if kept["sha256"] == _checksum(values) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_values(path: Path, values: dict[str, Any]) -> None:
    """Write values and their checksum to a JSON file, in place of whatever is there.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    clear(path)
    with written_whole(path) as part:
        kept = {"sha256": _checksum(values), "values": values}
        part.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def clear(path: Path) -> None:
    """Remove what is in the place of a file of the cache and is no file."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink() or (path.exists() and not path.is_file()):
            path.unlink()


@contextmanager
def made_once(path: Path) -> Iterator[OutputError | None]:
    """Keep other threads and processes from making a file of the cache at the same time.

    Yields
    ------
    OutputError | None
        Why the file cannot be written, if so: each then makes its own.
    """

    def wait(holder: str) -> None:
        _log.info("waiting for %s, which prepares the same model", holder)

    folder = path.parent
    is_own = folder != cache_folder()  # which may be anything that a user has named
    if is_own and os.path.lexists(folder) and not os.path.isdir(folder):
        with suppress(OSError):
            folder.unlink()
    lock = locked(path.with_name(f".{path.name}.lock"), wait)
    try:
        lock.__enter__()
    except OutputError as error:
        yield error
        return
    try:
        yield None
    finally:
        lock.__exit__(None, None, None)


def machine_key(*facts: object) -> str:
    """Return a hash of the processor of this machine and of other facts, hexadecimal."""
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line for line in file if line.startswith("model name")), cpu)
    return hashlib.sha256(repr((cpu, *facts)).encode()).hexdigest()[:12]


def _is_usable(folder: Path) -> bool:
    """Return whether a folder can be written, or has been filled for a user who may not."""
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK) or any(folder.iterdir())
    except OSError:
        return False


def _checksum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
