"""Events in SQLite: one file that many sessions go into, and that anybody can query.

::

    sessions  id, started, ended, model       ended is NULL while it listens, or if it was killed
    events    id, session, source, label, onset, offset, score, time, unix, clip
    gaps      id, session, source, onset, offset, n_samples, reason, time, unix

`onset` and `offset` are seconds on the clock of the samples of the session. `time` is the onset in
local time, ISO 8601 with milliseconds and zone, so ``substr(time, 1, 10)`` is the day and
``substr(time, 12, 2)`` the hour; `unix` is the same moment in seconds since 1970, and has an index.
`clip` is the path of a FLAC file, or NULL. Ids only grow. `n_samples` is 0 if nobody knows how many
samples were lost::

    SELECT label, count(*) FROM events WHERE unix > unixepoch('now', '-1 day') GROUP BY label;
    pandas.read_sql("SELECT * FROM events", sqlite3.connect("events.db"))

`PRAGMA user_version` is the version of this schema. An event is in the file, for whoever reads it
and also if this program is killed, before anybody else is told that it is complete; a power cut may
cost the last seconds. `streaming.sinks.history` has functions that read.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from sed.errors import OutputError
from sed.events.sqlite import TIMEOUT_SECONDS, open_sqlite, read_sqlite
from sed.events.tracker import Event
from sed.text import iso_time, printable, to_utf8
from streaming.messages import ClipSaved, EventEnded, Gap, Message, Problem

APPLICATION_ID = 0x5345444C  # "SEDL", by which a database of ours is known
SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started TEXT NOT NULL,
    ended TEXT,
    model TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions (id),
    source TEXT NOT NULL,
    label TEXT NOT NULL,
    onset REAL NOT NULL,
    offset REAL NOT NULL,
    score REAL NOT NULL,
    time TEXT NOT NULL,
    unix REAL NOT NULL,
    clip TEXT
);
CREATE TABLE IF NOT EXISTS gaps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions (id),
    source TEXT NOT NULL,
    onset REAL NOT NULL,
    offset REAL NOT NULL,
    n_samples INTEGER NOT NULL,
    reason TEXT NOT NULL,
    time TEXT NOT NULL,
    unix REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (unix);
CREATE INDEX IF NOT EXISTS gaps_by_time ON gaps (unix);
"""
BEGIN_SESSION = "INSERT INTO sessions (started, model) VALUES (?, ?)"
END_SESSION = "UPDATE sessions SET ended = ? WHERE id = ?"
ADD_EVENT = """
INSERT INTO events (session, source, label, onset, offset, score, time, unix)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_GAP = """
INSERT INTO gaps (session, source, onset, offset, n_samples, reason, time, unix)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_CLIP = """
UPDATE events SET clip = ?2 WHERE unix = ?3 AND session = ?1 AND source = ?4 AND label = ?5
"""

PATIENCE_SECONDS = 0.2  # that a write waits for another process; listening waits too
RETRY_SECONDS = 0.5  # from one try to the next, as long as it fails
RETRY_PATIENCE_SECONDS = 0.02
MOST_WAITING = 10_000  # writes in memory that wait for the database


class EventDatabase:
    """Keeps events, where their clips are, and gaps; a sink of messages.

    While the database cannot be written, because another process holds it or the disk is full, up
    to `MOST_WAITING` writes wait in memory, and are tried again with the messages that come.

    Parameters
    ----------
    path
        The file; made if it is missing, gone on with if it is there.
    model
        Its name, for the table of sessions.

    Raises
    ------
    DatabaseError
        If the file is something else, or of a newer version; it is not touched.
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, model: str = "") -> None:
        self._path = Path(path)
        self._name = printable(os.fspath(path))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection, self._session = _begun_session(self._path, to_utf8(model))
        except OSError as error:
            raise OutputError(path, error) from error
        except sqlite3.Error as error:
            raise OutputError(path, OSError(None, str(error))) from error
        self._waiting: deque[tuple[str, Sequence[Any]]] = deque()  # statements and their values
        self._n_lost = 0  # events and gaps that there was no room for, since it failed
        self._is_failing = False
        self._retry_at = 0.0
        self._be_patient(PATIENCE_SECONDS)

    def handle(self, message: Message) -> Sequence[Message]:
        """Write what is to be kept; it is in the file when this returns, or a `Problem` says why.

        Raises
        ------
        ValueError
            If an event has no time; a listener gives it one.
        """
        match message:
            case EventEnded(event):
                span = event.onset, event.offset, event.score
                self._keep(ADD_EVENT, *names_of(event), *span, *calendar(event.time))
            case ClipSaved(event, str(path)):
                clip, (_, unix) = to_utf8(os.path.abspath(path)), calendar(event.time)
                self._keep(ADD_CLIP, clip, unix, *names_of(event))
            case Gap():
                what = message.onset, message.offset, message.n_samples, to_utf8(message.reason)
                self._keep(ADD_GAP, to_utf8(message.source), *what, *calendar(message.time))
        if not self._waiting or (self._is_failing and time.monotonic() < self._retry_at):
            return ()
        return self._write()

    def close(self) -> Sequence[Message]:
        """Write what waits, end the session and close the file."""
        self._waiting.append((END_SESSION, (iso_time(_now()), self._session)))
        self._be_patient(TIMEOUT_SECONDS)
        told = self._write()
        self._connection.close()
        if n_left := _n_rows(self._waiting) + self._n_lost:
            return [Problem(f"{self._name}: closed with {n_left} events and gaps not written")]
        return told

    def _keep(self, statement: str, *values: Any) -> None:
        self._waiting.append((statement, (self._session, *values)))
        if len(self._waiting) > MOST_WAITING:
            self._n_lost += _n_rows([self._waiting.popleft()])

    def _write(self) -> Sequence[Message]:
        """Write all that waits, or nothing; return what is new about how that goes."""
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, values in self._waiting:
                    self._connection.execute(statement, values)
        except sqlite3.Error as error:
            return self._failed(error)
        n_written = _n_rows(self._waiting)
        self._waiting.clear()
        return self._succeeded(n_written)

    def _failed(self, error: sqlite3.Error) -> Sequence[Message]:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        was_failing, self._is_failing = self._is_failing, True
        if was_failing:
            return ()
        self._be_patient(RETRY_PATIENCE_SECONDS)
        reason = f"{self._name}: cannot write: {error}."
        return [Problem(f"{reason} Listening goes on, and events wait in memory for it.")]

    def _succeeded(self, n_written: int) -> Sequence[Message]:
        if not self._is_failing:
            return ()
        self._is_failing = False
        self._be_patient(PATIENCE_SECONDS)
        lost = f"; {self._n_lost} were too many to wait and are lost" if self._n_lost else ""
        self._n_lost = 0
        text = f"{self._name}: written again, with {n_written} events and gaps that waited{lost}"
        return [Problem(text)]

    def _be_patient(self, seconds: float) -> None:
        """Set how long a write waits for other processes."""
        self._connection.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")


def _begun_session(path: Path, model: str) -> tuple[sqlite3.Connection, int | None]:
    """Open a database and start a session; return the connection and the id of the session."""
    connection = open_sqlite(
        path,
        application_id=APPLICATION_ID,
        version=SCHEMA_VERSION,
        schema=SCHEMA,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    try:
        begun = connection.execute(BEGIN_SESSION, (iso_time(_now()), model))
    except sqlite3.Error:
        connection.close()
        raise
    return connection, begun.lastrowid


def read_database(path: str | os.PathLike[str]) -> AbstractContextManager[sqlite3.Connection]:
    """Open a database of events read-only for the duration of a context.

    Raises
    ------
    DatabaseError
        If it is not a database of events of this version, or cannot be read.
    """
    return read_sqlite(path, application_id=APPLICATION_ID, version=SCHEMA_VERSION)


def _n_rows(statements: Sequence[tuple[str, Sequence[Any]]] | deque[tuple[str, Any]]) -> int:
    """Return how many events and gaps there are among statements."""
    return sum(statement in (ADD_EVENT, ADD_GAP) for statement, _ in statements)


def names_of(event: Event) -> tuple[str, str]:
    """Return the input and the label of an event, as they are stored."""
    return to_utf8(event.file), to_utf8(event.label)


def calendar(time: datetime | None) -> tuple[str, float]:
    """Return a time as text and in seconds since 1970."""
    if time is None:
        raise ValueError("expected an event with its time, as a listener gives it")
    return iso_time(time), time.timestamp()


def _now() -> datetime:
    return datetime.now().astimezone()
