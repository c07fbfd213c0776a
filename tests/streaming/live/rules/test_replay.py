"""What rules would have done with a database, and which classes are frequent in it."""

import csv
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np

from sed.events.tracker import Event
from streaming.live.rules.config import RuleConfig, RulesConfig
from streaming.live.rules.noise import frequent_classes, lowest_threshold
from streaming.live.rules.replay import replay, summarize, write_alerts
from streaming.live.rules.rules import Rules
from streaming.messages import EventEnded
from streaming.sinks.database import EventDatabase

START = datetime(2026, 11, 26, 22, tzinfo=UTC)


def database(path, events):
    """Write events of label, start and score, of a second each; an hour was listened."""
    store = EventDatabase(path)
    for label, onset, score in events:
        time = START + timedelta(seconds=onset)
        store.handle(EventEnded(Event(onset, onset + 1.0, label, score, "garden", time)))
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        ended = START + timedelta(hours=1)
        times = START.isoformat(), ended.isoformat()
        connection.execute("UPDATE sessions SET started = ?, ended = ?", times)
    return path


def test_each_rule_has_its_alerts_by_day_and_hour(tmp_path):
    path = database(
        tmp_path / "events.sqlite",
        [("dog", 3_600 * hour, 0.9) for hour in (0, 0.1, 1, 3, 25)] + [("car", 9, 0.9)],
    )
    config = RulesConfig(
        (RuleConfig("dogs", ("dog",), cooldown_seconds=600.0), RuleConfig(classes=("cat",)))
    )
    rules = Rules(config, set)
    alerts = replay(rules, path)
    dogs, cats = summarize(rules, alerts)
    assert (dogs.rule, dogs.n_alerts, cats.n_alerts, cats.most_on_a_day) == ("dogs", 4, 0, ("", 0))
    assert dogs.of_days == {"2026-11-26": 2, "2026-11-27": 2}
    assert {hour: n for hour, n in enumerate(dogs.of_hours) if n} == {1: 1, 22: 1, 23: 2}
    assert dogs.last.startswith("2026-11-27T23:00:00")
    write_alerts(tmp_path / "alerts.csv", alerts)
    with open(tmp_path / "alerts.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert rows[0]["time"] == "2026-11-26T22:00:00.000+00:00"
    assert (rows[0]["rule"], rows[0]["score"], rows[0]["duration"]) == ("dogs", "0.9000", "1.000")


def test_a_frequent_class_gets_the_lowest_threshold_that_quiets_it(tmp_path):
    hour = np.linspace(0, 3_599, 40)
    traffic = [("traffic", onset, 0.2 + n / 100) for n, onset in enumerate(hour)]
    path = database(tmp_path / "events.sqlite", [*traffic, ("dog", 3_599.0, 0.9)])
    (rate,), hours = frequent_classes(path, 10.0)
    assert hours == 1.0
    assert (rate.label, rate.n_events, rate.n_hours_of_day) == ("traffic", 40, 1)
    # Of 0.20, 0.21 … 0.59 ten may stay.
    assert (rate.per_hour, rate.threshold, rate.per_hour_left) == (40, 0.491, 10)
    assert frequent_classes(path, 100.0)[0] == []


def test_a_threshold_above_one_is_none():
    assert lowest_threshold(np.ones(5), 2) is None
    assert lowest_threshold(np.array([0.9, 0.8, 0.7]), 1) == 0.801
    assert lowest_threshold(np.array([0.9, 0.8, 0.8]), 2) == 0.801
    assert lowest_threshold(np.array([0.3004, 0.2]), 0) == 0.301


def test_a_database_without_events_has_no_frequent_class(tmp_path):
    assert frequent_classes(database(tmp_path / "events.sqlite", []), 10.0)[0] == []


def test_hours_of_sessions_at_the_same_time_count_once(tmp_path):
    path = database(tmp_path / "events.sqlite", [("dog", 10.0, 0.5)])
    with closing(sqlite3.connect(path)) as connection, connection:
        for start, stop in ((0.5, 1.5), (0.75, 1.0), (3.0, 3.5)):
            times = (START + timedelta(hours=hours) for hours in (start, stop))
            connection.execute(
                "INSERT INTO sessions (started, ended, model) VALUES (?, ?, '')",
                [time.isoformat() for time in times],
            )
    assert frequent_classes(path, 10.0)[1] == 2.0
