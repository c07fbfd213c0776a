"""The history: events are read in order, and counted by the hour."""

import random
import time
from datetime import datetime, timedelta

import numpy as np
import pytest

from sed.errors import UsageError
from sed.events.sqlite import DatabaseError
from sed.events.tracker import Event
from streaming.messages import ClipSaved, EventEnded
from streaming.sinks.record.counts import first_time, hourly_counts, known_names
from streaming.sinks.record.edits import set_verdict
from streaming.sinks.record.history import (
    EventFilter,
    events_in_order,
    find_event,
    has_label,
    stored_event,
    stored_events,
)
from tests.streaming.sinks.databases import START, event, opened, rows


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
        with pytest.raises(UsageError, match="expected after or before, not both"):
            stored_events(path, after=1, before=2)
        assert find_event(path, event(3)) == stored_events(path)[3]
        assert find_event(path, event(3, "cat")) is None
        assert stored_event(path, 4) == stored_events(path)[3]
        assert stored_event(path, 99) is None


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A database of 300 events whose order of ids is not that of their times."""
    path = tmp_path_factory.mktemp("many") / "events.db"
    generator = np.random.default_rng(0)
    with opened(path) as database:
        for onset in generator.integers(0, 200, 300).tolist():
            label, source = "abc"[onset % 3], "xy"[onset % 2]
            moment = START + timedelta(seconds=onset)
            found = Event(onset, onset + 1, label, onset / 200, source, moment)
            database.handle(EventEnded(found))
    return path, stored_events(path, 300)


@pytest.mark.parametrize("seed", range(60))
def test_the_events_asked_for_are_found(many, seed):
    draw = random.Random(seed)
    n, before, is_after = draw.randint(1, 40), draw.randint(1, 302), draw.random() < 0.3
    labels, sources = (
        tuple(draw.sample(names, draw.randint(0, len(names)))) for names in ("abcz", "xyz")
    )
    since, until = (draw.choice([None, draw.randint(-5, 205)]) for _ in range(2))
    min_score = draw.choice([0.0, draw.random()])
    before = draw.choice([None, before]) if not is_after else before
    path, every = many
    begin = START.timestamp()
    since, until = (None if t is None else begin + t for t in (since, until))
    only = EventFilter(labels, sources, since, until, min_score)
    kept = [
        row
        for row in every
        if (not labels or row.label in labels)
        and (not sources or row.source in sources)
        and (since is None or row.unix_time >= since)
        and (until is None or row.unix_time < until)
        and row.score >= min_score
    ]
    after, before = (before, None) if is_after else (None, before)
    if after is not None:
        expected = sorted(row for row in kept if row.id > after)[:n]
    else:
        at = max(r for r in every if r.id <= (before or 1))
        known = (at.unix_time, before)
        in_order = sorted(kept, key=lambda row: (row.unix_time, row.id))
        is_known = before is not None
        expected = [r for r in in_order if not is_known or (r.unix_time, r.id) < known][-n:]
    assert stored_events(path, n, after=after, before=before, only=only) == expected
    in_order = sorted(kept, key=lambda row: (row.unix_time, row.id))
    assert [*events_in_order(path, only, n_at_once=50)] == in_order


def test_names_and_the_first_time_are_those_of_all_events(many, tmp_path):
    path, every = many
    assert known_names(path) == (["a", "b", "c"], ["x", "y"])
    assert has_label(path, "a")
    assert not has_label(path, "z")
    assert first_time(path) == min(row.unix_time for row in every)
    with opened(tmp_path / "empty.db"):
        assert known_names(tmp_path / "empty.db") == ([], [])
        assert first_time(tmp_path / "empty.db") is None


def test_what_a_person_says_is_read_with_the_event(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as database:
        for onset in range(3):
            database.handle(EventEnded(event(onset)))
        set_verdict(path, 2, "wrong")
        assert [row.verdict for row in stored_events(path)] == [None, "wrong", None]
        assert find_event(path, event(1)).verdict == "wrong"


def test_the_index_has_the_order_of_each_query(tmp_path):
    """Without these, a query sorts a million events."""
    path = tmp_path / "events.db"
    with opened(path):
        for condition, index in (
            ("1", "events_by_time_score"),
            ("label = 'dog'", "events_by_label"),
            ("source = 'mic'", "events_by_source"),
        ):
            query = (
                f"EXPLAIN QUERY PLAN SELECT unix_time, id FROM events "
                f"WHERE {condition} AND score >= 0.5 ORDER BY unix_time DESC, id DESC"
            )
            first, *others = [plan for *_, plan in rows(path, query)]
            assert f"USING COVERING INDEX {index}" in first
            # Only events of one moment are sorted.
            assert "USE TEMP B-TREE FOR ORDER BY" not in others


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
        assert hourly_counts(path, 2, now=now, sources=("none",))[1] == {}
        _, counts = hourly_counts(path, 4, now=now)
        assert sum(counts["dog"] + counts["cat"]) == 5
        assert rows(path, "SELECT substr(time, 12, 2), count(*) FROM events GROUP BY 1") == [
            ("09", 1), ("11", 1), ("12", 3),
        ]  # fmt: skip
    finally:
        monkeypatch.undo()
        time.tzset()
