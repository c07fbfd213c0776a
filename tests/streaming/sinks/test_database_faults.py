"""The database when it cannot be written: no reported event is lost silently."""

import os
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager

import pytest

from sed.errors import OutputError
from sed.events.sqlite import DatabaseError
from streaming.messages import ClipSaved, EventEnded, Problem, Status
from streaming.sinks import database as database_module
from streaming.sinks.database import EventDatabase
from streaming.sinks.record.history import stored_events
from tests.conftest import tiny_disk
from tests.streaming.sinks.databases import (
    event,
    gap,
    handle_at_the_next_retry,
    held_by_another,
    opened,
    rows,
)


def test_events_wait_while_another_process_holds_the_lock(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        with held_by_another(path):
            started = time.monotonic()
            (problem,) = database.handle(EventEnded(event(0)))
            assert 0.15 < time.monotonic() - started < 3
            assert problem == Problem(
                f"{path}: cannot write: database is locked. "
                "Detection continues, and events wait in memory."
            )
            started = time.monotonic()
            for onset in range(1, 100):
                assert database.handle(EventEnded(event(onset))) == []
                assert database.handle(ClipSaved(event(onset), f"/{onset}.flac")) == []
            assert time.monotonic() - started < 3  # to wait for each would take longer
            assert handle_at_the_next_retry(database, gap(100)) == []
            assert database._connection.execute("PRAGMA busy_timeout").fetchone() == (20,)  # ms
            assert stored_events(path) == []
        reports = handle_at_the_next_retry(database, gap(102))
        assert reports == [Problem(f"{path}: written again, with 102 events and gaps that waited")]
        assert database.handle(EventEnded(event(110))) == []
    assert [row.onset for row in stored_events(path, 999, after=0)] == [*range(100), 110]
    assert rows(path, "SELECT count(*) FROM events WHERE clip_path = '/' || CAST(onset AS INT) "
                "|| '.flac'") == [(99,)]  # fmt: skip
    assert rows(path, "SELECT count(*) FROM gaps") == [(2,)]


def test_pending_statements_are_bounded_and_dropped_ones_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "MAX_PENDING", 5)
    path = tmp_path / "events.db"
    with opened(path) as database:
        with held_by_another(path):
            reports = [m for onset in range(8) for m in database.handle(EventEnded(event(onset)))]
            assert len(reports) == 1
        (problem,) = handle_at_the_next_retry(database, EventEnded(event(8)))
        assert problem.text == (
            f"{path}: written again, with 5 events and gaps that waited; 4 more were dropped"
        )
    assert [row.onset for row in stored_events(path)] == [4, 5, 6, 7, 8]


def test_events_that_are_not_written_at_the_end_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "TIMEOUT_SECONDS", 0.1)
    path = tmp_path / "events.db"
    database = EventDatabase(path)
    with held_by_another(path):
        database.handle(EventEnded(event(0)))
        database.handle(gap(1))
        assert database.close() == [Problem(f"{path}: closed with 2 events and gaps not written")]


def test_waiting_events_are_written_at_the_end_if_possible(tmp_path):
    path = tmp_path / "events.db"
    database = EventDatabase(path)
    with held_by_another(path):
        database.handle(EventEnded(event(0)))
    reports = database.close()
    assert reports == [Problem(f"{path}: written again, with 1 events and gaps that waited")]
    assert len(stored_events(path)) == 1


def test_a_full_disk_is_reported_once_each_way(tmp_path):
    with tiny_disk(tmp_path, 256):
        path, filler = tmp_path / "events.db", tmp_path / "filler"
        with opened(path) as database:
            database.handle(EventEnded(event(0)))
            with suppress_full_disk(), open(filler, "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            long = [EventEnded(event(n, "x" * 500)) for n in range(1, 50)]
            reports = [m for message in long for m in database.handle(message)]
            assert [m.text.partition(". ")[0] for m in reports] == [
                f"{path}: cannot write: database or disk is full"
            ]
            filler.unlink()
            (problem,) = handle_at_the_next_retry(database, EventEnded(event(50)))
            assert "written again" in problem.text
        assert [row.onset for row in stored_events(path)] == list(range(51))


@contextmanager
def suppress_full_disk():
    with pytest.raises(OSError, match="No space left"):
        yield


def test_a_disk_that_becomes_read_only_is_reported_once_each_way(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        database._connection.execute("PRAGMA query_only = ON")
        (problem,) = database.handle(EventEnded(event(0)))
        assert "attempt to write a readonly database" in problem.text
        database._connection.execute("PRAGMA query_only = OFF")
        (problem,) = handle_at_the_next_retry(database, EventEnded(event(1)))
        assert "written again, with 2" in problem.text


def test_a_path_that_cannot_be_written_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/events\.db: cannot write: File exists\. Choose"):
        EventDatabase(tmp_path / "file" / "events.db")
    with pytest.raises(DatabaseError, match="cannot be read: "):
        EventDatabase(tmp_path)


def test_a_folder_that_is_read_only_is_an_error_at_once(tmp_path):
    tmp_path.chmod(0o555)
    with without_rights_of_root(), pytest.raises(OutputError, match=r"events\.db: cannot write: "):
        EventDatabase(tmp_path / "events.db")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def without_rights_of_root():
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_database_that_stays_locked_is_an_error_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "TIMEOUT_SECONDS", 0.1)
    path = tmp_path / "events.db"
    EventDatabase(path).close()
    with held_by_another(path), pytest.raises(OutputError, match="database is locked"):
        EventDatabase(path)


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ("CREATE TABLE events (x); PRAGMA user_version = 1", "is a database of another program"),
        (
            "PRAGMA application_id = 0x5345444C; PRAGMA user_version = 3; CREATE TABLE events (x)",
            "has schema version 3, and this program uses 2. Choose another path.",
        ),
        (
            "PRAGMA application_id = 0x5345444C; PRAGMA user_version = 1; CREATE TABLE events (x)",
            "has schema version 1, and this program uses 2. Choose another path.",
        ),
    ],
)
def test_a_database_of_another_program_or_version_is_refused_and_not_touched(
    tmp_path, statements, message
):
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
    before = path.read_bytes()
    for use in (EventDatabase, stored_events):
        with pytest.raises(DatabaseError, match=message) as refused:
            use(path)
        assert str(refused.value).startswith(f"{path}: ")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["events.db"]


def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("onset,offset\n" * 100)
    with pytest.raises(DatabaseError, match=r"events\.csv: cannot be read: file is not a database"):
        EventDatabase(path)
    assert path.read_text() == "onset,offset\n" * 100


STATUS = Status(1.0, 0.1, 0.1, 0, ())


@pytest.mark.parametrize("how", ["removed", "removed with its log", "moved", "replaced"])
def test_a_database_that_is_removed_or_moved_is_noticed_and_begun_again(tmp_path, how):
    path, old = tmp_path / "of" / "events.db", tmp_path / "old.db"
    with opened(path, model="tiny") as database:
        for onset in range(3):
            database.handle(EventEnded(event(onset)))
        assert database.handle(STATUS) == []
        if how == "removed with its log":
            shutil.rmtree(path.parent)
        elif how == "removed":
            path.unlink()
        else:
            path.rename(old)
        if how == "replaced":
            EventDatabase(tmp_path / "backup.db").close()
            (tmp_path / "backup.db").rename(path)
        change = "was replaced by another file" if how == "replaced" else "was removed or moved"
        assert database.handle(STATUS) == [
            Problem(f"{path}: {change}; 3 events and gaps of this session went with it"),
            Problem(f"{path}: opened again, as a new session"),
        ]
        assert database.handle(EventEnded(event(3))) == []
        path.unlink()
        # Before an event is written the database is looked for, so that it is not lost.
        assert len(database.handle(EventEnded(event(4)))) == 2
    assert [row.onset for row in stored_events(path)] == [4]
    assert rows(path, "SELECT model, ended IS NULL FROM sessions") == [("tiny", 0)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    if how in ("moved", "replaced"):
        # What was still in the log is in the moved file.
        assert [row.onset for row in stored_events(old)] == [0, 1, 2]
        assert rows(old, "SELECT ended IS NULL FROM sessions") == [(0,)]


def test_events_wait_until_the_place_of_a_database_is_there_again(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "RETRY_SECONDS", 0.0)
    path = tmp_path / "disk" / "events.db"
    with opened(path) as database:
        shutil.rmtree(path.parent)
        path.parent.write_text("in the way")
        moved, problem = database.handle(EventEnded(event(0)))
        assert moved == Problem(f"{path}: was removed or moved")
        assert problem.text.startswith(f"{path}: cannot write: File exists. Detection continues")
        assert database.handle(EventEnded(event(1))) == []
        path.parent.unlink()
        assert database.handle(STATUS) == [
            Problem(f"{path}: opened again, as a new session"),
            Problem(f"{path}: written again, with 2 events and gaps that waited"),
        ]
    assert [row.onset for row in stored_events(path)] == [0, 1]


def test_a_status_alone_takes_no_lock(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database, held_by_another(path):
        assert database.handle(STATUS) == []
