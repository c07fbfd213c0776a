"""The tables of a database of live events, and the start of a session in it.

`streaming.sinks.database` describes them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from sed.events.sqlite import LIVE_RECORD, LIVE_RECORD_VERSION, TIMEOUT_SECONDS, open_sqlite
from sed.text import iso_time, to_utf8

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
DROP INDEX IF EXISTS events_by_time;
CREATE INDEX IF NOT EXISTS events_by_time_score ON events (unix_time, score);
CREATE INDEX IF NOT EXISTS events_by_label ON events (label, unix_time, score);
CREATE INDEX IF NOT EXISTS events_by_source ON events (source, unix_time, score);
CREATE INDEX IF NOT EXISTS gaps_by_time ON gaps (unix_time);
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


def begin_session(
    path: Path, model: str, species: Mapping[str, tuple[str, str]]
) -> tuple[sqlite3.Connection, int | None]:
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
    return connection, session.lastrowid
