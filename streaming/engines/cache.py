"""Keep files that can be made again: the folder for them, and JSON values."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sed.errors import OutputError
from sed.files import written_whole


def cache_folder() -> Path:
    """Return the cache folder: ``$SED_CACHE``, else ``sed-engine`` in the user's cache folder."""
    if chosen := os.environ.get("SED_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen, "sed-engine")
    try:
        return Path.home() / ".cache" / "sed-engine"
    except RuntimeError:
        # Containers and services may run as a user without a home.
        return Path(tempfile.gettempdir(), f"sed-engine-{os.getuid()}")


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
        Returns the values; called where the file is missing, unreadable or not valid.
    is_valid
        Whether values may be kept; not empty by default.
    """
    with suppress(OSError, ValueError):
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if is_valid(kept):
            return kept
    values = make()
    if is_valid(values):
        with suppress(OutputError), written_whole(path) as part:
            part.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    return values


def machine_key(*facts: object) -> str:
    """Return a hash of the processor of this machine and of other facts, hexadecimal."""
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line for line in file if line.startswith("model name")), cpu)
    return hashlib.sha256(repr((cpu, *facts)).encode()).hexdigest()[:12]
