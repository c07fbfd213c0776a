"""The database of events: what is written, by one session or several."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from sed.events.tracker import Event
from streaming.messages import ClipSaved, EventEnded
from streaming.sinks.database import EventDatabase
from streaming.sinks.record.history import stored_events
from tests.streaming.sinks.databases import START, event, gap, opened, rows


def test_events_clips_and_gaps_are_in_the_file_at_once(tmp_path):
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


def test_reported_events_survive_a_killed_process(tmp_path):
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


def test_an_empty_file_becomes_a_database(tmp_path):
    path = tmp_path / "events.db"
    path.touch()
    EventDatabase(path).close()
    assert stored_events(path) == []


def test_an_event_without_its_time_is_misuse(tmp_path):
    database = EventDatabase(tmp_path / "events.db")
    with pytest.raises(ValueError, match="expected an event with its time"):
        database.handle(EventEnded(Event(0, 1, "dog", 0.5)))
    assert database.close() == []


def test_names_that_are_not_utf8_and_paths_with_special_characters_are_kept(tmp_path):
    path = tmp_path / "50% ünïcode #1?.db"
    with opened(path, model="m\udc80") as database:
        database.handle(EventEnded(event(0, "it's\0\ud800", "mic\udc80")))
        database.handle(ClipSaved(event(0, "it's\0\ud800", "mic\udc80"), "/a'b.flac"))
    (row,) = stored_events(path)
    assert (row.source, row.label, row.clip_path) == ("mic\\x80", "it's\0\\ud800", "/a'b.flac")


def test_pandas_reads_it(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        database.handle(EventEnded(event(2.5)))
    with closing(sqlite3.connect(path)) as connection:
        table = pd.read_sql("SELECT * FROM events", connection)
    assert pd.to_datetime(table.time).tolist() == [START + timedelta(seconds=2.5)]
    columns = [*table.columns, "verdict"]
    assert pd.DataFrame(stored_events(path)).columns.tolist() == columns
    assert json.loads(json.dumps(stored_events(path)[0]._asdict()))["score"] == 0.8


def test_an_event_is_written_quickly(tmp_path):
    with opened(tmp_path / "events.db") as database:
        started = time.monotonic()
        for onset in range(1_000):
            database.handle(EventEnded(event(onset)))
        assert (time.monotonic() - started) / 1_000 < 0.01
