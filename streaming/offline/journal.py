"""What an archive's scan has done, in SQLite: it can be killed at any moment and gone on with.

::

    settings    name, value                          what was asked for
    recordings  id, name, path, n_bytes, state, processed_seconds, failure, n_finished
    events      recording, n, onset, offset, label, score, time        n counts within a recording

A recording is ``waiting``, ``started``, and then ``done`` or ``failed``. It is finished together
with its events in one transaction, so there is never a part of them. What waited in an earlier run
and is not asked for in this one is ``left`` as it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sed.audio.find import Recording
from sed.errors import OutputError, UsageError
from sed.events.sqlite import DatabaseError, open_sqlite
from sed.events.tracker import Event
from sed.text import printable
from streaming.offline.job import JobResult

APPLICATION_ID = 0x5345444A  # "SEDJ", by which a journal of ours is known
SCHEMA_VERSION = 2
TIMEOUT_SECONDS = 0.5  # until a journal counts as in use by another run
SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recordings (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    n_bytes INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    processed_seconds REAL NOT NULL DEFAULT 0,
    failure TEXT NOT NULL DEFAULT '',
    n_finished INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS recordings_by_state ON recordings (state, name);
CREATE TABLE IF NOT EXISTS events (
    recording INTEGER NOT NULL REFERENCES recordings (id),
    n INTEGER NOT NULL,
    onset REAL NOT NULL,
    offset REAL NOT NULL,
    label TEXT NOT NULL,
    score REAL NOT NULL,
    time TEXT,
    PRIMARY KEY (recording, n)
) WITHOUT ROWID;
"""
# The bytes of a name need not be text; CAST takes them as they are. A recording that has changed
# its size since it was finished was perhaps still being copied then: it waits again, and so does
# what failed.
PLAN = """
INSERT INTO recordings (name, path, n_bytes) VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?)
ON CONFLICT (name) DO UPDATE SET
    state = iif(n_bytes = excluded.n_bytes AND state = 'done', 'done', 'waiting'),
    path = excluded.path,
    n_bytes = excluded.n_bytes
"""
FINISH = """
UPDATE recordings
SET state = ?, processed_seconds = ?, failure = CAST(? AS TEXT), n_finished = n_finished + 1
WHERE id = ?
"""
ALL_EVENTS = """
SELECT onset, offset, label, score, path, time
FROM recordings CROSS JOIN events ON recording = id
WHERE state IN ('done', 'failed')
ORDER BY name, n
"""
TOTALS = """
SELECT total(state != 'left'), total(n_bytes * (state != 'left')),
    total(state IN ('done', 'failed')), total(n_bytes * (state IN ('done', 'failed'))),
    total(state = 'left')
FROM recordings
"""
PAGE = 256  # recordings that are read from the list at once


class Totals(NamedTuple):
    """How far a scan has come."""

    n_recordings: int
    n_bytes: int
    n_finished: int  # of the recordings
    n_bytes_finished: int
    n_left: int = 0  # waited in an earlier run, and not asked for in this one


class Journal:
    """Keeps the list of recordings, what became of each, and their events.

    It belongs to one process at a time, for as long as that lives.

    Parameters
    ----------
    path
        The file; made if it is missing.

    Raises
    ------
    DatabaseError
        If it is of another program or a newer version, is broken, or another process has it.
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(path, error) from error
        with self._told():
            self._connection = _opened(self._path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def begin(self, asked: Mapping[str, str], root: str, *, resume: bool) -> str:
        """Note what is asked for, or make sure that it is what the journal was begun with.

        A journal in which nothing is finished yet is begun anew.

        Parameters
        ----------
        asked
            All that the results depend on, by the names of the options.
        root
            The folder that holds the recordings, as an absolute path.
        resume
            Whether to go on with what is there.

        Returns
        -------
        The folder to which the names of recordings are relative, as it was at the first time.

        Raises
        ------
        UsageError
            If there is something to go on with and nobody asked for it, or other settings.
        """
        if not self.totals().n_finished:
            self._begin_anew({**asked, "root": root})
            return root
        return self._begun_root(dict(asked), root, resume=resume)

    def plan(self, recordings: Iterable[Recording]) -> None:
        """Put recordings, in any number, on the list; what is finished stays so."""
        rows = ((_raw(r.name), _raw(r.path), r.n_bytes) for r in recordings)
        with self._transaction() as connection:
            connection.execute("UPDATE recordings SET state = 'left' WHERE state = 'waiting'")
            connection.executemany(PLAN, rows)

    def waiting(self) -> Iterator[Recording]:
        """Yield the recordings that are to be heard, in the order of their names.

        They may be started and finished meanwhile.
        """
        last = b""
        while page := self._page("waiting", last):
            yield from page
            last = _raw(page[-1].name)

    def started(self) -> list[Recording]:
        """Return the recordings that were started and not finished."""
        return self._page("started", b"", most=-1)

    def start(self, recording: Recording) -> None:
        """Note that a recording is being heard."""
        self._set_state("started", recording)

    def undo(self, recording: Recording) -> None:
        """Put a recording that was started back on the list."""
        self._set_state("waiting", recording)

    def finish(self, recording: Recording, outcome: JobResult) -> None:
        """Note what became of a recording, together with its events, in place of any before."""
        state = "failed" if outcome.failure else "done"
        with self._transaction() as connection:
            query = "SELECT id FROM recordings WHERE name = CAST(? AS TEXT)"
            (key,) = connection.execute(query, (_raw(recording.name),)).fetchone()
            values = state, outcome.processed_seconds, _raw(outcome.failure), key
            connection.execute(FINISH, values)
            connection.execute("DELETE FROM events WHERE recording = ?", (key,))
            connection.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (key, n, e.onset, e.offset, e.label, e.score, e.time and e.time.isoformat())
                    for n, e in enumerate(outcome.events)
                ),
            )

    def totals(self) -> Totals:
        """Return how far it has come; what failed and is to be tried again is not finished."""
        (totals,) = self._rows(TOTALS)
        return Totals(*map(int, totals))

    def events(self) -> Iterator[Event]:
        """Yield all events, in the order of the names of the recordings."""
        for onset, offset, label, score, path, time in self._rows(ALL_EVENTS):
            dated = datetime.fromisoformat(time) if time else None
            yield Event(onset, offset, label, score, path, dated)

    def failures(self) -> Iterator[tuple[str, str]]:
        """Yield the path of each recording that failed and what was wrong, in order of names."""
        yield from self._rows(
            "SELECT path, failure FROM recordings WHERE state = 'failed' ORDER BY name"
        )

    def _begin_anew(self, settings: Mapping[str, str]) -> None:
        with self._transaction() as connection:
            for table in ("events", "recordings", "settings"):
                connection.execute(f"DELETE FROM {table}")
            connection.executemany(
                "INSERT INTO settings VALUES (?, CAST(? AS TEXT))",
                ((name, _raw(value)) for name, value in settings.items()),
            )

    def _begun_root(self, asked: dict[str, str], root: str, *, resume: bool) -> str:
        folder = printable(str(self._path.parent))
        if not resume:
            raise UsageError(
                f"{folder}: an earlier run left results here. Give --resume to go on with it, or "
                "another --output."
            )
        begun: dict[str, str] = dict(self._rows("SELECT name, value FROM settings"))
        old_root = begun.pop("root")
        if os.path.commonpath([root, old_root]) != old_root:
            raise UsageError(
                f"{folder}: is about recordings in {printable(old_root)}, and {printable(root)} "
                "lies outside of it. Give another --output."
            )
        for name in sorted(begun.keys() | asked.keys()):
            was, now = begun.get(name, "nothing"), asked.get(name, "nothing")
            if was != now:
                raise UsageError(
                    f"{folder}: was begun with {name} {was}, and now it is {now}. Ask for the "
                    "same to resume, or give another --output."
                )
        return old_root

    def _set_state(self, state: str, recording: Recording) -> None:
        query = "UPDATE recordings SET state = ? WHERE name = CAST(? AS TEXT)"
        with self._transaction() as connection:
            connection.execute(query, (state, _raw(recording.name)))

    def _page(self, state: str, after: bytes, most: int = PAGE) -> list[Recording]:
        query = """
        SELECT path, name, n_bytes FROM recordings
        WHERE state = ? AND name > CAST(? AS TEXT) ORDER BY name LIMIT ?
        """
        return [Recording(*row) for row in self._rows(query, state, after, most)]

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        with self._told():
            yield from self._connection.execute(query, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all of it or nothing."""
        with self._told(), self._connection as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in the words of a person what SQLite cannot do."""
        name = printable(str(self._path))
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise DatabaseError(
                    f"{name}: another run is at work here. Wait for it, or give another --output."
                ) from error
            raise OutputError(self._path, OSError(None, str(error))) from error
        except sqlite3.DatabaseError as error:
            raise DatabaseError(
                f"{name}: is no journal that can be read ({error}). Give another --output."
            ) from error


def _opened(path: Path) -> sqlite3.Connection:
    """Open a journal, locked for this process, so that no second run can use it."""
    connection = open_sqlite(
        path,
        application_id=APPLICATION_ID,
        version=SCHEMA_VERSION,
        schema=SCHEMA,
        exclusive=True,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
