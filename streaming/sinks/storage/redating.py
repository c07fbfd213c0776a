"""Correct the times of stored events after the clock of the system was set.

A small computer without a battery for its clock starts at the time when it was switched off, or in
1970, and is set by the network seconds or hours later. Positions on the clock of the samples are
right all the time, so only one number is missing: by how much the clock was wrong.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import UTC, datetime

from sed.text import iso_time
from sed.timeline import shifted
from streaming.messages import ClipMoved, Message
from streaming.sinks.storage.clip_name import rename_clip

ROWS_AT_ONCE = 100
TOLERANCE_SECONDS = 60.0  # of clocks that are set by less than is corrected
_OPEN_STEP = """
SELECT id, session_id, seconds, event_done, event_last, gap_done, gap_last FROM clock_steps
WHERE event_done < event_last OR gap_done < gap_last ORDER BY id LIMIT 1
"""
_EVENTS = """
SELECT id, unix_time, clip_path FROM events
WHERE id > ? AND id <= ? AND session_id = ? ORDER BY id LIMIT ?
"""
_GAPS = """
SELECT id, unix_time FROM gaps WHERE id > ? AND id <= ? AND session_id = ? ORDER BY id LIMIT ?
"""
_LAST_DATED = """
SELECT unix_time FROM events WHERE session_id NOT IN (SELECT session_id FROM undated)
AND session_id <> ? ORDER BY unix_time DESC LIMIT 1
"""


def correct_times(connection: sqlite3.Connection) -> list[Message] | None:
    """Correct the next `ROWS_AT_ONCE` events and gaps; return None if no more are to be corrected.

    All is one transaction, but for the names of clips. What a process that was killed left open,
    the next one completes.

    Raises
    ------
    sqlite3.Error
        If the database cannot be written.
    """
    if connection.execute(_OPEN_STEP).fetchone() is None:
        return None
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        step = connection.execute(_OPEN_STEP).fetchone()
        if step is None:
            return None
        number, session, seconds, event_done, event_last, gap_done, gap_last = step
        events = connection.execute(_EVENTS, (event_done, event_last, session, ROWS_AT_ONCE))
        messages: list[Message] = []
        done = event_last
        for n, (row, unix_time, clip) in enumerate(events.fetchall(), 1):
            time = _shifted(unix_time, seconds)
            moved = clip and rename_clip(clip, time)
            if clip and moved and moved != clip:
                messages.append(ClipMoved(clip, moved))
            connection.execute(
                "UPDATE events SET time = ?, unix_time = ?, clip_path = ? WHERE id = ?",
                (iso_time(time), time.timestamp(), moved, row),
            )
            done = row if n == ROWS_AT_ONCE else event_last
        gaps = connection.execute(_GAPS, (gap_done, gap_last, session, ROWS_AT_ONCE)).fetchall()
        for row, unix_time in gaps:
            time = _shifted(unix_time, seconds)
            connection.execute(
                "UPDATE gaps SET time = ?, unix_time = ? WHERE id = ?",
                (iso_time(time), time.timestamp(), row),
            )
        last_gap = gaps[-1][0] if len(gaps) == ROWS_AT_ONCE else gap_last
        connection.execute(
            "UPDATE clock_steps SET event_done = ?, gap_done = ? WHERE id = ?",
            (done, last_gap, number),
        )
    return messages


def is_before_last(connection: sqlite3.Connection, session_id: int, now: float) -> str:
    """Return the last event of earlier sessions as a time, if a clock is before it; else nothing.

    Parameters
    ----------
    connection
        The database.
    session_id
        Of this session, and not looked at.
    now
        Seconds since 1970.
    """
    last = connection.execute(_LAST_DATED, (session_id,)).fetchone()
    if last is None or now >= last[0] - TOLERANCE_SECONDS:
        return ""
    return iso_time(datetime.fromtimestamp(last[0]).astimezone())


def _shifted(unix_time: float, seconds: float) -> datetime:
    # A time that cannot be, of a file that others have changed, stays.
    with suppress(OverflowError, OSError, ValueError):
        return shifted(datetime.fromtimestamp(unix_time, UTC), seconds)
    return datetime.fromtimestamp(unix_time, UTC)
