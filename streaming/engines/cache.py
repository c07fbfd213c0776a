"""Files that can be made again: where they are kept, and small JSON files among them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sed.errors import OutputError
from sed.files import written_whole

Tell = Callable[[str], object]  # takes a line for people


def cache_folder() -> Path:
    """Return the folder for what can be made again."""
    if chosen := os.environ.get("SED_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen, "sed-engine")
    try:
        return Path.home() / ".cache" / "sed-engine"
    except RuntimeError:  # nobody's: a container, a service
        return Path(tempfile.gettempdir(), f"sed-engine-{os.getuid()}")


def cached_json(
    path: Path,
    make: Callable[[], dict[str, Any]],
    worth_it: Callable[[dict[str, Any]], bool] = bool,
) -> dict[str, Any]:
    """Return what a small JSON file holds if that is worth it; else make it, and keep it so too."""
    with suppress(OSError, ValueError):
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if worth_it(kept):
            return kept
    values = make()
    if worth_it(values):
        with suppress(OutputError), written_whole(path) as part:  # else it is made again each time
            part.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    return values
