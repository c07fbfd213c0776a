"""Events are marked and deleted in a database that `sed listen` may be writing."""

import sqlite3
from contextlib import closing
from functools import partial

import pytest

from sed.errors import OutputError, UsageError
from sed.events.sqlite import DatabaseError, read_live_record
from streaming.messages import EventEnded
from streaming.sinks.record import edits
from streaming.sinks.record.edits import delete_event, set_verdict
from streaming.sinks.record.history import stored_events
from tests.streaming.sinks.databases import event, held_by_another, opened, rows

NAME = "2026-11-21/20261121T121500.250Z_dog_mic.flac"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        for onset in range(2):
            database.handle(EventEnded(event(onset)))
        yield path


def save_clip(path, name):
    clip = path.parent / name
    clip.parent.mkdir(exist_ok=True)
    clip.write_bytes(b"sound")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE events SET clip_path = ? WHERE id = 1", (str(clip),))
    connection.close()
    return clip


def test_a_mark_is_stored_changed_and_taken_back(path):
    assert set_verdict(path, 2, "right")
    assert set_verdict(path, 2, "wrong")
    ((number, verdict, time),) = rows(path, "SELECT * FROM verdicts")
    assert (number, verdict, time[10:11], time[-6:]) == (2, "wrong", "T", "+00:00")
    assert set_verdict(path, 2, None)
    assert rows(path, "SELECT * FROM verdicts") == []
    assert not set_verdict(path, 99, "right")
    assert rows(path, "SELECT * FROM verdicts") == []
    with pytest.raises(UsageError, match="unknown verdict 'rihgt'"):
        set_verdict(path, 1, "rihgt")


def test_an_event_goes_with_its_mark_and_its_clip(path):
    clip = save_clip(path, NAME)
    set_verdict(path, 1, "wrong")
    assert delete_event(path, 1)
    assert [row.id for row in stored_events(path)] == [2]
    assert rows(path, "SELECT * FROM verdicts") == []
    assert not clip.parent.exists()
    assert not delete_event(path, 1)


def test_a_file_that_is_not_named_as_a_clip_is_kept(path):
    kept = save_clip(path, "sub/secret.flac")
    assert delete_event(path, 1)
    assert kept.read_bytes() == b"sound"


def test_an_event_whose_clip_cannot_be_deleted_is_kept(path):
    clip = save_clip(path, NAME)
    clip.unlink()
    clip.mkdir()
    with pytest.raises(OutputError, match=r"dog_mic\.flac"):
        delete_event(path, 1)
    assert [row.id for row in stored_events(path)] == [1, 2]


def test_a_database_that_is_locked_is_reported(path, monkeypatch):
    monkeypatch.setattr(edits, "read_live_record", partial(read_live_record, timeout_seconds=0.01))
    with (
        held_by_another(path),
        pytest.raises(DatabaseError, match=r"events\.db: cannot be changed: database is locked"),
    ):
        set_verdict(path, 1, "right")
