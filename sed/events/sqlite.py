"""Open SQLite databases that are marked with an application id and a schema version."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from sed.errors import SedError
from sed.text import iso_time, printable, to_utf8

TIMEOUT_SECONDS = 5.0  # the longest wait for a lock that another process holds
# Results that mean damage of the file or of its log. Other faults are those of a disk or a lock.
_DAMAGE = frozenset(
    [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR_SHORT_READ]
)
_MAGIC = b"SQLite format 3\0"
_ID_AT = 68  # bytes before the application id in the header
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
REMEDY = "Choose another path."
LIVE_RECORD = 0x5345444C  # "SEDL": application id of the database that `sed listen` writes
LIVE_RECORD_VERSION = 2  # of the schema of that; `streaming.sinks.database` describes it
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
CREATE INDEX IF NOT EXISTS events_by_time ON events (unix_time);
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


class DatabaseError(SedError):
    """A database of another program or schema version, in use elsewhere, or unreadable."""


def open_sqlite(
    path: str | os.PathLike[str],
    *,
    application_id: int,
    version: int,
    schema: str,
    exclusive: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
    remedy: str = REMEDY,
    upgrades: Mapping[int, str] | None = None,
) -> sqlite3.Connection:
    """Open a database for writing, in autocommit mode; create it if it is missing.

    The database uses a write-ahead log (WAL). A power failure may cost the last transactions, but
    leaves the file intact.

    Parameters
    ----------
    path
        The file.
    application_id
        32 bits that mark a file as a database of this kind (`PRAGMA application_id`).
    version
        Version of the schema (`PRAGMA user_version`); no other version is accepted.
    schema
        Statements that create the tables and indexes that do not exist yet.
    exclusive
        Lock the file until the connection is closed. The log then needs no shared memory, so that
        the database may lie on a network disk.
    timeout_seconds
        How long to wait for the lock of another process.
    remedy
        The end of messages: what to do if the file cannot be used.
    upgrades
        Statements that bring a database of an older version to this one, by the older version.

    Raises
    ------
    DatabaseError
        If the file belongs to another program or has another version. It is not changed.
    sqlite3.Error
        If the file cannot be opened or written.
    """
    if not exclusive and os.path.exists(path) and os.path.getsize(path):
        with read_sqlite(
            path, application_id=application_id, version=version, timeout_seconds=timeout_seconds
        ):
            pass
    # A connection may be used by one thread after another, never by two at once.
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=timeout_seconds, check_same_thread=False
    )
    try:
        if exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        upgrade = (upgrades or {}).get(found, "")
        _check(connection, path, application_id, found if upgrade else version, remedy)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{schema}\n{upgrade}\nPRAGMA application_id = {application_id};\n"
            f"PRAGMA user_version = {version};\nCOMMIT;"
        )
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def read_sqlite(
    path: str | os.PathLike[str],
    *,
    application_id: int,
    version: int,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Iterator[sqlite3.Connection]:
    """Open an existing database read-only for the duration of the context.

    Parameters
    ----------
    path, application_id, version, timeout_seconds
        As of `open_sqlite`.

    Raises
    ------
    DatabaseError
        If the file belongs to another program, has another version, or cannot be read.
    """
    try:
        with _opened_to_read(path, timeout_seconds) as connection:
            _check(connection, path, application_id, version, REMEDY)
            yield connection
    except sqlite3.Error as error:
        name = printable(os.fspath(path))
        raise DatabaseError(f"{name}: cannot be read: {error}. {REMEDY}") from error


def belongs_to(path: str | os.PathLike[str], application_id: int) -> bool:
    """Return whether a database is one of a kind; also if it is damaged, so that nothing is known.

    One that another process has locked belongs to it.
    """
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
            (found,) = connection.execute("PRAGMA application_id").fetchone()
            return bool(found == application_id)
    except sqlite3.Error as error:
        return "locked" not in str(error)


def _check(
    connection: sqlite3.Connection,
    path: str | os.PathLike[str],
    application_id: int,
    version: int,
    remedy: str,
) -> None:
    """Raise a `DatabaseError` unless the database is empty or of the right kind and version."""
    name = printable(os.fspath(path))
    found_id, found_version, n_tables = (
        connection.execute(query).fetchone()[0]
        for query in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT count(*) FROM sqlite_master",
        )
    )
    if not n_tables:
        return
    if found_id != application_id:
        raise DatabaseError(f"{name}: is a database of another program. {remedy}")
    if found_version != version:
        raise DatabaseError(
            f"{name}: has schema version {found_version}, and this program uses {version}. {remedy}"
        )


def is_sound(path: str | os.PathLike[str]) -> bool:
    """Return whether no damage is found in a database and its log, which are read as a whole.

    What cannot be read now, because another process has locked it for example, is not damaged.
    """
    try:
        with _opened_to_read(path) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error as error:
        return not _is_damage(error)


def is_cut(path: str | os.PathLike[str]) -> bool:
    """Return whether pages at the end of a database are missing, and not in its log either."""
    try:
        with _opened_to_read(path) as connection:
            (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return os.path.getsize(path) < n_pages * page_bytes and not is_sound(path)
    except (sqlite3.Error, OSError) as error:
        return isinstance(error, sqlite3.Error) and _is_damage(error)


def is_log_cut(path: str | os.PathLike[str]) -> bool:
    """Return whether the log of a database ends within a page; call it before opening that."""
    try:
        log_bytes = os.path.getsize(f"{os.fspath(path)}-wal")
        with _opened_to_read(path) as connection:
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    except (sqlite3.Error, OSError):
        return False
    pages_bytes = log_bytes - _LOG_HEADER_BYTES
    return log_bytes > 0 and pages_bytes % (page_bytes + _FRAME_HEADER_BYTES) != 0


def set_aside(path: str | os.PathLike[str]) -> Path:
    """Rename a damaged database and its log, which nothing of is changed; return the new path.

    Raises
    ------
    OSError
        If they cannot be renamed.
    """
    path, n = Path(path), 1
    while os.path.lexists(kept := Path(f"{path}.damaged{n if n > 1 else ''}")):
        n += 1
    # The log first: with another database at the path, SQLite would write it into that.
    with suppress(FileNotFoundError):
        os.rename(f"{path}-wal", f"{kept}-wal")
    os.rename(path, kept)
    with suppress(FileNotFoundError):
        os.unlink(f"{path}-shm")
    return kept


def has_id(path: str | os.PathLike[str], application_id: int) -> bool:
    """Return whether a damaged file begins as a database of some application id.

    Do not use it on a database that is open in this process: closing a file ends all locks that the
    process holds on it.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        header = file.read(_ID_AT + 4)
    return header.startswith(_MAGIC) and header[_ID_AT:] == application_id.to_bytes(4)


@contextmanager
def _opened_to_read(
    path: str | os.PathLike[str], timeout_seconds: float = TIMEOUT_SECONDS
) -> Iterator[sqlite3.Connection]:
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=timeout_seconds)) as connection:
        yield connection


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code in _DAMAGE or code & 0xFF in _DAMAGE


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
