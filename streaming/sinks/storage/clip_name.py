"""Name clips by the day and time of their event, so that names sort by time.

::

    2026-11-21/20261121T121500.250Z_siren_garden.flac
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sed.text import timestamp
from streaming.sinks.record.schema import CLIP_NAME


def dated(time: datetime) -> str:
    """Return the start of the name of a clip: the folder of its day and the timestamp."""
    return f"{time.astimezone(UTC):%Y-%m-%d}/{timestamp(time)}"


def rename_clip(path: str, time: datetime) -> str:
    """Rename a clip for another time of its event, and return where it is.

    A clip that was renamed by a process that was killed then is found. One that cannot be renamed,
    or whose name is none of a clip, stays where it is.

    Parameters
    ----------
    path
        The clip.
    time
        Of the onset of its event.
    """
    old = Path(path)
    if not CLIP_NAME.fullmatch(old.name):
        return path
    new = old.parent.parent / f"{dated(time)}_{old.name.partition('_')[2]}"
    try:
        if os.path.lexists(new):
            return path if os.path.lexists(old) else os.fspath(new)
        new.parent.mkdir(exist_ok=True)
        os.rename(old, new)
    except OSError:
        return path
    # It fails while the folder of the day holds other clips.
    with suppress(OSError):
        old.parent.rmdir()
    return os.fspath(new)
