"""Open SQLite databases that are marked with an application id and a schema version."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from sqlite3 import Connection as Connection

from sed.errors import SedError
from sed.text import printable

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
LIVE_RECORD_VERSION = 2  # of the schema of that; `streaming.sinks.record.schema` has it


class DatabaseError(SedError):
    """A database of another program or schema version, in use elsewhere, or unreadable."""


def open_sqlite(
    path: str | os.PathLike[str],
    *,
    application_id: int,
    version: int,
    schema: str,
    exclusive: bool = False,
    can_shrink: bool = False,
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
    can_shrink
        Let `PRAGMA incremental_vacuum` make the file smaller, if it is a new one.
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
        # Before the log, which begins the file. In one that exists it changes nothing.
        if can_shrink:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
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
    is_writable: bool = False,
) -> Iterator[sqlite3.Connection]:
    """Open an existing database for the duration of the context.

    Parameters
    ----------
    path, application_id, version, timeout_seconds
        As of `open_sqlite`.
    is_writable
        Open it for a transaction too: what the context changes is committed at its end, or not at
        all if it raises an error.

    Raises
    ------
    DatabaseError
        If the file belongs to another program, has another version, or cannot be read or changed.
    """
    try:
        with _opened(path, timeout_seconds, "rw" if is_writable else "ro") as connection:
            _check(connection, path, application_id, version, REMEDY)
            with connection:
                yield connection
    except sqlite3.Error as error:
        name = printable(os.fspath(path))
        what = "changed" if is_writable else "read"
        raise DatabaseError(f"{name}: cannot be {what}: {error}. {REMEDY}") from error


# Opens a database of live events; `is_writable` and `timeout_seconds` are those of `read_sqlite`.
read_live_record = partial(read_sqlite, application_id=LIVE_RECORD, version=LIVE_RECORD_VERSION)


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether a database has a table; one that was made by an earlier release lacks some."""
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(query, (name,)).fetchone()[0])


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
        with _opened(path) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error as error:
        return not _is_damage(error)


def is_cut(path: str | os.PathLike[str]) -> bool:
    """Return whether pages at the end of a database are missing, and not in its log either."""
    try:
        with _opened(path) as connection:
            (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return os.path.getsize(path) < n_pages * page_bytes and not is_sound(path)
    except (sqlite3.Error, OSError) as error:
        return isinstance(error, sqlite3.Error) and _is_damage(error)


def is_log_cut(path: str | os.PathLike[str]) -> bool:
    """Return whether the log of a database ends within a page; call it before opening that."""
    try:
        log_bytes = os.path.getsize(f"{os.fspath(path)}-wal")
        with _opened(path) as connection:
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
def _opened(
    path: str | os.PathLike[str], timeout_seconds: float = TIMEOUT_SECONDS, mode: str = "ro"
) -> Iterator[sqlite3.Connection]:
    uri = f"{Path(path).absolute().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=timeout_seconds)) as connection:
        yield connection


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code in _DAMAGE or code & 0xFF in _DAMAGE
