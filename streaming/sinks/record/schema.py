"""The tables of a database of live events, and the statements that fill them.

::

    sessions     id, started, ended, model      ended is NULL during a session, or if it was killed
    events       id, session_id, source, label, onset, offset, score, time, unix_time, clip_path
    gaps         id, session_id, source, onset, offset, n_samples, reason, time, unix_time
    verdicts     event_id, verdict, reviewed_at    what people say about events: right or wrong
    alerts       id, session_id, rule, source, label, unix_time, decided
    clock_steps  id, session_id, unix_time, seconds, …    of the clock of the system
    undated      session_id                               whose clock was wrong at its start
    species      label, scientific_name, common_name     only of models that know species

`onset` and `offset` are seconds on the sample clock of the session. `time` is the onset in local
time, ISO 8601 with milliseconds and UTC offset: ``substr(time, 1, 10)`` is the day and
``substr(time, 12, 2)`` the hour. `unix_time` is the same moment in seconds since 1970; it has an
index. `clip_path` is the path of a FLAC file, or NULL. Ids only grow. `n_samples` is 0 if the
number of lost samples is unknown. An alert is an event that a rule has passed on; `decided` is
when, in seconds since 1970. Examples of queries::

    SELECT label, count(*) FROM events
    WHERE unix_time > unixepoch('now', '-1 day') GROUP BY label;

    pandas.read_sql("SELECT * FROM events", sqlite3.connect("events.db"))

When the clock of the system is set, the times of the events and gaps before are corrected, in small
steps: of a row of `clock_steps`, `seconds` was added to those up to `event_done` and `gap_done` of
the session. Times of a session in `undated` are wrong: it began before the last event.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sed.events.sqlite import LIVE_RECORD, LIVE_RECORD_VERSION, TIMEOUT_SECONDS, open_sqlite
from sed.text import iso_time, to_utf8
from streaming.messages import ClipSaved, EventEnded, Gap, Message, RuleMatched

# Of a file that `clip_path` names; a clip has the day as its folder.
CLIP_NAME = re.compile(r"(\d{8})T\d{6}\.\d{3}Z_[^_]+_[^_]+(_\d+)?\.flac")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started TEXT NOT NULL,
    ended TEXT,
    model TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL REFERENCES sessions (id),
    source TEXT NOT NULL,
    label TEXT NOT NULL,
    onset REAL NOT NULL,
    offset REAL NOT NULL,
    score REAL NOT NULL,
    time TEXT NOT NULL,
    unix_time REAL NOT NULL,
    clip_path TEXT
);
CREATE TABLE IF NOT EXISTS gaps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL REFERENCES sessions (id),
    source TEXT NOT NULL,
    onset REAL NOT NULL,
    offset REAL NOT NULL,
    n_samples INTEGER NOT NULL,
    reason TEXT NOT NULL,
    time TEXT NOT NULL,
    unix_time REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS verdicts (
    event_id INTEGER PRIMARY KEY REFERENCES events (id),
    verdict TEXT NOT NULL,
    reviewed_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS clock_steps (
    id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions (id),
    unix_time REAL NOT NULL,
    seconds REAL NOT NULL,
    event_done INTEGER NOT NULL,
    event_last INTEGER NOT NULL,
    gap_done INTEGER NOT NULL,
    gap_last INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS undated (session_id INTEGER PRIMARY KEY REFERENCES sessions (id));
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL REFERENCES sessions (id),
    rule TEXT NOT NULL,
    source TEXT NOT NULL,
    label TEXT NOT NULL,
    unix_time REAL NOT NULL,
    decided REAL NOT NULL
);
DROP INDEX IF EXISTS events_by_time;
CREATE INDEX IF NOT EXISTS events_by_time_score ON events (unix_time, score);
CREATE INDEX IF NOT EXISTS events_by_label ON events (label, unix_time, score);
CREATE INDEX IF NOT EXISTS events_by_source ON events (source, unix_time, score);
CREATE INDEX IF NOT EXISTS gaps_by_time ON gaps (unix_time);
CREATE INDEX IF NOT EXISTS alerts_by_rule ON alerts (rule, label, decided);
"""
ADD_ALERT = """
INSERT INTO alerts (session_id, rule, source, label, unix_time, decided) VALUES (?, ?, ?, ?, ?, ?)
"""
_SPECIES_SCHEMA = """
CREATE TABLE IF NOT EXISTS species (
    label TEXT PRIMARY KEY,
    scientific_name TEXT NOT NULL,
    common_name TEXT NOT NULL
)
"""
_ADD_SPECIES = "INSERT OR REPLACE INTO species VALUES (?, ?, ?)"
_BEGIN_SESSION = "INSERT INTO sessions (started, model) VALUES (?, ?)"
END_SESSION = "UPDATE sessions SET ended = ?2 WHERE id = ?1"
END_LOST_SESSION = END_SESSION + " AND started = ?3 AND ended IS NULL"
ADD_EVENT = """
INSERT INTO events (session_id, source, label, onset, offset, score, time, unix_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_GAP = """
INSERT INTO gaps (session_id, source, onset, offset, n_samples, reason, time, unix_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
# The time of an event may have been corrected meanwhile, its onset never is. The event is one of an
# earlier session if the database was opened again before its clip was complete.
ADD_CLIP = """
UPDATE events SET clip_path = ?2 WHERE id = (
    SELECT id FROM events WHERE id > (SELECT max(id) FROM events) - 1000
    AND session_id <= ?1 AND source = ?3 AND label = ?4 AND onset = ?5 AND clip_path IS NULL
    ORDER BY session_id = ?1 DESC, id DESC LIMIT 1
)
"""
MARK_UNDATED = "INSERT INTO undated (session_id) VALUES (?)"
MARK_DATED = "DELETE FROM undated WHERE session_id = ?"
# What is in the tables now has the times of the clock before.
ADD_CLOCK_STEP = """
INSERT INTO clock_steps
    (session_id, unix_time, seconds, event_done, event_last, gap_done, gap_last)
VALUES (?, ?, ?, ?, (SELECT coalesce(max(id), 0) FROM events), ?,
    (SELECT coalesce(max(id), 0) FROM gaps))
"""


def begin_session(
    path: Path, model: str, species: Mapping[str, tuple[str, str]]
) -> tuple[sqlite3.Connection, int]:
    """Open a database and start a session; return the connection and the id of the session.

    Parameters
    ----------
    path
        The database; created if it is missing.
    model
        Name of the model.
    species
        Scientific and common name of each label.

    Raises
    ------
    DatabaseError
        If the file belongs to another program or has another version. It is not changed.
    sqlite3.Error
        If it cannot be opened or written.
    """
    connection = open_sqlite(
        path,
        application_id=LIVE_RECORD,
        version=LIVE_RECORD_VERSION,
        schema=_SCHEMA,
        can_shrink=True,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    try:
        now = iso_time(datetime.now().astimezone())
        if species:
            connection.execute(_SPECIES_SCHEMA)
            rows = ([to_utf8(label), *map(to_utf8, names)] for label, names in species.items())
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_ADD_SPECIES, rows)
        session = connection.execute(_BEGIN_SESSION, (now, model))
    except sqlite3.Error:
        connection.close()
        raise
    assert session.lastrowid is not None
    return connection, session.lastrowid


def statement_for(message: Message) -> tuple[str, Sequence[Any]] | None:
    """Return the statement that stores a message, and its values but for the session.

    Raises
    ------
    ValueError
        If an event has no time.
    """
    match message:
        case EventEnded(event):
            span = event.onset, event.offset, event.score
            moment = iso_time(event.time), _unix_time(event.time)
            return ADD_EVENT, (to_utf8(event.file), to_utf8(event.label), *span, *moment)
        case ClipSaved(event, str(path)):
            names = to_utf8(event.file), to_utf8(event.label)
            return ADD_CLIP, (to_utf8(os.path.abspath(path)), *names, event.onset)
        case RuleMatched():
            names = to_utf8(message.source), to_utf8(message.label)
            return ADD_ALERT, (to_utf8(message.rule), *names, message.start, message.stop)
        case Gap():
            span = message.onset, message.offset, message.n_samples
            moment = iso_time(message.time), _unix_time(message.time)
            return ADD_GAP, (to_utf8(message.source), *span, to_utf8(message.reason), *moment)
    return None


def _unix_time(time: datetime | None) -> float:
    """Return a time in seconds since 1970. Every event of a `Listener` has a time."""
    if time is None:
        raise ValueError("expected an event with its time, as a Listener reports it")
    return time.timestamp()
