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

from sed.errors import UsageError
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
_NEW_EVENTS = _EVENTS.replace("FROM events", "FROM events NOT INDEXED")
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
    """Which events are meant; without values all of them.

    Attributes
    ----------
    labels
        Only these classes; all if empty.
    sources
        Only these inputs; all if empty.
    start, stop
        Only events with an onset from `start` to before `stop`, in seconds since 1970; None is no
        bound.
    min_score
        Only events with this score or a higher one.
    """

    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    start: float | None = None
    stop: float | None = None
    min_score: float = 0.0

    def conditions(self) -> tuple[list[str], list[float | str]]:
        """Return the conditions in SQL, all but that on the label, and their values."""
        conditions: list[str] = []
        values: list[float | str] = []
        if self.sources:
            # Of several inputs SQLite would sort all events; + keeps it from their index.
            column = "source" if len(self.sources) == 1 else "+source"
            conditions.append(f"{column} IN ({', '.join('?' * len(self.sources))})")
            values += self.sources
        for condition, bound in (("unix_time >= ?", self.start), ("unix_time < ?", self.stop)):
            if bound is not None:
                conditions.append(condition)
                values.append(bound)
        if self.min_score > 0:
            conditions.append("score >= ?")
            values.append(self.min_score)
        return conditions, values


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
        Id of the earliest event that is known already: the last ones that started before it. It
        may be deleted meanwhile.
    only
        Which events.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    UsageError
        If both `after` and `before` are given.
    """
    if after is not None and before is not None:
        raise UsageError("expected after or before, not both")
    texts, values = only.conditions()
    with _read(path) as connection:
        if after is not None:
            if only.labels:
                texts.append(f"label IN ({', '.join('?' * len(only.labels))})")
                values += only.labels
            # Who asks for what is new asks often, and it is at the end of the table.
            query = f"{_NEW_EVENTS} {_where(['id > ?', *texts])} ORDER BY id LIMIT ?"
            return [StoredEvent(*row) for row in connection.execute(query, (after, *values, n))]
        if before is not None:
            query = "SELECT unix_time FROM events WHERE id <= ? ORDER BY id DESC LIMIT 1"
            if (known := connection.execute(query, (before,)).fetchone()) is None:
                return []
            texts.append("(unix_time, id) < (?, ?)")
            values += known[0], before
        # SQLite would sort all events of several classes; merged, each class has its order.
        orders = [
            connection.execute(
                "SELECT unix_time, id FROM events "
                f"{_where([*texts, 'label = ?'] if label is not None else texts)} "
                "ORDER BY unix_time DESC, id DESC LIMIT ?",
                (*values, *([] if label is None else [label]), n),
            )
            for label in only.labels or [None]
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


def has_label(path: str | os.PathLike[str], label: str) -> bool:
    """Return whether a database has events of a class.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with _read(path) as connection:
        query = "SELECT 1 FROM events WHERE label = ? LIMIT 1"
        return connection.execute(query, (label,)).fetchone() is not None


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
    sources: tuple[str, ...] = (),
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
    sources
        Only events of these inputs; of all if empty.

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
    only = EventFilter((), sources, first, first + HOUR_SECONDS * n_hours)
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
