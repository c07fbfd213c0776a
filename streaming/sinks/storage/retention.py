"""Delete the oldest events of a database beyond its limits, and make its file smaller."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from sed.errors import UsageError
from sed.events.sqlite import has_table

ROWS_AT_ONCE = 200
PAGES_AT_ONCE = 64
FREE_SHARE = 0.2  # of the pages may be unused: new events fill them, and moving pages costs writes
MIN_FREE_PAGES = 256
PAUSE_SECONDS = 60.0  # from one look to the next while there is nothing to do
# A clock that is wrong at the start would let everything look old.
AGE_DELAY_SECONDS = 600.0
TABLES = ("events", "gaps", "alerts")
_OLD = """
SELECT id FROM {} WHERE unix_time < ?
AND session_id NOT IN (SELECT session_id FROM undated) LIMIT ?
"""


@dataclass(frozen=True)
class RetentionConfig:
    """Limits of a database of live events.

    Attributes
    ----------
    max_days
        Age, in days, at which events, gaps and alerts are deleted. No limit if None.
    max_mb
        Megabytes (10^6 bytes) of the database without its log; beyond that the oldest events are
        deleted. No limit if None.
    """

    max_days: float | None = None
    max_mb: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        limits = (
            ("age of an event", self.max_days, 0.0, 36_500.0, "days"),
            ("size of the database", self.max_mb, 0.1, math.inf, "MB"),
        )
        for name, most, low, high, unit in limits:
            if most is not None and not low < most <= high:
                up_to = "" if high == math.inf else f" and up to {high:g}"
                raise UsageError(
                    f"expected a greatest {name} above {low:g}{up_to} {unit}, got {most:g}"
                )


class Retention:
    """Keep a database within its limits, in steps of a few milliseconds.

    A file that was made before `open_sqlite` had `can_shrink` does not become smaller; its free
    pages are used again.

    Parameters
    ----------
    config
        The limits.
    now
        Returns the seconds since 1970.
    monotonic
        Returns seconds on a clock that is never set.
    """

    def __init__(
        self,
        config: RetentionConfig,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._now, self._monotonic = config, now, monotonic
        self._step_at = 0.0
        self._age_at = monotonic() + AGE_DELAY_SECONDS

    def distrust_clock(self) -> None:
        """Delete nothing for its age for a while: the clock was set."""
        self._age_at = self._monotonic() + AGE_DELAY_SECONDS

    def step(self, connection: sqlite3.Connection) -> int:
        """Delete up to `ROWS_AT_ONCE` rows of each table; return how many were deleted.

        Raises
        ------
        sqlite3.Error
            If the database cannot be written.
        """
        if self._monotonic() < self._step_at or self._config == RetentionConfig():
            return 0
        n_deleted = self._delete_old(connection) or self._delete_beyond_size(connection)
        n_pages, n_free = self._pages(connection)
        can_shrink = _pragma(connection, "auto_vacuum") == 2
        is_loose = n_free > max(MIN_FREE_PAGES, FREE_SHARE * n_pages)
        if can_shrink and is_loose and not n_deleted:
            # A cursor would stop after the first page.
            connection.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
        if not n_deleted and not (can_shrink and is_loose):
            self._step_at = self._monotonic() + PAUSE_SECONDS
        return n_deleted

    def _delete_old(self, connection: sqlite3.Connection) -> int:
        if self._config.max_days is None or self._monotonic() < self._age_at:
            return 0
        limit = self._now() - 86_400 * self._config.max_days
        return sum(
            _delete(
                connection, table, connection.execute(_OLD.format(table), (limit, ROWS_AT_ONCE))
            )
            for table in _tables(connection)
        )

    def _delete_beyond_size(self, connection: sqlite3.Connection) -> int:
        if self._config.max_mb is None:
            return 0
        n_pages, n_free = self._pages(connection)
        page_bytes = _pragma(connection, "page_size")
        if (n_pages - n_free) * page_bytes <= 1e6 * self._config.max_mb:
            return 0
        # The tables have rows of the same time; the one with the oldest goes first.
        oldest = [
            (row[0], table)
            for table in _tables(connection)
            if (row := connection.execute(f"SELECT unix_time FROM {table} LIMIT 1").fetchone())
        ]
        if not oldest:
            return 0
        table = min(oldest)[1]
        query = f"SELECT id FROM {table} ORDER BY id LIMIT ?"
        return _delete(connection, table, connection.execute(query, (ROWS_AT_ONCE,)))

    @staticmethod
    def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
        return _pragma(connection, "page_count"), _pragma(connection, "freelist_count")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables of this database that retention is about; an old one lacks some."""
    return [table for table in TABLES if has_table(connection, table)]


def _delete(connection: sqlite3.Connection, table: str, ids: sqlite3.Cursor) -> int:
    rows = ids.fetchall()
    if rows:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"DELETE FROM {table} WHERE id = ?", rows)
            if table == "events":
                connection.executemany("DELETE FROM verdicts WHERE event_id = ?", rows)
    return len(rows)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
