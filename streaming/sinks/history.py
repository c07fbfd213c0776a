"""Read events from a database of live events. Each call opens the database anew.

Every function raises a `DatabaseError` if the file is not a database of live events of this
version, or cannot be read.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sed.events.sqlite import LIVE_RECORD, LIVE_RECORD_VERSION, read_sqlite
from sed.events.tracker import Event
from sed.text import to_utf8

HOUR_SECONDS = 3600

_read = partial(read_sqlite, application_id=LIVE_RECORD, version=LIVE_RECORD_VERSION)


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


def stored_events(
    path: str | os.PathLike[str], n: int = 100, *, after: int | None = None
) -> list[StoredEvent]:
    """Return the last `n` events of a database, or the next `n` after a known one, oldest first.

    Parameters
    ----------
    path
        The database.
    n
        Largest number of events.
    after
        Id of the last event that is known already.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with _read(path) as connection:
        if after is None:
            query = f"SELECT {COLUMNS} FROM events ORDER BY id DESC LIMIT ?"
            return [StoredEvent(*row) for row in connection.execute(query, (n,))][::-1]
        query = f"SELECT {COLUMNS} FROM events WHERE id > ? ORDER BY id LIMIT ?"
        return [StoredEvent(*row) for row in connection.execute(query, (after, n))]


def find_event(path: str | os.PathLike[str], event: Event) -> StoredEvent | None:
    """Return the row of an event, or None if it is not stored.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    if event.time is None:
        return None
    query = f"SELECT {COLUMNS} FROM events WHERE unix_time = ? AND source = ? AND label = ?"
    values = event.time.timestamp(), to_utf8(event.file), to_utf8(event.label)
    with _read(path) as connection:
        row = connection.execute(query, values).fetchone()
        return StoredEvent(*row) if row else None


def clip_path(path: str | os.PathLike[str], event_id: int) -> Path | None:
    """Return the path of the clip of an event, or None if there is no such event or clip.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with _read(path) as connection:
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
    with _read(path) as connection:
        for n, label, count in connection.execute(query, (first, HOUR_SECONDS, first, n_hours)):
            counts.setdefault(label, [0] * n_hours)[n] = count
    return hours, counts
