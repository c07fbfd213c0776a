"""Count the events of a database of live events, and list what they name.

Every function raises a `DatabaseError` if the file is not a database of live events of this
version, or cannot be read.
"""

from __future__ import annotations

import os
from datetime import datetime

from sed.events.sqlite import read_live_record
from streaming.sinks.record.history import EventFilter, where

HOUR_SECONDS = 3600
# Each distinct value takes one step in the index; DISTINCT would read the whole index.
_DISTINCT = """
WITH RECURSIVE each(value) AS (
    SELECT min({0}) FROM events
    UNION ALL
    SELECT (SELECT min({0}) FROM events WHERE {0} > value) FROM each WHERE value IS NOT NULL
)
SELECT value FROM each WHERE value IS NOT NULL
"""


def known_names(path: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Return the labels and the inputs of all events of a database, sorted.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_live_record(path) as connection:
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
    with read_live_record(path) as connection:
        (first,) = connection.execute("SELECT min(unix_time) FROM events").fetchone()
        return first if first is None else float(first)


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
    {where(texts)} GROUP BY hour, label ORDER BY hour, label
    """
    counts: dict[str, list[int]] = {}
    with read_live_record(path) as connection:
        for n, label, count in connection.execute(query, (first, HOUR_SECONDS, *values)):
            counts.setdefault(label, [0] * n_hours)[n] = count
    return hours, counts
