"""Store live events in an SQLite database that several sessions share.

::

    sessions  id, started, ended, model      ended is NULL during a session, or if it was killed
    events    id, session_id, source, label, onset, offset, score, time, unix_time, clip_path
    gaps      id, session_id, source, onset, offset, n_samples, reason, time, unix_time
    verdicts  event_id, verdict, reviewed_at    what people say about events: right or wrong
    species   label, scientific_name, common_name     only of models that know species

`onset` and `offset` are seconds on the sample clock of the session. `time` is the onset in local
time, ISO 8601 with milliseconds and UTC offset: ``substr(time, 1, 10)`` is the day and
``substr(time, 12, 2)`` the hour. `unix_time` is the same moment in seconds since 1970; it has an
index. `clip_path` is the path of a FLAC file, or NULL. Ids only grow. `n_samples` is 0 if the
number of lost samples is unknown. Examples of queries::

    SELECT label, count(*) FROM events
    WHERE unix_time > unixepoch('now', '-1 day') GROUP BY label;

    pandas.read_sql("SELECT * FROM events", sqlite3.connect("events.db"))

`PRAGMA user_version` is the version of this schema. An event is committed before any later sink
receives it, so it survives a killed process; a power failure may cost the last seconds.
`streaming.sinks.record` reads the database, and changes it as people ask.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Mapping, Sequence
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
from streaming.messages import ClipSaved, EventEnded, FaultReporter, Gap, Message, Problem, Status
from streaming.sinks.place import CUT, EMPTIED, FilePlace
from streaming.sinks.record.schema import begin_session

END_SESSION = "UPDATE sessions SET ended = ?2 WHERE id = ?1"
ADD_EVENT = """
INSERT INTO events (session_id, source, label, onset, offset, score, time, unix_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_GAP = """
INSERT INTO gaps (session_id, source, onset, offset, n_samples, reason, time, unix_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_CLIP = """
UPDATE events SET clip_path = ?2
WHERE unix_time = ?3 AND session_id = ?1 AND source = ?4 AND label = ?5
"""

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
    ) -> None:
        self._path = Path(path)
        self._name = printable(os.fspath(path))
        self._log_path = Path(f"{path}-wal")
        self._model, self._species = to_utf8(model), dict(species or {})
        self._connection: sqlite3.Connection | None = None
        self._session_id: int | None = None
        self._n_written = 0  # events and gaps in this database
        self._notices: list[Message] = []
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
        match message:
            case EventEnded(event):
                names = to_utf8(event.file), to_utf8(event.label)
                span = event.onset, event.offset, event.score
                moment = iso_time(event.time), _unix_time(event.time)
                self._add(ADD_EVENT, *names, *span, *moment)
            case ClipSaved(event, str(path)):
                names = to_utf8(event.file), to_utf8(event.label)
                self._add(ADD_CLIP, to_utf8(os.path.abspath(path)), _unix_time(event.time), *names)
            case Gap():
                span = message.onset, message.offset, message.n_samples
                moment = iso_time(message.time), _unix_time(message.time)
                source, reason = to_utf8(message.source), to_utf8(message.reason)
                self._add(ADD_GAP, source, *span, reason, *moment)
        if not self._pending and not isinstance(message, Status):
            return []
        if self._faults.is_faulty and time.monotonic() < self._retry_at:
            return []
        messages = self._follow()
        return [*messages, *self._write()] if self._pending or self._faults.is_faulty else messages

    def close(self) -> Sequence[Message]:
        """Write what is pending, end the session and close the file."""
        now = iso_time(datetime.now().astimezone())
        self._pending.append((END_SESSION, (now,)))
        messages = self._follow()
        self._set_timeout(TIMEOUT_SECONDS)
        messages += self._write()
        self._disconnect()
        if n_left := _n_rows(self._pending) + self._n_lost:
            return [Problem(f"{self._name}: closed with {n_left} events and gaps not written")]
        return messages

    def _add(self, statement: str, *values: Any) -> None:
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
        values = self._path, self._model, self._species
        try:
            if is_cut(self._path) and has_id(self._path, LIVE_RECORD):
                self._set_aside(DAMAGED.format(self._name))
            self._connection, self._session_id = begin_session(*values)
        except (DatabaseError, sqlite3.Error):
            if is_sound(self._path) or not has_id(self._path, LIVE_RECORD):
                raise
            self._set_aside(DAMAGED.format(self._name))
            self._connection, self._session_id = begin_session(*values)
        self._place.take()
        self._log_place.take()
        self._n_written = 0

    def _disconnect(self, *, with_log: bool = True) -> None:
        """Close the connection; a database that was moved gets all that is still in its log."""
        connection, self._connection = self._connection, None
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
        # SQLite deletes the log of an empty database, so that is not opened any more. A
        # database that its user compacts is shorter too, but not damaged.
        elif change == EMPTIED or ((change or log_change) and not is_sound(self._path)):
            file = self._name if change else f"{self._name}-wal"
            went = f"{self._n_written} events and gaps of this session may be gone"
            self._set_aside(f"{file}: {change or log_change}; {went}")

    def _set_aside(self, text: str) -> None:
        """Keep a damaged database under another name, and report that."""
        kept = set_aside(self._path)
        # As its files were moved, nothing of the log is written to them any more.
        self._disconnect(with_log=False)
        self._notices.append(Problem(f"{text}; what is left is kept as {printable(str(kept))}"))

    def _end_moved_session(self) -> None:
        now = iso_time(datetime.now().astimezone())
        # A database that was removed cannot be written.
        with suppress(sqlite3.Error):
            assert self._connection is not None
            self._connection.execute(END_SESSION, (self._session_id, now))

    def _write(self) -> Sequence[Message]:
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

    def _report_fault(self, error: Exception) -> Sequence[Message]:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._faults.is_faulty:
            self._set_timeout(RETRY_TIMEOUT_SECONDS)
        cause = error.strerror or error if isinstance(error, OSError) else error
        reason = f"{self._name}: cannot write: {cause}."
        return self._faults.update(f"{reason} Detection continues, and events wait in memory.")

    def _report_recovery(self, n_written: int) -> Sequence[Message]:
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


def _unix_time(time: datetime | None) -> float:
    """Return a time in seconds since 1970. Every event of a `Listener` has a time."""
    if time is None:
        raise ValueError("expected an event with its time, as a Listener reports it")
    return time.timestamp()


def _taken(notices: list[Message]) -> list[Message]:
    taken, notices[:] = notices[:], []
    return taken


def _n_rows(statements: Sequence[tuple[str, Sequence[Any]]] | deque[tuple[str, Any]]) -> int:
    """Return how many events and gaps there are among statements."""
    return sum(statement in (ADD_EVENT, ADD_GAP) for statement, _ in statements)
