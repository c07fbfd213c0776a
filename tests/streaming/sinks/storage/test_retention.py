"""Old events are deleted in small steps, and the file becomes smaller."""

import sqlite3
from contextlib import closing

import pytest

from sed.errors import UsageError
from streaming.messages import EventEnded
from streaming.sinks.storage import retention as retention_module
from streaming.sinks.storage.retention import Retention, RetentionConfig
from tests.streaming.sinks.databases import START, event, gap, opened, rows

DAY = 86_400.0


def fill(path, days, n=10):
    with opened(path) as database:
        for day in range(days):
            for each in range(n):
                database.handle(EventEnded(event(day * DAY + each)))
        database.handle(gap(0.0))


def retained(path, config, now, monotonic, steps=1):
    retention = Retention(config, now=lambda: now, monotonic=iter(monotonic).__next__)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [retention.step(connection) for _ in range(steps)]


def test_events_and_gaps_go_at_their_age_with_their_verdicts(tmp_path, monkeypatch):
    path = tmp_path / "e.sqlite"
    fill(path, days=4)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO verdicts VALUES (1, 'right', ''), (40, 'right', '')")
    monkeypatch.setattr(retention_module, "ROWS_AT_ONCE", 12)
    now = START.timestamp() + 4 * DAY
    clock = [0.0, *[601.0] * 100]
    assert retained(path, RetentionConfig(max_days=2.5), now, clock, steps=4) == [13, 8, 0, 0]
    assert rows(path, "SELECT min(id), count(*) FROM events") == [(21, 20)]
    assert rows(path, "SELECT count(*) FROM gaps") == [(0,)]
    assert rows(path, "SELECT event_id FROM verdicts") == [(40,)]


def test_nothing_goes_for_its_age_soon_after_the_start_or_without_a_known_time(tmp_path):
    path, config = tmp_path / "e.sqlite", RetentionConfig(max_days=1)
    fill(path, days=1)
    now = START.timestamp() + 40 * DAY
    assert retained(path, config, now, [0.0, 1.0, 599.0, 599.0]) == [0]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO undated VALUES (1)")
    assert retained(path, config, now, [0.0, *[601.0] * 9]) == [0]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM undated")
    assert retained(path, config, now, [0.0, *[601.0] * 9]) == [11]


def test_the_oldest_go_beyond_a_size_and_the_file_shrinks(tmp_path, monkeypatch):
    path = tmp_path / "e.sqlite"
    with opened(path):
        pass
    columns = "session_id, source, label, onset, offset, score, time, unix_time"
    with closing(sqlite3.connect(path)) as connection, connection:
        values = ((1, "mic", "dog", n, n + 1, 0.5, "x" * 29, 1e9 + n) for n in range(8_000))
        connection.executemany(f"INSERT INTO events ({columns}) VALUES (?,?,?,?,?,?,?,?)", values)
    before = path.stat().st_size
    monkeypatch.setattr(retention_module, "MIN_FREE_PAGES", 8)
    monkeypatch.setattr(retention_module, "ROWS_AT_ONCE", 1_000)
    deleted = retained(path, RetentionConfig(max_mb=0.5), 2e9, [0.0] * 200, steps=60)
    n_left = 8_000 - sum(deleted)
    assert rows(path, "SELECT count(*), max(id) FROM events") == [(n_left, 8_000)]
    assert 0 < n_left < 4_000
    assert before > 1.2e6
    assert path.stat().st_size < 0.5e6 / (1 - retention_module.FREE_SHARE)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"max_days": 0},
            "expected a greatest age of an event above 0 and up to 36500 days, got 0",
        ),
        ({"max_mb": 0.1}, "expected a greatest size of the database above 0.1 MB, got 0.1"),
    ],
)
def test_limits_that_cannot_work_are_misuse(values, text):
    with pytest.raises(UsageError, match=text):
        RetentionConfig(**values)
