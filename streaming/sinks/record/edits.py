"""Change a database of live events as its reader asks: mark events, delete events.

Every function raises a `DatabaseError` if the file is not a database of live events of this
version, or cannot be changed. `sed listen` may write it meanwhile.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from sed.errors import OutputError, UsageError
from sed.events.sqlite import read_live_record
from sed.text import near
from streaming.sinks.record.schema import CLIP_NAME

Verdict = Literal["right", "wrong"]
VERDICTS = ("right", "wrong")  # words of `sed review`


def set_verdict(path: str | os.PathLike[str], event_id: int, verdict: Verdict | None) -> bool:
    """Store what a person says about an event; return whether there is such an event.

    Parameters
    ----------
    path
        The database.
    event_id
        Id of the event.
    verdict
        ``right``: the class is there. ``wrong``: it is not. None takes a verdict back.

    Raises
    ------
    UsageError
        If the verdict is another word.
    DatabaseError
        If the database cannot be changed.
    """
    if verdict is not None and verdict not in VERDICTS:
        raise UsageError(f"unknown verdict {verdict!r}. {near(str(verdict), VERDICTS)}")
    with read_live_record(path, is_writable=True) as connection:
        if verdict is None:
            connection.execute("DELETE FROM verdicts WHERE event_id = ?", (event_id,))
        else:
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            connection.execute(
                "INSERT OR REPLACE INTO verdicts SELECT id, ?, ? FROM events WHERE id = ?",
                (verdict, time, event_id),
            )
        query = "SELECT count(*) FROM events WHERE id = ?"
        return bool(connection.execute(query, (event_id,)).fetchone()[0])


def delete_event(path: str | os.PathLike[str], event_id: int) -> bool:
    """Delete an event, its verdict and its clip; return whether there was such an event.

    Only a file that is named as a clip is deleted.

    Parameters
    ----------
    path
        The database.
    event_id
        Id of the event.

    Raises
    ------
    DatabaseError
        If the database cannot be changed.
    OutputError
        If the clip cannot be deleted. The event is kept.
    """
    with read_live_record(path, is_writable=True) as connection:
        # A write lock first, so that the path of the clip is not added meanwhile.
        connection.execute("DELETE FROM verdicts WHERE event_id = ?", (event_id,))
        query = "DELETE FROM events WHERE id = ? RETURNING clip_path"
        rows = connection.execute(query, (event_id,)).fetchall()
        for (clip,) in rows:
            if clip and CLIP_NAME.fullmatch(Path(clip).name):
                _delete(Path(clip))
        return bool(rows)


def _delete(clip: Path) -> None:
    try:
        clip.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(clip, error) from error
    # rmdir fails while the folder of the day still holds clips.
    with suppress(OSError):
        clip.parent.rmdir()
