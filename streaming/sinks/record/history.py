"""Read events from a database of live events. Each call opens the database anew.

Every function raises a `DatabaseError` if the file is not a database of live events of this
version, or cannot be read.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sed.events.sqlite import LIVE_RECORD, LIVE_RECORD_VERSION, read_sqlite
from sed.events.tracker import Event
from sed.text import to_utf8

HOUR_SECONDS = 3600

_read = partial(read_sqlite, application_id=LIVE_RECORD, version=LIVE_RECORD_VERSION)


class StoredEvent(NamedTuple):
    """A row of the table of events, with what a person says about it."""

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
    verdict: str | None  # right or wrong; None if the event is not marked


COLUMNS = ", ".join(StoredEvent._fields)
_EVENTS = f"SELECT {COLUMNS} FROM events LEFT JOIN verdicts ON event_id = id"
# Each distinct value takes one step in the index; DISTINCT would read the whole index.
_DISTINCT = """
WITH RECURSIVE each(value) AS (
    SELECT min({0}) FROM events
    UNION ALL
    SELECT (SELECT min({0}) FROM events WHERE {0} > value) FROM each WHERE value IS NOT NULL
)
SELECT value FROM each WHERE value IS NOT NULL
"""


@dataclass(frozen=True)
class EventFilter:
    """Which events are asked for.

    Attributes
    ----------
    labels
        Only these classes; all if None.
    source
        Only this input; all if None.
    since
        Only events that start then or later, in seconds since 1970.
    until
        Only events that start earlier, in seconds since 1970.
    min_score
        Only this score or a higher one.
    """

    labels: tuple[str, ...] | None = None
    source: str | None = None
    since: float | None = None
    until: float | None = None
    min_score: float | None = None

    def conditions(self) -> tuple[list[str], list[float | str]]:
        """Return the conditions in SQL, all but that on the label, and their values."""
        pairs = (
            ("source = ?", self.source),
            ("unix_time >= ?", self.since),
            ("unix_time < ?", self.until),
            ("score >= ?", self.min_score),
        )
        given = [(text, value) for text, value in pairs if value is not None]
        return [text for text, _ in given], [value for _, value in given]


ALL = EventFilter()


def stored_events(
    path: str | os.PathLike[str],
    n: int = 100,
    *,
    after: int | None = None,
    before: int | None = None,
    only: EventFilter = ALL,
) -> list[StoredEvent]:
    """Return the last `n` events of a database, or those next to a known one, oldest first.

    Parameters
    ----------
    path
        The database.
    n
        Largest number of events.
    after
        Id of the last event that is known already: the next ones in the order of ids, in which
        events were complete.
    before
        Id of the earliest event that is known already: the last ones that started before it. There
        are none if it was deleted.
    only
        Which events.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    texts, values = only.conditions()
    with _read(path) as connection:
        if after is not None:
            if only.labels is not None:
                texts.append(f"label IN ({', '.join('?' * len(only.labels))})")
                values += only.labels
            query = f"{_EVENTS} {_where(['id > ?', *texts])} ORDER BY id LIMIT ?"
            return [StoredEvent(*row) for row in connection.execute(query, (after, *values, n))]
        if before is not None:
            texts.append("(unix_time, id) < (SELECT unix_time, id FROM events WHERE id = ?)")
            values.append(before)
        # SQLite would sort all events of several classes; merged, each class has its order.
        labels = [None] if only.labels is None else only.labels
        orders = [
            connection.execute(
                f"SELECT unix_time, id FROM events "
                f"{_where([*texts, 'label = ?'] if label is not None else texts)} "
                "ORDER BY unix_time DESC, id DESC LIMIT ?",
                (*values, *([label] if label is not None else []), n),
            )
            for label in labels
        ]
        ids = [row[1] for row in islice(heapq.merge(*orders, reverse=True), n)]
        query = f"{_EVENTS} WHERE id IN ({', '.join('?' * len(ids))}) ORDER BY unix_time, id"
        return [StoredEvent(*row) for row in connection.execute(query, ids)]


def _where(conditions: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def known_names(path: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Return the labels and the inputs of all events of a database, sorted.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with _read(path) as connection:
        labels, sources = (
            [str(value) for (value,) in connection.execute(_DISTINCT.format(column))]
            for column in ("label", "source")
        )
    return labels, sources


def first_time(path: str | os.PathLike[str]) -> float | None:
    """Return the start of the earliest event in seconds since 1970; None if there is none.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with _read(path) as connection:
        (first,) = connection.execute("SELECT min(unix_time) FROM events").fetchone()
        return first if first is None else float(first)


def find_event(path: str | os.PathLike[str], event: Event) -> StoredEvent | None:
    """Return the row of an event, or None if it is not stored.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    if event.time is None:
        return None
    query = f"{_EVENTS} WHERE unix_time = ? AND source = ? AND label = ?"
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
    path: str | os.PathLike[str],
    n_hours: int = 24,
    *,
    now: datetime | None = None,
    source: str | None = None,
) -> tuple[list[datetime], dict[str, list[int]]]:
    """Return the number of events of each class in each of the last hours.

    Parameters
    ----------
    path
        The database.
    n_hours
        Number of hours; the last one is the current hour.
    now
        A time in the last hour; the clock of the system if not given.
    source
        Only events of this input; of all if None.

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
    only = EventFilter(None, source, first, first + HOUR_SECONDS * n_hours)
    texts, values = only.conditions()
    query = f"""
    SELECT CAST((unix_time - ?) / ? AS INTEGER) AS hour, label, count(*) FROM events
    {_where(texts)} GROUP BY hour, label ORDER BY hour, label
    """
    counts: dict[str, list[int]] = {}
    with _read(path) as connection:
        for n, label, count in connection.execute(query, (first, HOUR_SECONDS, *values)):
            counts.setdefault(label, [0] * n_hours)[n] = count
    return hours, counts
