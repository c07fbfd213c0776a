"""Read events from a database of live events. Each call opens the database anew.

Every function raises a `DatabaseError` if the file is not a database of live events of this
version, or cannot be read.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sed.events.tracker import Event
from sed.text import to_utf8
from streaming.sinks.database import read_database, unix_time

HOUR_SECONDS = 3600


class StoredEvent(NamedTuple):
    """A row of the table of events."""

    id: int
    session_id: int
    source: str  # name of the input
    label: str
    onset: float  # seconds since the session started
    offset: float  # seconds since the session started
    score: float
    time: str  # of the onset, ISO 8601 in local time
    unix_time: float  # of the onset, seconds since 1970
    clip_path: str | None


COLUMNS = ", ".join(StoredEvent._fields)


def latest_events(path: str | os.PathLike[str], n: int = 100) -> list[StoredEvent]:
    """Return the last `n` events that were stored, oldest first.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_database(path) as connection:
        rows = connection.execute(f"SELECT {COLUMNS} FROM events ORDER BY id DESC LIMIT ?", (n,))
        return [StoredEvent(*row) for row in rows][::-1]


def events_after(path: str | os.PathLike[str], event_id: int, n: int = 100) -> list[StoredEvent]:
    """Return the first `n` events that were stored after the one with `event_id`, oldest first.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_database(path) as connection:
        query = f"SELECT {COLUMNS} FROM events WHERE id > ? ORDER BY id LIMIT ?"
        return [StoredEvent(*row) for row in connection.execute(query, (event_id, n))]


def stored_event(path: str | os.PathLike[str], event: Event) -> StoredEvent | None:
    """Return the row of an event, or None if it is not stored.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    ValueError
        If the event has no time.
    """
    query = f"SELECT {COLUMNS} FROM events WHERE unix_time = ? AND source = ? AND label = ?"
    values = unix_time(event.time), to_utf8(event.file), to_utf8(event.label)
    with read_database(path) as connection:
        row = connection.execute(query, values).fetchone()
        return StoredEvent(*row) if row else None


def clip_path(path: str | os.PathLike[str], event_id: int) -> Path | None:
    """Return the path of the clip of an event, or None if there is no such event or clip.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_database(path) as connection:
        query = "SELECT clip_path FROM events WHERE id = ?"
        row = connection.execute(query, (event_id,)).fetchone()
        return Path(row[0]) if row and row[0] else None


def hourly_counts(
    path: str | os.PathLike[str], n_hours: int = 24, *, now: datetime | None = None
) -> tuple[list[datetime], dict[str, list[int]]]:
    """Return the number of events of each class in each of the last hours.

    Parameters
    ----------
    path
        The database.
    n_hours
        Number of hours; the last one is the current hour.
    now
        The current time; the clock of the system if not given.

    Returns
    -------
    hours
        The starts of the hours in local time, oldest first.
    counts
        `n_hours` numbers for each class that has events in these hours.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    hour = (now or datetime.now()).astimezone().replace(minute=0, second=0, microsecond=0)
    first = hour.timestamp() - HOUR_SECONDS * (n_hours - 1)
    hours = [datetime.fromtimestamp(first + HOUR_SECONDS * n).astimezone() for n in range(n_hours)]
    query = """
    SELECT CAST((unix_time - ?) / ? AS INTEGER) AS hour, label, count(*) FROM events
    WHERE unix_time >= ? AND hour < ? GROUP BY hour, label ORDER BY hour, label
    """
    counts: dict[str, list[int]] = {}
    with read_database(path) as connection:
        for n, label, count in connection.execute(query, (first, HOUR_SECONDS, first, n_hours)):
            counts.setdefault(label, [0] * n_hours)[n] = count
    return hours, counts
