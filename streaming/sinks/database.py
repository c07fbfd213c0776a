"""Store live events in an SQLite database that several sessions share.

`streaming.sinks.record.schema` describes the tables; `PRAGMA user_version` is their version. An
event is committed before any later sink receives it, so it survives a killed process; a power
failure may cost the last seconds. `streaming.sinks.record` reads the database, and changes
it as people ask.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sed.errors import OutputError
from sed.events.sqlite import (
    LIVE_RECORD,
    TIMEOUT_SECONDS,
    DatabaseError,
    has_id,
    is_cut,
    is_log_cut,
    is_sound,
    set_aside,
)
from sed.text import iso_time, printable, to_utf8
from streaming.messages import ClockStepped, FaultReporter, Message, Problem, Status
from streaming.sinks.record.schema import (
    ADD_EVENT,
    ADD_GAP,
    END_LOST_SESSION,
    END_SESSION,
    begin_session,
    statement_for,
)
from streaming.sinks.storage.integrity import is_sound_at_start
from streaming.sinks.storage.place import CUT, EMPTIED, FilePlace
from streaming.sinks.storage.retention import RetentionConfig
from streaming.sinks.storage.upkeep import Upkeep

log = logging.getLogger("sed.database")

# Detection waits for a write, so a write waits for other processes only shortly.
WRITE_TIMEOUT_SECONDS = 0.2
RETRY_SECONDS = 0.5  # from one attempt to the next while writing fails
RETRY_TIMEOUT_SECONDS = 0.02
DAMAGED = "{}: is damaged; its events may be gone"
MAX_PENDING = 10_000  # statements in memory that wait for the database
# Errors after which a connection is of no use any more, and another one may be.
BROKEN = frozenset(
    [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN]
)


class EventDatabase:
    """Store events, the paths of their clips, and gaps.

    While the database cannot be written (another process has locked it, the disk is full), up to
    `MAX_PENDING` statements wait in memory and are retried with later messages. A database that was
    removed, moved or replaced is reported, and another one is begun, within the time between two
    statuses; one that is damaged is kept under another name first. A disk that was unmounted is
    waited for.

    Parameters
    ----------
    path
        The file; created if it is missing, continued if it exists.
    model
        Name of the model, stored with the session.
    species
        Scientific and common name of each label, for the table of species.
    retention
        Limits beyond which the oldest events are deleted, some at each status; none if not given.
    now
        Returns the seconds since 1970.

    Raises
    ------
    DatabaseError
        If the file belongs to another program or has another schema version. It is not changed.
    OutputError
        If the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        model: str = "",
        species: Mapping[str, tuple[str, str]] | None = None,
        retention: RetentionConfig | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path)
        self._name = printable(os.fspath(path))
        self._log_path = Path(f"{path}-wal")
        self._model, self._species = to_utf8(model), dict(species or {})
        self._connection: sqlite3.Connection | None = None
        self._session_id: int | None = None
        self._started = self._ended = ""  # times of the session
        self._n_written = 0  # events and gaps in this database
        self._notices: list[Message] = []
        self._upkeep = Upkeep(self._path, retention, now=now)
        try:
            self._place, self._log_place = FilePlace(self._path), FilePlace(self._log_path)
            self._connect()
        except OSError as error:
            raise OutputError(path, error) from error
        except sqlite3.Error as error:
            raise OutputError(path, OSError(None, str(error))) from error
        self._pending: deque[tuple[str, Sequence[Any]]] = deque()  # statements and their values
        self._n_lost = 0  # events and gaps that were dropped since writing fails
        self._faults = FaultReporter()
        self._retry_at = 0.0
        self._set_timeout(WRITE_TIMEOUT_SECONDS)

    def handle(self, message: Message) -> Sequence[Message]:
        """Commit an event, a clip or a gap; return the problem or recovery to report.

        Raises
        ------
        ValueError
            If an event has no time.
        """
        if (stored := statement_for(message)) is not None:
            self._add(*stored)
        elif isinstance(message, ClockStepped):
            session = self._connection, self._session_id
            self._pending += self._upkeep.clock_stepped(*session, message.seconds)
        if not self._pending and not isinstance(message, Status):
            return []
        if self._faults.is_faulty and time.monotonic() < self._retry_at:
            return []
        messages: list[Message] = self._follow()
        if self._pending or self._faults.is_faulty:
            messages += self._write()
        return (
            messages + self._maintain() if isinstance(message, Status | ClockStepped) else messages
        )

    def close(self) -> Sequence[Message]:
        """Write what is pending, end the session and close the file."""
        now = iso_time(datetime.now().astimezone())
        self._pending.append((END_SESSION, (now,)))
        messages = self._follow()
        self._set_timeout(TIMEOUT_SECONDS)
        messages += self._write()
        self._disconnect()
        self._upkeep.close()
        if n_left := _n_rows(self._pending) + self._n_lost:
            return [Problem(f"{self._name}: closed with {n_left} events and gaps not written")]
        return messages

    def _add(self, statement: str, values: Sequence[Any]) -> None:
        self._pending.append((statement, values))
        if len(self._pending) > MAX_PENDING:
            self._n_lost += _n_rows([self._pending.popleft()])

    def _connect(self) -> None:
        """Open the database and begin a session; a damaged one is kept under another name.

        Its disk is looked for first: else folders would be made where the disk was.
        """
        self._place.check_disk()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if is_log_cut(self._path):
            text = f"{self._name}-wal: is cut short; the last events before may be lost"
            self._notices.append(Problem(text))
        try:
            is_bad = is_cut(self._path) or not is_sound_at_start(self._path)
            if is_bad and has_id(self._path, LIVE_RECORD):
                self._set_aside(DAMAGED.format(self._name))
            self._begin_session()
        except (DatabaseError, sqlite3.Error):
            if is_sound(self._path) or not has_id(self._path, LIVE_RECORD):
                raise
            self._set_aside(DAMAGED.format(self._name))
            self._begin_session()
        self._place.take()
        self._log_place.take()
        self._n_written = 0

    def _begin_session(self) -> None:
        connection, session = begin_session(self._path, self._model, self._species)
        before = self._session_id, self._ended, self._started
        self._connection, self._session_id = connection, session
        query = "SELECT started FROM sessions WHERE id = ?"
        (self._started,) = connection.execute(query, (session,)).fetchone()
        # A fault may have ended the session before; its start says whether it is in here.
        connection.execute(END_LOST_SESSION, before)
        self._notices += self._upkeep.begin(connection, session)

    def _disconnect(self, *, with_log: bool = True) -> None:
        """Close the connection; a database that was moved gets all that is still in its log."""
        connection, self._connection = self._connection, None
        self._ended = iso_time(datetime.now().astimezone())
        # The file, or its disk, may be gone.
        if connection is not None:
            with suppress(sqlite3.Error):
                if with_log:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with suppress(sqlite3.Error):
                connection.close()

    def _follow(self) -> list[Message]:
        """Open the database again if its file is no longer the one at its path."""
        is_new = False
        try:
            if self._connection is not None:
                self._look()
            if is_new := self._connection is None:
                self._connect()
                self._set_timeout(WRITE_TIMEOUT_SECONDS)
        except (OSError, sqlite3.Error, DatabaseError) as error:
            return [*_taken(self._notices), *self._report_fault(error)]
        opened = Problem(f"{self._name}: opened again, as a new session")
        return [*_taken(self._notices), *[opened] * is_new]

    def _look(self) -> None:
        """Disconnect if the file or its log is no longer at its path, or is damaged."""
        change, log_change = self._place.change(), self._log_place.change()
        if change not in ("", CUT, EMPTIED):
            went = f"; {self._n_written} events and gaps of this session went with it"
            text = f"{self._name}: {change}{went * bool(self._n_written)}"
            self._notices.append(Problem(text))
            self._end_moved_session()
            self._disconnect()
        elif log_change not in ("", CUT, EMPTIED):
            # What is in it is still open here, and is now written to the database.
            self._disconnect()
            self._notices.append(Problem(f"{self._name}-wal: {log_change}; nothing is lost"))
        elif self._upkeep.is_damaged:
            self._set_aside(DAMAGED.format(self._name))
        elif change == CUT and not log_change and self._has_all_pages():
            pass  # it was made smaller
        # SQLite deletes the log of an empty database, so that is not opened any more. A
        # database that its user compacts is shorter too, but not damaged.
        elif change == EMPTIED or ((change or log_change) and not is_sound(self._path)):
            file = self._name if change else f"{self._name}-wal"
            went = f"{self._n_written} events and gaps of this session may be gone"
            self._set_aside(f"{file}: {change or log_change}; {went}")

    def _has_all_pages(self) -> bool:
        assert self._connection is not None
        pages = (self._connection.execute(f"PRAGMA page_{each}") for each in ("count", "size"))
        return self._place.size >= math.prod(int(cursor.fetchone()[0]) for cursor in pages)

    def _maintain(self) -> list[Message]:
        """Do a part of the upkeep, unless something is wrong."""
        if self._connection is None or self._pending or self._faults.is_faulty:
            return []
        try:
            return self._upkeep.step(self._connection)
        # What it could not do it tries again; that nothing can be written an event will show.
        except sqlite3.Error as error:
            log.debug("%s: upkeep: %s", self._name, error)
            return []

    def _set_aside(self, text: str) -> None:
        """Keep a damaged database under another name, and report that."""
        kept = set_aside(self._path)
        self._upkeep.close()
        # As its files were moved, nothing of the log is written to them any more.
        self._disconnect(with_log=False)
        self._notices.append(Problem(f"{text}; what is left is kept as {printable(str(kept))}"))

    def _end_moved_session(self) -> None:
        now = iso_time(datetime.now().astimezone())
        # A database that was removed cannot be written.
        with suppress(sqlite3.Error):
            assert self._connection is not None
            self._connection.execute(END_SESSION, (self._session_id, now))

    def _write(self) -> list[Message]:
        """Write all pending statements in one transaction."""
        if self._connection is None:
            return []
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, values in self._pending:
                    self._connection.execute(statement, (self._session_id, *values))
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF in BROKEN:
                self._drop_broken()
            return [*_taken(self._notices), *self._report_fault(error)]
        self._place.grow()
        self._log_place.grow()
        n_written = _n_rows(self._pending)
        self._n_written += n_written
        self._pending.clear()
        return self._report_recovery(n_written)

    def _drop_broken(self) -> None:
        """Disconnect from a database that cannot be used, and set it aside if it is damaged."""
        if is_sound(self._path):
            self._disconnect()
            return
        with suppress(OSError):  # it is tried again with the next message
            self._set_aside(DAMAGED.format(self._name))

    def _report_fault(self, error: Exception) -> list[Message]:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._faults.is_faulty:
            self._set_timeout(RETRY_TIMEOUT_SECONDS)
        cause = error.strerror or error if isinstance(error, OSError) else error
        reason = f"{self._name}: cannot write: {cause}."
        return self._faults.update(f"{reason} Detection continues, and events wait in memory.")

    def _report_recovery(self, n_written: int) -> list[Message]:
        if not self._faults.is_faulty:
            return []
        self._set_timeout(WRITE_TIMEOUT_SECONDS)
        lost = f"; {self._n_lost} more were dropped" if self._n_lost else ""
        self._n_lost = 0
        text = f"{self._name}: written again, with {n_written} events and gaps that waited{lost}"
        return self._faults.update(None, recovery=text)

    def _set_timeout(self, seconds: float) -> None:
        """Set how long a write waits for other processes."""
        if self._connection is not None:
            self._connection.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")


def _taken(notices: list[Message]) -> list[Message]:
    taken, notices[:] = notices[:], []
    return taken


def _n_rows(statements: Sequence[tuple[str, Sequence[Any]]] | deque[tuple[str, Any]]) -> int:
    """Return how many events and gaps there are among statements."""
    return sum(statement in (ADD_EVENT, ADD_GAP) for statement, _ in statements)
