"""Record what a scan has done, in SQLite, so that it can be killed at any moment and resumed.

::

    settings    name, value                          all that the results depend on
    recordings  id, name, path, n_bytes, state, processed_seconds, failure, is_damaged, notices, …
    events      recording, n, onset, offset, label, score, time        n counts within a recording

A recording is ``waiting``, ``started``, and then ``done`` or ``failed``. It is finished together
with its events in one transaction, so there is never a part of them. A recording that was waiting
in an earlier run, and is not requested in this one, is ``not_requested``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sed.audio.find import Recording
from sed.audio.version import is_version, recording_version
from sed.errors import OutputError, SedError, UsageError
from sed.events.sqlite import DatabaseError, open_sqlite
from sed.events.tracker import Event
from sed.text import printable
from streaming.offline.job import JobResult
from streaming.offline.job_config import check_resumed
from streaming.offline.summary import RecordingProblem, Totals

TIMEOUT_SECONDS = 0.5  # until a journal counts as in use by another run
APPLICATION_ID = 0x5345444A  # "SEDJ"
SCHEMA_VERSION = 4
_ADD_PROBLEMS = """
ALTER TABLE recordings ADD COLUMN is_damaged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recordings ADD COLUMN notices TEXT NOT NULL DEFAULT '';
"""
UPGRADES = {
    2: f"ALTER TABLE recordings ADD COLUMN version TEXT NOT NULL DEFAULT '';{_ADD_PROBLEMS}",
    3: _ADD_PROBLEMS,
}
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
    n_finished INTEGER NOT NULL DEFAULT 0,
    version TEXT NOT NULL DEFAULT '',
    is_damaged INTEGER NOT NULL DEFAULT 0,
    notices TEXT NOT NULL DEFAULT ''  -- one a line
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
# A file name may hold bytes that are not UTF-8; CAST stores them as they are.
PLAN = """
INSERT INTO recordings (name, path, n_bytes, state, version)
VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, CAST(? AS TEXT))
ON CONFLICT (name) DO UPDATE SET
    state = excluded.state,
    path = excluded.path,
    n_bytes = excluded.n_bytes,
    version = excluded.version
"""
NOT_REQUESTED = "UPDATE recordings SET state = 'not_requested' WHERE state = 'waiting'"
SET_STATE = (
    "UPDATE recordings SET state = ?, version = CAST(? AS TEXT) WHERE name = CAST(? AS TEXT)"
)
# A damaged one was read as far as it can be, unless an extra reads on, which may be there now.
FINISHED = """
SELECT n_bytes, state, version, failure FROM recordings
WHERE name = CAST(? AS TEXT) AND (state = 'done'
    OR state = 'failed' AND is_damaged AND version != '' AND failure NOT LIKE '%pip install%')
"""
FINISH = """
UPDATE recordings
SET state = ?, processed_seconds = ?, failure = CAST(? AS TEXT), is_damaged = ?, notices = ?,
    n_finished = n_finished + 1
WHERE id = ?
"""
ALL_EVENTS = """
SELECT onset, offset, label, score, path, time
FROM recordings CROSS JOIN events ON recording = id
WHERE state IN ('done', 'failed')
ORDER BY name, n
"""
TOTALS = """
SELECT total(state != 'not_requested'), total(n_bytes * (state != 'not_requested')),
    total(state IN ('done', 'failed')), total(n_bytes * (state IN ('done', 'failed'))),
    total(state = 'not_requested')
FROM recordings
"""
PROBLEMS = """
SELECT path, failure, is_damaged, notices FROM recordings
WHERE state IN ('done', 'failed') AND failure || notices != '' ORDER BY name
"""
PAGE = 256  # recordings to read from the list at once


class Journal:
    """The recordings of a scan, their states, and their events; a context manager.

    It is locked for one process, until that ends.

    Parameters
    ----------
    path
        The file; created if it is missing.

    Raises
    ------
    DatabaseError
        If the file belongs to another program or version, is broken, or is in use.
    OutputError
        If the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(path, error) from error
        with self._translate_errors():
            self._connection = _open(self._path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def begin(self, settings: Mapping[str, str], root: str, *, resume: bool) -> str:
        """Store the settings of a run, or check that they are those of the run to resume.

        A journal in which nothing is finished yet starts anew.

        Parameters
        ----------
        settings
            All that the results depend on, by the names of the options.
        root
            The folder that holds the recordings, as an absolute path.
        resume
            Whether to resume an earlier run.

        Returns
        -------
        The folder that the names of recordings are relative to: the root of the first run.

        Raises
        ------
        UsageError
            If there is an earlier run and `resume` is false, or its settings or root differ.
        """
        if not self.totals().n_finished:
            self._start_anew({**settings, "root": root})
            return root
        with self._translate_errors():
            earlier: dict[str, str] = dict(self._rows("SELECT name, value FROM settings"))
            old_root = earlier.pop("root")
            check_resumed(self._path.parent, (earlier, old_root), (settings, root), resume=resume)
        return old_root

    def plan(
        self,
        recordings: Iterable[Recording],
        has_results: Callable[[Recording], bool] = lambda _: True,
        on_damaged: Callable[[SedError], None] = lambda _: None,
    ) -> None:
        """Put any number of recordings on the list.

        One that is finished stays so, unless it has failed, has changed (it was perhaps still being
        copied), or `has_results` is false: the files about it are gone. One that is damaged stays
        so too, and `on_damaged` is called with its damage.
        """
        with self._transaction() as connection:
            connection.execute(NOT_REQUESTED)
            for recording in recordings:
                name = _raw(recording.name)
                row = connection.execute(FINISHED, (name,)).fetchone()
                state, version = "waiting", ""
                if (
                    row is not None
                    and row[0] == recording.n_bytes
                    and is_version(recording, row[2])
                    and has_results(recording)
                ):
                    # A journal of an earlier release knows no versions.
                    state, version = row[1], row[2] or recording_version(recording)
                    if state == "failed":
                        on_damaged(SedError(row[3]))
                row = name, _raw(recording.path), recording.n_bytes, state, _raw(version)
                connection.execute(PLAN, row)

    def waiting(self) -> Iterator[Recording]:
        """Yield the recordings to process, in the order of their names.

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
        """Mark a recording as being processed, and note which version of it."""
        self._set_state("started", recording, recording_version(recording))

    def undo(self, recording: Recording) -> None:
        """Return a recording that was started to the list."""
        self._set_state("waiting", recording, "")

    def finish(self, recording: Recording, result: JobResult) -> None:
        """Store the result of a recording and its events, in place of earlier ones."""
        state = "done" if result.failure is None else "failed"
        failure = "" if result.failure is None else str(result.failure)
        with self._transaction() as connection:
            query = "SELECT id FROM recordings WHERE name = CAST(? AS TEXT)"
            (key,) = connection.execute(query, (_raw(recording.name),)).fetchone()
            notices = "\n".join(result.notices)
            values = result.processed_seconds, _raw(failure), result.is_damaged, notices
            connection.execute(FINISH, (state, *values, key))
            connection.execute("DELETE FROM events WHERE recording = ?", (key,))
            connection.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (key, n, e.onset, e.offset, e.label, e.score, e.time and e.time.isoformat())
                    for n, e in enumerate(result.events)
                ),
            )

    def totals(self) -> Totals:
        """Return the totals; a failed recording that waits is not finished."""
        with self._translate_errors():
            return Totals(*map(int, *self._rows(TOTALS)))

    def events(self) -> Iterator[Event]:
        """Yield all events, in the order of the names of the recordings."""
        for row in self._rows(ALL_EVENTS):
            with self._translate_errors():
                event = _event(*row)
            yield event

    def problems(self) -> Iterator[RecordingProblem]:
        """Yield failures and notices, in the order of the names of the recordings."""
        for path, failure, is_damaged, notices in self._rows(PROBLEMS):
            if failure:
                yield RecordingProblem(path, "damaged" if is_damaged else "failed", failure)
            for notice in notices.splitlines():
                yield RecordingProblem(path, "notice", notice)

    def _start_anew(self, settings: Mapping[str, str]) -> None:
        with self._transaction() as connection:
            for table in ("events", "recordings", "settings"):
                connection.execute(f"DELETE FROM {table}")
            connection.executemany(
                "INSERT INTO settings VALUES (?, CAST(? AS TEXT))",
                ((name, _raw(value)) for name, value in settings.items()),
            )

    def _set_state(self, state: str, recording: Recording, version: str) -> None:
        values = state, _raw(version), _raw(recording.name)
        with self._transaction() as connection:
            connection.execute(SET_STATE, values)

    def _page(self, state: str, after: bytes, most: int = PAGE) -> list[Recording]:
        query = """
        SELECT path, name, n_bytes FROM recordings
        WHERE state = ? AND name > CAST(? AS TEXT) ORDER BY name LIMIT ?
        """
        return [Recording(*row) for row in self._rows(query, state, after, most)]

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        with self._translate_errors():
            yield from self._connection.execute(query, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the statements of a `with` body in one transaction."""
        with self._translate_errors(), self._connection as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn errors of SQLite into errors that name the file and a remedy."""
        name = printable(str(self._path))
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise DatabaseError(
                    f"{name}: another run is using it. Wait for it, or give another --output."
                ) from error
            raise OutputError(self._path, OSError(None, str(error))) from error
        except (sqlite3.DatabaseError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise DatabaseError(
                f"{name}: cannot be read as a journal ({error}). Give another --output."
            ) from error


def _event(onset: Any, offset: Any, label: Any, score: Any, path: Any, time: Any) -> Event:
    dated = datetime.fromisoformat(time) if time else None
    return Event(float(onset), float(offset), str(label), float(score), str(path), dated)


def _open(path: Path) -> sqlite3.Connection:
    """Open a journal, locked for this process, so that no second run can use it."""
    connection = open_sqlite(
        path,
        application_id=APPLICATION_ID,
        version=SCHEMA_VERSION,
        schema=SCHEMA,
        exclusive=True,
        timeout_seconds=TIMEOUT_SECONDS,
        remedy="Give another --output, or delete this file to start anew.",
        upgrades=UPGRADES,
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
