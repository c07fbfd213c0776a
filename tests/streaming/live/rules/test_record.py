"""Rules go on after a restart with what the database has."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sed.events.tracker import Event
from streaming.live.rules.config import RuleConfig, RulesConfig
from streaming.live.rules.record import last_alerts, restore_rules, stored_sounds
from streaming.live.rules.router import AlertRouter
from streaming.live.rules.rules import Rules
from streaming.messages import EventEnded, RuleMatched
from streaming.sinks.database import EventDatabase

START = datetime(2026, 11, 27, 12, tzinfo=UTC)
RULE = RuleConfig("dogs", cooldown_seconds=600.0, confirmations=2, within_seconds=50.0)


def event(onset):
    return Event(onset, onset + 1.0, "dog\udcff", 0.9, "garden", START + timedelta(seconds=onset))


def run(path, onsets, now):
    """Handle events in a process of their own; return when there were alerts."""
    rules = Rules(RulesConfig((RULE,)), set)
    restore_rules(rules, path, START.timestamp() + now)
    database, router = EventDatabase(path), AlertRouter({}, rules)
    found = []
    for onset in onsets:
        message = EventEnded(event(onset))
        database.handle(message)
        for returned in router.handle(message):
            database.handle(returned)
            found.append(returned.start - START.timestamp())
    database.close()
    return found


def test_the_decisions_are_those_of_one_process_that_was_not_restarted(tmp_path):
    onsets = [0, 40, 80, 300, 340, 630, 645, 700, 1_300, 1_400, 1_440]
    whole = run(tmp_path / "whole.sqlite", onsets, 0)
    assert whole == [40, 645, 1_440]
    for cut in (1, 5, 6, 9):
        path = tmp_path / f"{cut}.sqlite"
        first = run(path, onsets[:cut], 0)
        assert first + run(path, onsets[cut:], onsets[cut]) == whole


def test_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "events.sqlite"
    database = EventDatabase(path)
    database.handle(EventEnded(event(3.0)))
    for moment in (7.0, 5.0):
        database.handle(RuleMatched("night", "dog", "garden", 4.0, moment))
    database.close()
    (sound,) = stored_sounds(path)
    at = START.timestamp() + 3.0
    assert (sound.start, sound.stop, sound.score, sound.source) == (at, at + 1, 0.9, "garden")
    assert sound.local_time() == START + timedelta(seconds=3)
    assert list(stored_sounds(path, since=at + 0.1)) == []
    assert last_alerts(path) == [("night", "dog", 7.0)]


def test_a_database_without_alerts_and_one_that_does_not_exist_are_none(tmp_path):
    rules = Rules(RulesConfig((replace(RULE, confirmations=1),)), set)
    restore_rules(rules, tmp_path / "none.sqlite", 0.0)
    assert not (tmp_path / "none.sqlite").exists()
