"""The history: events are read in order, and counted by the hour."""

import time
from datetime import datetime, timedelta

import pytest

from sed.events.sqlite import DatabaseError
from sed.events.tracker import Event
from streaming.messages import ClipSaved, EventEnded
from streaming.sinks.history import clip_path, find_event, hourly_counts, stored_events
from tests.streaming.sinks.databases import event, opened, rows


def test_reading_a_missing_database_creates_nothing(tmp_path):
    with pytest.raises(DatabaseError, match=r"none\.db: cannot be read: unable to open"):
        stored_events(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


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
    monkeypatch.setenv("TZ", "Asia/Kolkata")  # its offset is not a whole hour
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
