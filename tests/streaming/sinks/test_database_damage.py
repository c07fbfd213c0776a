"""The database when it or its log is damaged: what is left is kept, and another one is begun."""

import os
import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from streaming.messages import ClipSaved, EventEnded, Problem, Status
from streaming.sinks.database import RETRY_SECONDS, EventDatabase
from streaming.sinks.record.history import stored_events
from tests.streaming.sinks.databases import event, opened, rows

STATUS = Status(1.0, 0.1, 0.1, 0, ())


def filled(path, checkpoint="PASSIVE"):
    """Return a database of some pages in the file and some, or all but the first, in its log."""
    database = EventDatabase(path, model="tiny")
    for onset in range(110):
        database.handle(EventEnded(event(onset, "long " * 20)))
        if onset == 99 and checkpoint:
            database._connection.execute(f"PRAGMA wal_checkpoint({checkpoint})")
    assert database.handle(STATUS) == []
    return database


def cut(path, part):
    os.truncate(path, round(part * path.stat().st_size))


def kept(path, name="*.damaged*"):
    return sorted(each.name for each in path.parent.glob(name))


@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.8])
@pytest.mark.parametrize("ending", ["", "-wal"])
@pytest.mark.parametrize("is_event", [False, True])
def test_a_database_or_log_that_is_cut_is_noticed_kept_and_begun_again(
    tmp_path, part, ending, is_event
):
    path = tmp_path / "events.db"
    file = tmp_path / f"events.db{ending}"
    database = filled(path, "TRUNCATE" if ending == "" else None)
    cut(file, part)
    left = file.read_bytes()
    # Before an event is written the database is looked for, so that it is not lost.
    reports = database.handle(EventEnded(event(110)) if is_event else STATUS)
    what = "was emptied" if part == 0 else "was cut short"
    assert reports == [
        Problem(
            f"{file}: {what}; 110 events and gaps of this session may be gone; what is left is "
            f"kept as {path}.damaged"
        ),
        Problem(f"{path}: opened again, as a new session"),
    ]
    assert database.handle(EventEnded(event(111))) == []
    assert database.close() == []
    assert [row.onset for row in stored_events(path)] == [110, 111][1 - is_event :]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert kept(path) == ["events.db.damaged", "events.db.damaged-wal"]
    # No byte of what is left has changed.
    assert (tmp_path / f"events.db.damaged{ending}").read_bytes() == left


def test_a_second_damaged_database_gets_another_name(tmp_path):
    path = tmp_path / "events.db"
    for _ in range(2):
        with opened(path) as database:
            database.handle(EventEnded(event(0)))
            cut(tmp_path / "events.db-wal", 0.5)
            assert len(database.handle(STATUS)) == 2
    assert kept(path, "*.damaged?") + kept(path, "*.damaged") == [
        "events.db.damaged2", "events.db.damaged"
    ]  # fmt: skip


def test_a_log_that_is_removed_costs_nothing(tmp_path):
    path = tmp_path / "events.db"
    database = filled(path)
    (tmp_path / "events.db-wal").unlink()
    assert database.handle(STATUS) == [
        Problem(f"{path}-wal: was removed or moved; nothing is lost"),
        Problem(f"{path}: opened again, as a new session"),
    ]
    database.handle(EventEnded(event(110)))
    database.close()
    assert [row.onset for row in stored_events(path, 999, after=0)] == list(range(111))


def test_a_session_that_a_fault_ends_has_its_end_and_the_clips_of_its_events(tmp_path):
    path = tmp_path / "events.db"
    with opened(path), opened(path) as database:  # the first one is of another process
        database.handle(EventEnded(event(0)))
        (tmp_path / "events.db-wal").unlink()
        database.handle(EventEnded(event(1)))
        for onset in (0, 1):
            assert database.handle(ClipSaved(event(onset), f"/{onset}.flac")) == []
        assert rows(path, "SELECT session_id, clip_path FROM events") == [
            (2, "/0.flac"),
            (3, "/1.flac"),
        ]
        assert rows(path, "SELECT id, ended >= started FROM sessions") == [
            (1, None),
            (2, 1),
            (3, None),
        ]


def test_a_database_that_its_user_compacts_is_not_damaged(tmp_path):
    path = tmp_path / "events.db"
    database = filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DELETE FROM events WHERE onset < 90")
        other.execute("VACUUM")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.handle(STATUS) == []
    assert database.handle(EventEnded(event(110))) == []
    database.close()
    assert [row.onset for row in stored_events(path)] == [*range(90, 111)]
    assert kept(path) == []


@pytest.mark.parametrize("how", ["cut", "cut with its log", "overwritten"])
def test_a_damaged_database_is_kept_and_begun_again_at_the_start(tmp_path, how):
    path = tmp_path / "events.db"
    database = filled(path)
    if how == "cut with its log":  # as after a session that was killed
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", tmp_path / f"killed.db{ending}")
        path = tmp_path / "killed.db"
    database.close()
    if how == "overwritten":
        with open(path, "rb+") as file:
            file.seek(4096)
            file.write(bytes(path.stat().st_size - 4096))
    else:
        cut(path, 0.5)
    left = path.read_bytes()
    with opened(path) as database:
        assert database.handle(STATUS) == [
            Problem(
                f"{path}: is damaged; its events may be gone; what is left is kept as "
                f"{path}.damaged"
            )
        ]
        assert database.handle(EventEnded(event(0))) == []
    assert [row.onset for row in stored_events(path)] == [0]
    if how != "overwritten":
        assert (tmp_path / f"{path}.damaged").read_bytes() == left


def test_a_log_that_was_cut_between_two_sessions_is_reported_and_the_rest_kept(tmp_path):
    path = tmp_path / "killed.db"
    database = filled(tmp_path / "events.db", None)
    for ending in ("", "-wal"):
        shutil.copy(tmp_path / f"events.db{ending}", tmp_path / f"killed.db{ending}")
    database.close()
    os.truncate(f"{path}-wal", os.path.getsize(f"{path}-wal") - 5_000)
    with opened(path) as database:
        assert database.handle(STATUS) == [
            Problem(f"{path}-wal: is cut short; the last events before may be lost")
        ]
        assert database.handle(EventEnded(event(110))) == []
    onsets = [row.onset for row in stored_events(path, 999, after=0)]
    assert onsets[:-1] == list(range(len(onsets) - 1))
    assert 100 < len(onsets) < 111


def test_pages_that_are_overwritten_while_listening_are_noticed_when_they_are_used(tmp_path):
    path = tmp_path / "events.db"
    database = filled(path, "TRUNCATE")
    database.handle(EventEnded(event(110)))
    database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.handle(STATUS) == []
    with open(path, "rb+") as file:
        file.seek(4096)
        file.write(b"x" * (path.stat().st_size - 4096))
    # Another program writes, so that no page in memory is used any more.
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 2")
    reports = [m for onset in (111, 112) for m in database.handle(EventEnded(event(onset)))]
    assert [m.text.partition(": ")[2].partition(";")[0] for m in reports] == [
        "is damaged",
        "cannot write: database disk image is malformed. Detection continues, and events wait in "
        "memory.",
    ]
    time.sleep(RETRY_SECONDS)
    assert len(database.handle(STATUS)) == 2
    assert database.close() == []
    assert [row.onset for row in stored_events(path)] == [111, 112]
