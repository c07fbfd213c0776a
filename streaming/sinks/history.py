"""What a database of events tells, as rows; the database is opened anew by each call.

Each of them raises `DatabaseError` if the database is not one of ours, or cannot be read.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sed.events.tracker import Event
from streaming.sinks.database import calendar, names_of, read_database


class StoredEvent(NamedTuple):
    """A row of the table of events."""

    id: int
    session: int
    source: str
    label: str
    onset: float  # seconds since the session began
    offset: float
    score: float
    time: str  # of the onset, ISO 8601 in local time
    unix: float  # of the onset, seconds since 1970
    clip: str | None  # a path


class HourCount(NamedTuple):
    """How often a class was heard in an hour."""

    hour: datetime  # at which it began, in local time
    label: str
    n_events: int


COLUMNS = ", ".join(StoredEvent._fields)


def latest_events(path: str | os.PathLike[str], n: int = 100) -> list[StoredEvent]:
    """Return the events that were stored last, in the order in which they were."""
    with read_database(path) as connection:
        rows = connection.execute(f"SELECT {COLUMNS} FROM events ORDER BY id DESC LIMIT ?", (n,))
        return [StoredEvent(*row) for row in rows][::-1]


def events_after(path: str | os.PathLike[str], event_id: int, n: int = 100) -> list[StoredEvent]:
    """Return the first events that were stored after another one; those after 0 are all."""
    with read_database(path) as connection:
        query = f"SELECT {COLUMNS} FROM events WHERE id > ? ORDER BY id LIMIT ?"
        return [StoredEvent(*row) for row in connection.execute(query, (event_id, n))]


def stored_event(path: str | os.PathLike[str], event: Event) -> StoredEvent | None:
    """Return the row of an event, if it was stored."""
    with read_database(path) as connection:
        query = f"SELECT {COLUMNS} FROM events WHERE unix = ? AND source = ? AND label = ?"
        _, unix = calendar(event.time)
        row = connection.execute(query, (unix, *names_of(event))).fetchone()
        return StoredEvent(*row) if row else None


def clip_path(path: str | os.PathLike[str], event_id: int) -> Path | None:
    """Return where the clip of an event is, if there is such an event and it has one."""
    with read_database(path) as connection:
        row = connection.execute("SELECT clip FROM events WHERE id = ?", (event_id,)).fetchone()
        return Path(row[0]) if row and row[0] else None


def counts_per_hour(
    path: str | os.PathLike[str], hours: int = 24, *, now: datetime | None = None
) -> list[HourCount]:
    """Return how often each class was heard in this hour and those before it, if it was.

    Parameters
    ----------
    path
        The database.
    hours
        How many, the present one included.
    now
        The present, if it is another.
    """
    first = first_hour(hours, now).timestamp()
    with read_database(path) as connection:
        rows = connection.execute(
            "SELECT CAST((unix - ?) / 3600 AS INTEGER) AS hour, label, count(*) FROM events "
            "WHERE unix >= ? GROUP BY hour, label ORDER BY hour, label",
            (first, first),
        ).fetchall()
    return [
        HourCount(datetime.fromtimestamp(first + 3600 * hour).astimezone(), label, n)
        for hour, label, n in rows
    ]


def first_hour(hours: int, now: datetime | None = None) -> datetime:
    """Return when the first of the last hours began; the last of them is the present one."""
    this_hour = (now or datetime.now()).astimezone().replace(minute=0, second=0, microsecond=0)
    return datetime.fromtimestamp(this_hour.timestamp() - 3600 * (hours - 1)).astimezone()
