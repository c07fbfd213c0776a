"""SQLite databases marked with an application id."""

import sqlite3
from contextlib import closing

import pytest

from sed.events.sqlite import DatabaseError, open_sqlite, read_sqlite

KIND = {"application_id": 0x54455354, "version": 2}
SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL);"


def test_a_database_is_created_once_and_opened_again(tmp_path):
    path = tmp_path / "notes.db"
    for text in ("first", "second"):
        with closing(open_sqlite(path, **KIND, schema=SCHEMA)) as connection:
            connection.execute("INSERT INTO notes VALUES (?)", (text,))
    with read_sqlite(path, **KIND) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("first",), ("second",)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM notes")


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ("CREATE TABLE notes (x)", "is a database of another program. Choose another path."),
        (
            "CREATE TABLE notes (x); PRAGMA application_id = 0x54455354; PRAGMA user_version = 1",
            "has schema version 1, and this program uses 2. Choose another path.",
        ),
    ],
)
def test_another_program_or_version_is_refused_and_not_changed(
    tmp_path, statements, message, exclusive
):
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
    before = path.read_bytes()
    with pytest.raises(DatabaseError, match=message):
        open_sqlite(path, **KIND, schema=SCHEMA, exclusive=exclusive)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["notes.db"]


def test_an_exclusive_database_is_locked_until_it_is_closed(tmp_path):
    path = tmp_path / "notes.db"
    with (
        closing(open_sqlite(path, **KIND, schema=SCHEMA, exclusive=True)),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        open_sqlite(path, **KIND, schema=SCHEMA, exclusive=True, timeout_seconds=0.05)
    open_sqlite(path, **KIND, schema=SCHEMA, exclusive=True).close()
