"""Keep a database within its limits, rightly dated and sound, in small steps between messages."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sed.text import iso_time, pluralize, printable
from streaming.messages import Message, Problem
from streaming.sinks.record.schema import ADD_CLOCK_STEP, MARK_DATED, MARK_UNDATED
from streaming.sinks.storage.integrity import BackgroundCheck, check_in_background
from streaming.sinks.storage.redating import correct_times, is_before_last
from streaming.sinks.storage.retention import Retention, RetentionConfig

MAX_CORRECTING_SECONDS = 0.1  # at once; detection waits for it
_LAST_IDS = """
SELECT (SELECT coalesce(max(id), 0) FROM events), (SELECT coalesce(max(id), 0) FROM gaps)
"""


class Upkeep:
    """What a database of live events needs besides its events.

    Parameters
    ----------
    path
        The database.
    retention
        Its limits; none if not given.
    now
        Returns the seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        retention: RetentionConfig | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._name, self._now = path, printable(str(path)), now
        self._retention = Retention(retention or RetentionConfig(), now=now)
        self._check: BackgroundCheck | None = None
        self._ids_before = (0, 0)  # the last event and gap before this session
        self._last_time = ""  # that earlier sessions have, if the clock is before it
        self._has_wrong_times = True  # maybe, of a process that was killed

    @property
    def is_damaged(self) -> bool:
        """Whether the check in the background has found damage."""
        return self._check is not None and self._check.is_damaged

    def begin(self, connection: sqlite3.Connection, session_id: int) -> list[Message]:
        """Take a database that was opened and has a new session; return what to report.

        Raises
        ------
        sqlite3.Error, OSError
            If it cannot be used.
        """
        self.close()
        self._check = check_in_background(self._path)
        self._ids_before = connection.execute(_LAST_IDS).fetchone()
        self._has_wrong_times = True
        self._last_time = is_before_last(connection, session_id, self._now())
        if not self._last_time:
            return []
        connection.execute(MARK_UNDATED, (session_id,))
        clock = iso_time(datetime.fromtimestamp(self._now()).astimezone())
        return [
            Problem(
                f"{self._name}: the clock says {clock}, which is before the last event "
                f"({self._last_time}); this session is undated until the clock is set"
            )
        ]

    def clock_stepped(
        self, connection: sqlite3.Connection | None, session_id: int | None, seconds: float
    ) -> list[tuple[str, Sequence[Any]]]:
        """Return the statements that record a step of the clock, with their values.

        The first value, the session, is left out. What was not written yet is before the step.
        """
        self._retention.distrust_clock()
        self._has_wrong_times = True
        event, gap = self._ids_before
        statements: list[tuple[str, Sequence[Any]]] = [
            (ADD_CLOCK_STEP, (self._now(), seconds, event, gap))
        ]
        if self._last_time and connection is not None and session_id is not None:
            self._last_time = is_before_last(connection, session_id, self._now())
            if not self._last_time:
                statements.append((MARK_DATED, ()))
        return statements

    def step(self, connection: sqlite3.Connection) -> list[Message]:
        """Do some of what there is to do; return the clips that were renamed, for example.

        Raises
        ------
        sqlite3.Error
            If the database cannot be written.
        """
        if self._has_wrong_times:
            return self._correct(connection)
        self._retention.step(connection)
        return []

    def close(self) -> None:
        """End the check in the background."""
        if self._check is not None:
            self._check.close()
        self._check = None

    def _correct(self, connection: sqlite3.Connection) -> list[Message]:
        messages: list[Message] = []
        started = time.monotonic()
        while time.monotonic() - started < MAX_CORRECTING_SECONDS:
            corrected = correct_times(connection)
            if corrected is None:
                self._has_wrong_times = False
                break
            messages += corrected
        if messages:
            clips = pluralize(len(messages), "clip")
            messages.append(Problem(f"{self._name}: {clips} got the names of corrected times"))
        return messages
