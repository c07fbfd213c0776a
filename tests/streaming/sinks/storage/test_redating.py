"""Times of events are corrected when the clock is set, and those of no known time are marked."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from sed.text import timestamp
from streaming.messages import ClipMoved, ClipSaved, ClockStepped, EventEnded, Problem, Status
from streaming.sinks.storage import redating
from streaming.sinks.storage.redating import correct_times
from tests.streaming.sinks.databases import START, event, gap, opened, rows

STATUS = Status(1.0, 0.0, 0.0, 0, ())
YEARS = 20_000 * 86_400.0
TIMES = "SELECT unix_time FROM events ORDER BY id"


def early(onset, label="dog"):
    """Return an event of a clock that is decades late."""
    known = event(onset, label)
    return replace(known, time=known.time - timedelta(seconds=YEARS))


def seconds(found):
    return [time - START.timestamp() for (time,) in found]


def clip_of(folder, known):
    path = folder / f"{known.time:%Y-%m-%d}" / f"{timestamp(known.time)}_dog_mic.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"fLaC")
    return path


def test_a_session_before_the_last_event_is_undated_until_the_clock_is_set(tmp_path):
    path = tmp_path / "e.sqlite"
    with opened(path) as database:
        database.handle(EventEnded(event(0.0)))
    clock = [START.timestamp() - YEARS]
    with opened(path, now=lambda: clock[0]) as database:
        [message] = database.handle(STATUS)
        assert "which is before the last event (2026-11-21T" in message.text
        assert message.text.endswith("; this session is undated until the clock is set")
        database.handle(EventEnded(early(60.0)))
        database.handle(replace(gap(70.0), time=early(70.0).time))
        assert rows(path, "SELECT session_id FROM undated") == [(2,)]
        clock[0] += YEARS / 2
        database.handle(ClockStepped(YEARS / 2))
        assert rows(path, "SELECT session_id FROM undated") == [(2,)]
        clock[0] += YEARS / 2
        database.handle(ClockStepped(YEARS / 2))
        database.handle(EventEnded(event(80.0)))
    assert rows(path, "SELECT session_id FROM undated") == []
    assert seconds(rows(path, TIMES)) == pytest.approx([0.0, 60.0, 80.0], abs=1e-5)
    assert seconds(rows(path, "SELECT unix_time FROM gaps")) == pytest.approx([70.0], abs=1e-5)
    [(days,)] = rows(path, "SELECT count(DISTINCT substr(time, 1, 10)) FROM events")
    assert days == 1


def test_clips_get_the_name_of_the_corrected_time(tmp_path):
    path, known = tmp_path / "e.sqlite", early(0.0)
    clip = clip_of(tmp_path / "clips", known)
    with opened(path) as database:
        database.handle(EventEnded(known))
        database.handle(ClipSaved(known, str(clip)))
        moved, report = database.handle(ClockStepped(YEARS))
    new = clip_of(tmp_path / "expected", event(0.0)).relative_to(tmp_path / "expected")
    assert moved == ClipMoved(str(clip), str(tmp_path / "clips" / new))
    assert report == Problem(f"{path}: 1 clip got the names of corrected times")
    assert rows(path, "SELECT clip_path FROM events") == [(moved.new_path,)]
    assert not clip.parent.exists()


def test_a_clip_that_is_saved_after_the_clock_was_set_is_still_that_of_its_event(tmp_path):
    path = tmp_path / "e.sqlite"
    with opened(path) as database:
        database.handle(EventEnded(early(0.0)))
        database.handle(ClockStepped(YEARS))
        database.handle(ClipSaved(event(0.0), "/clips/x.flac"))
    assert rows(path, "SELECT clip_path FROM events") == [("/clips/x.flac",)]


@pytest.mark.parametrize("n_steps", [0, 1, 2])
def test_what_a_killed_process_left_is_completed_and_nothing_is_corrected_twice(
    tmp_path, monkeypatch, n_steps
):
    """A clip was renamed, and the transaction of that was lost."""
    path = tmp_path / "e.sqlite"
    monkeypatch.setattr(redating, "ROWS_AT_ONCE", 2)
    clips = [clip_of(tmp_path / "clips", early(float(n))) for n in range(5)]
    with opened(path) as database:
        for n, clip in enumerate(clips):
            database.handle(EventEnded(early(float(n))))
            database.handle(ClipSaved(early(float(n)), str(clip)))
        monkeypatch.setattr(database._upkeep, "step", lambda _: [])
        database.handle(ClockStepped(YEARS))
        database.handle(EventEnded(event(5.0)))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(n_steps):
            correct_times(connection)
    redating.rename_clip(str(clips[4]), event(4.0).time)
    with opened(path) as database:
        database.handle(STATUS)
    assert seconds(rows(path, TIMES)) == pytest.approx([0, 1, 2, 3, 4, 5], abs=1e-5)
    found = rows(path, "SELECT clip_path FROM events WHERE clip_path IS NOT NULL")
    existing = {str(each) for each in (tmp_path / "clips").rglob("*.flac")}
    assert {clip for (clip,) in found} == existing
    assert all("/2026-11-21/20261121T" in clip for clip in existing)


def test_only_events_of_this_session_are_corrected(tmp_path):
    path = tmp_path / "e.sqlite"
    with opened(path) as database:
        database.handle(EventEnded(event(0.0)))
    with opened(path) as first, opened(path) as second:
        first.handle(EventEnded(event(10.0)))
        second.handle(EventEnded(event(20.0)))
        second.handle(ClockStepped(-3600.0))
    assert seconds(rows(path, TIMES)) == pytest.approx([0.0, 10.0, 20.0 - 3600.0], abs=1e-5)
