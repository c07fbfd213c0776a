"""Read events from a database of live events. Each call opens the database anew.

Every function raises a `DatabaseError` if the file is not a database of live events of this
version, or cannot be read.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from sed.errors import UsageError
from sed.events.sqlite import Connection, read_live_record
from sed.events.tracker import Event
from sed.text import to_utf8


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
            # Of several inputs SQLite would sort all events, and for each of several classes it
            # would read all of an input; + keeps it from their index.
            is_alone = len(self.sources) == 1 and len(self.labels) < 2
            column = "source" if is_alone else "+source"
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
    with read_live_record(path) as connection:
        if after is not None:
            if only.labels:
                texts.append(f"label IN ({', '.join('?' * len(only.labels))})")
                values += only.labels
            # Who asks for what is new asks often, and it is at the end of the table.
            query = f"{_NEW_EVENTS} {where(['id > ?', *texts])} ORDER BY id LIMIT ?"
            return [StoredEvent(*row) for row in connection.execute(query, (after, *values, n))]
        if before is not None:
            query = "SELECT unix_time FROM events WHERE id <= ? ORDER BY id DESC LIMIT 1"
            if (known := connection.execute(query, (before,)).fetchone()) is None:
                return []
            texts.append("(unix_time, id) < (?, ?)")
            values += known[0], before
        return _first(connection, only.labels, texts, values, n, "DESC")[::-1]


def events_in_order(
    path: str | os.PathLike[str], only: EventFilter = ALL, *, n_at_once: int = 1_000
) -> Iterator[StoredEvent]:
    """Yield events by their onsets; the database is not kept open between a number of them.

    Parameters
    ----------
    path
        The database.
    only
        Which events.
    n_at_once
        Events in memory.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    texts, values = only.conditions()
    while True:
        with read_live_record(path) as connection:
            rows = _first(connection, only.labels, texts, values, n_at_once, "ASC")
        yield from rows
        if len(rows) < n_at_once:
            return
        texts, values = only.conditions()
        texts.append("(unix_time, id) > (?, ?)")
        values += rows[-1].unix_time, rows[-1].id


def _first(
    connection: Connection,
    labels: Sequence[str | None],
    conditions: Sequence[str],
    values: Sequence[float | str],
    n: int,
    order: str,
) -> list[StoredEvent]:
    """Return the first events that fit, in the order of their onsets or the reverse of it."""
    # SQLite would sort all events of several classes; merged, each class has its order.
    orders = [
        connection.execute(
            "SELECT unix_time, id FROM events "
            f"{where([*conditions, 'label = ?'] if label is not None else conditions)} "
            f"ORDER BY unix_time {order}, id {order} LIMIT ?",
            (*values, *([] if label is None else [label]), n),
        )
        for label in labels or (None,)
    ]
    ids = [row[1] for row in islice(heapq.merge(*orders, reverse=order == "DESC"), n)]
    query = f"{_EVENTS} WHERE id IN ({', '.join('?' * len(ids))})"
    query += f" ORDER BY unix_time {order}, id {order}"
    return [StoredEvent(*row) for row in connection.execute(query, ids)]


def where(conditions: Sequence[str]) -> str:
    """Return the clause of SQL for conditions that must all hold; nothing if there are none."""
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def has_label(path: str | os.PathLike[str], label: str) -> bool:
    """Return whether a database has events of a class.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_live_record(path) as connection:
        query = "SELECT 1 FROM events WHERE label = ? LIMIT 1"
        return connection.execute(query, (label,)).fetchone() is not None


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
    with read_live_record(path) as connection:
        row = connection.execute(query, values).fetchone()
        return StoredEvent(*row) if row else None


def stored_event(path: str | os.PathLike[str], event_id: int) -> StoredEvent | None:
    """Return an event by its id, or None if there is no such event.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_live_record(path) as connection:
        row = connection.execute(f"{_EVENTS} WHERE id = ?", (event_id,)).fetchone()
        return StoredEvent(*row) if row else None
