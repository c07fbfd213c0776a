"""Open SQLite databases that are marked with an application id and a schema version."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sed.errors import SedError
from sed.text import printable

TIMEOUT_SECONDS = 5.0  # the longest wait for a lock that another process holds
LIVE_RECORD = 0x5345444C  # "SEDL": application id of the database that `sed listen` writes
LIVE_RECORD_VERSION = 2
REMEDY = "Choose another path."


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
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=timeout_seconds)) as connection:
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
