"""The database of events: no reported event is lost, and other processes may use the file."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from sed.errors import OutputError
from sed.events.sqlite import DatabaseError
from sed.events.tracker import Event
from streaming.messages import ClipSaved, EventEnded, Gap, Problem
from streaming.sinks import database as database_module
from streaming.sinks.database import EventDatabase
from streaming.sinks.history import (
    clip_path,
    find_event,
    hourly_counts,
    stored_events,
)
from tests.conftest import tiny_disk

START = datetime(2026, 11, 21, 13, 15, tzinfo=timezone(timedelta(hours=1)))


def event(onset, label="dog", source="mic", length=1.5):
    return Event(onset, onset + length, label, 0.8, source, START + timedelta(seconds=onset))


def gap(onset):
    time = START + timedelta(seconds=onset)
    return Gap("mic", onset, onset + 1, 48_000, "the device was gone", time)


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def opened(path, **options):
    database = EventDatabase(path, **options)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def held_by_another(path):
    """Hold the write lock of a database, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def handle_at_the_next_retry(database, message):
    time.sleep(database_module.RETRY_SECONDS)
    return database.handle(message)


def test_events_clips_and_gaps_are_in_the_file_when_they_were_taken(tmp_path):
    path = tmp_path / "new" / "events.db"
    with opened(path, model="default") as database:
        assert database.handle(EventEnded(event(2.5))) == []
        assert rows(path, "SELECT * FROM events") == [
            (1, 1, "mic", "dog", 2.5, 4.0, 0.8, "2026-11-21T13:15:02.500+01:00",
             datetime(2026, 11, 21, 12, 15, 2, 500_000, UTC).timestamp(), None)
        ]  # fmt: skip
        assert database.handle(ClipSaved(event(2.5), "clips/dog.flac")) == []
        assert rows(path, "SELECT id, clip_path FROM events") == [
            (1, os.path.abspath("clips/dog.flac"))
        ]
        assert database.handle(gap(5)) == []
        assert rows(
            path, "SELECT session_id, source, onset, offset, n_samples, reason FROM gaps"
        ) == [(1, "mic", 5.0, 6.0, 48_000, "the device was gone")]
        assert database.handle(ClipSaved(event(2.5), None)) == []
        assert rows(path, "SELECT model, ended FROM sessions") == [("default", None)]
    ((started, ended),) = rows(path, "SELECT started, ended FROM sessions")
    assert datetime.fromisoformat(started) <= datetime.fromisoformat(ended)
    assert datetime.fromisoformat(ended).tzinfo is not None


def test_two_sessions_share_a_file_one_after_the_other_and_at_once(tmp_path):
    path = tmp_path / "events.db"
    with opened(path, model="first") as database:
        database.handle(EventEnded(event(1)))
    with opened(path, model="second") as second, opened(path, model="third") as third:
        for onset in range(10):
            assert second.handle(EventEnded(event(onset, "cat"))) == []
            assert third.handle(EventEnded(event(onset, "cat"))) == []
        third.handle(ClipSaved(event(4, "cat"), "/four.flac"))
    joined = "events JOIN sessions ON session_id = sessions.id"
    counts = rows(path, f"SELECT model, count(*) FROM {joined} GROUP BY model")
    assert counts == [("first", 1), ("second", 10), ("third", 10)]
    assert rows(path, "SELECT session_id, onset FROM events WHERE clip_path NOT NULL") == [(3, 4.0)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_ids_are_never_given_twice(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        database.handle(EventEnded(event(1)))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM events")
    with opened(path) as database:
        database.handle(EventEnded(event(2)))
    assert [row.id for row in stored_events(path)] == [2]


KILLED = """
import sys
from datetime import datetime, timedelta, UTC
from sed.events.tracker import Event
from streaming.sinks.database import EventDatabase
from streaming.messages import ClipSaved, EventEnded
database = EventDatabase(sys.argv[1])
for n in range(1_000_000):
    event = Event(n, n + 1.0, "dog", 0.5, "mic", datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n))
    database.handle(EventEnded(event))
    print(n, flush=True)
    database.handle(ClipSaved(event, f"/{n}.flac"))
"""  # noqa: E501


def test_what_was_reported_survives_being_killed(tmp_path):
    path = tmp_path / "events.db"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        reports = [int(process.stdout.readline()) for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        reports += [int(line) for line in process.stdout.read().splitlines()]
    assert process.returncode == -signal.SIGKILL
    kept = [row.onset for row in stored_events(path, 1_000_000, after=0)]
    assert kept[: len(reports)] == reports
    assert len(kept) <= len(reports) + 1
    assert (
        rows(path, "SELECT count(*) FROM events WHERE clip_path NOT NULL")[0][0] >= len(reports) - 1
    )
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    with opened(path) as database:
        database.handle(EventEnded(event(1)))
    assert rows(path, "SELECT id, ended IS NULL FROM sessions") == [(1, 1), (2, 0)]


def test_what_another_process_keeps_from_being_written_waits_for_it(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        with held_by_another(path):
            began = time.monotonic()
            (problem,) = database.handle(EventEnded(event(0)))
            assert 0.15 < time.monotonic() - began < 3
            assert problem == Problem(
                f"{path}: cannot write: database is locked. "
                "Detection continues, and events wait in memory."
            )
            began = time.monotonic()
            for onset in range(1, 100):
                assert database.handle(EventEnded(event(onset))) == []
                assert database.handle(ClipSaved(event(onset), f"/{onset}.flac")) == []
            assert time.monotonic() - began < 3  # to wait for each would take longer
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


def test_what_is_not_written_at_the_end_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "TIMEOUT_SECONDS", 0.1)
    path = tmp_path / "events.db"
    database = EventDatabase(path)
    with held_by_another(path):
        database.handle(EventEnded(event(0)))
        database.handle(gap(1))
        assert database.close() == [Problem(f"{path}: closed with 2 events and gaps not written")]


def test_what_waits_is_written_at_the_end_if_it_can_be(tmp_path):
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


def test_a_place_that_cannot_be_written_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/events\.db: cannot write: File exists\. Free"):
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
def test_a_database_of_others_or_of_another_version_is_refused_and_not_touched(
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


def test_an_empty_file_becomes_a_database(tmp_path):
    path = tmp_path / "events.db"
    path.touch()
    EventDatabase(path).close()
    assert stored_events(path) == []


def test_reading_what_is_not_there_makes_nothing(tmp_path):
    with pytest.raises(DatabaseError, match=r"none\.db: cannot be read: unable to open"):
        stored_events(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_an_event_without_its_time_is_misuse(tmp_path):
    database = EventDatabase(tmp_path / "events.db")
    with pytest.raises(ValueError, match="expected an event with its time"):
        database.handle(EventEnded(Event(0, 1, "dog", 0.5)))
    assert database.close() == []


def test_names_that_are_no_text_and_paths_with_signs_are_kept(tmp_path):
    path = tmp_path / "50% ünïcode #1?.db"
    with opened(path, model="m\udc80") as database:
        database.handle(EventEnded(event(0, "it's\0\ud800", "mic\udc80")))
        database.handle(ClipSaved(event(0, "it's\0\ud800", "mic\udc80"), "/a'b.flac"))
    (row,) = stored_events(path)
    assert (row.source, row.label, row.clip_path) == ("mic\\x80", "it's\0\\ud800", "/a'b.flac")


def test_events_are_read_in_their_order(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        for onset in range(10):
            database.handle(EventEnded(event(onset)))
        database.handle(ClipSaved(event(3), "/three.flac"))
        assert [row.id for row in stored_events(path, 3)] == [8, 9, 10]
        assert [row.id for row in stored_events(path, 3, after=2)] == [3, 4, 5]
        assert stored_events(path, after=10) == []
        assert find_event(path, event(3)) == stored_events(path)[3]
        assert find_event(path, event(3, "cat")) is None
        assert str(clip_path(path, 4)) == "/three.flac"
        assert clip_path(path, 5) is None
        assert clip_path(path, 99) is None


def test_hours_are_counted_in_local_time(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")  # half an hour off all others
    time.tzset()
    try:
        path = tmp_path / "events.db"
        now = datetime(2026, 3, 1, 12, 45).astimezone()
        with opened(path) as database:
            for minutes_ago, label in (
                (0, "dog"),
                (44, "dog"),
                (45, "cat"),
                (46, "dog"),
                (166, "dog"),
            ):
                moment = now - timedelta(minutes=minutes_ago)
                database.handle(EventEnded(Event(0, 1, label, 0.5, "mic", moment)))
        hours = {h: datetime(2026, 3, 1, h).astimezone() for h in (11, 12)}
        assert hourly_counts(path, 2, now=now) == (
            [hours[11], hours[12]],
            {"dog": [1, 2], "cat": [0, 1]},
        )
        _, counts = hourly_counts(path, 4, now=now)
        assert sum(counts["dog"] + counts["cat"]) == 5
        assert rows(path, "SELECT substr(time, 12, 2), count(*) FROM events GROUP BY 1") == [
            ("09", 1), ("11", 1), ("12", 3),
        ]  # fmt: skip
    finally:
        monkeypatch.undo()
        time.tzset()


def test_pandas_reads_it(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        database.handle(EventEnded(event(2.5)))
    with closing(sqlite3.connect(path)) as connection:
        table = pd.read_sql("SELECT * FROM events", connection)
    assert pd.to_datetime(table.time).tolist() == [START + timedelta(seconds=2.5)]
    assert pd.DataFrame(stored_events(path)).columns.tolist() == table.columns.tolist()
    assert json.loads(json.dumps(stored_events(path)[0]._asdict()))["score"] == 0.8


def test_an_event_is_written_quickly(tmp_path):
    with opened(tmp_path / "events.db") as database:
        began = time.monotonic()
        for onset in range(1_000):
            database.handle(EventEnded(event(onset)))
        assert (time.monotonic() - began) / 1_000 < 0.01
