"""Alerts get the events that rules choose; all else is passed on as it is."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from sed.events.tracker import Event
from streaming.live.rules.config import RuleConfig, RulesConfig
from streaming.live.rules.router import AlertRouter
from streaming.live.rules.rules import Rules
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    ClockStepped,
    EventEnded,
    EventStarted,
    Gap,
    InputStatus,
    Problem,
    RuleMatched,
    Status,
)

START = datetime(2026, 11, 27, 12, tzinfo=UTC)
GAP = Gap("garden", 0.0, 1.0, 8_000, "lost", START)


class Recorder:
    """An alert that keeps what it gets."""

    def __init__(self):
        self.received = []
        self.is_closed = threading.Event()

    def handle(self, message):
        self.received.append(message)
        return ()

    def close(self):
        self.is_closed.set()
        return [Problem("2 not delivered")]


def event(label="dog", onset=0.0, score=0.9):
    time = START + timedelta(seconds=onset)
    return Event(onset, onset + 1.0, label, score, "garden", time)


def router(*rules, names=("webhook", "push"), **options):
    made = {name: Recorder() for name in names}
    return AlertRouter(made, Rules(RulesConfig(rules), set), **options), made


def block(seconds):
    empty = np.empty((0, 4), np.float32)
    silence = np.zeros((100, 1), np.float32)
    return AudioBlock("garden", round(100 * seconds) - 100, silence, 100, empty, empty)


def test_without_rules_alerts_get_every_message():
    route, made = router()
    messages = [EventStarted(event()), EventEnded(event()), GAP, Problem("full")]
    assert [message for each in messages for message in route.handle(each)] == []
    assert made["webhook"].received == made["push"].received == messages


def test_an_event_is_passed_to_the_alerts_of_its_rule_and_to_those_that_no_rule_names():
    dog, car = event("dog"), event("car")
    route, made = router(RuleConfig("d", ("dog",), sinks=("push",)), names=("push", "mqtt"))
    returned = []
    for each in (dog, car):
        for message in (EventStarted(each), EventEnded(each)):
            returned += route.handle(message)
    route.handle(GAP)
    assert made["push"].received == [EventEnded(dog), GAP]
    assert [type(m) for m in made["mqtt"].received] == [EventStarted, EventEnded] * 2 + [Gap]
    at = START.timestamp()
    assert returned == [RuleMatched("d", "dog", "garden", at, at + 1.0)]


def test_at_the_onset_an_alert_gets_the_start_and_then_the_end():
    route, made = router(RuleConfig(at="onset", threshold=0.5))
    weak, strong = event(score=0.3), event(onset=5.0)
    for each in (weak, strong):
        route.handle(EventStarted(each))
        route.handle(EventEnded(replace(each, score=0.9)))
    assert made["push"].received == [EventStarted(strong), EventEnded(strong)]


def test_the_clip_follows_its_event():
    clip = ClipSaved(event(), "a.flac")
    route, made = router(RuleConfig(classes=("dog",)), waits_for_clip=True)
    other = event("car")
    for message in (EventEnded(event()), EventEnded(other), ClipSaved(other, "b.flac"), clip):
        route.handle(message)
    assert made["push"].received == [EventEnded(event()), clip]
    assert route._open == {}


def test_an_alert_that_waits_for_what_follows_is_passed_on_with_its_clip():
    rule = RuleConfig("shot", ("gunshot",), unless=("dog",), unless_after_seconds=3.0)
    route, made = router(rule, waits_for_clip=True, delay_seconds=2.0)
    shot = event("gunshot")
    messages = [EventEnded(shot), ClipSaved(shot, "a.flac")]
    for message in [EventStarted(shot), *messages, block(6.0)]:
        assert route.handle(message) == []
    returned = route.handle(block(6.1))  # 1 s of event, 3 s after it, 2 s until all is found
    assert [type(each) for each in returned] == [RuleMatched]
    assert [m for m in made["push"].received if not isinstance(m, AudioBlock)] == messages
    assert route._open == {}


def test_a_bark_that_follows_prevents_it():
    rule = RuleConfig("shot", ("gunshot",), unless=("dog",), unless_after_seconds=3.0)
    route, _ = router(rule, delay_seconds=2.0)
    for message in (EventStarted(event("gunshot")), EventEnded(event("gunshot"))):
        route.handle(message)
    route.handle(EventStarted(event("dog", onset=3.5)))
    assert route.handle(block(9.0)) == []
    assert route.close() == [Problem("2 not delivered")] * 2


@pytest.mark.parametrize("ends", ["status", "close"])
def test_what_waits_is_passed_on_when_nothing_follows(ends):
    rule = RuleConfig("shot", ("gunshot",), unless=("dog",), unless_after_seconds=3.0)
    route, made = router(rule)
    route.handle(EventEnded(event("gunshot")))
    lost = InputStatus("garden", "lost", 8_000, 1, 0, 0, 0, 0, 0, 0, 0)
    route.handle(Status(9.0, 0.1, 0.1, 1, (lost,))) if ends == "status" else route.close()
    assert made["push"].received[0] == EventEnded(event("gunshot"))


def test_a_clock_that_is_set_changes_no_event_and_ends_the_waiting():
    rule = RuleConfig("shot", ("gunshot",), unless=("dog",), unless_after_seconds=3.0)
    route, made = router(rule, RuleConfig("car", ("car",), at="onset"))
    car, later = event("car"), timedelta(hours=1)
    route.handle(EventStarted(car))
    route.handle(EventEnded(event("gunshot", onset=50.0)))
    route.handle(ClockStepped(-3600.0))
    assert made["push"].received[-2:] == [EventEnded(event("gunshot", 50.0)), ClockStepped(-3600.0)]
    ended = EventEnded(replace(car, time=car.time - later))
    route.handle(ended)
    assert made["push"].received[-1] == ended
    assert route._open == {}


def test_alerts_are_exchanged_without_waiting_for_those_that_close_slowly():
    route, made = router()
    slow = made["push"]
    ready = threading.Event()

    def close():
        ready.wait(10)
        return [Problem("late")]

    slow.close = close
    new = Recorder()
    route.exchange({"webhook": made["webhook"], "push": new})
    assert route.handle(GAP) == []
    assert (slow.received, new.received, made["webhook"].received) == ([], [GAP], [GAP])
    ready.set()
    assert Problem("late") in route.close()
    assert made["webhook"].is_closed.is_set()


def test_an_alert_that_fails_is_reported_once_and_tried_again():
    route, made = router()
    works = made["push"].handle

    def fail(message):
        raise ZeroDivisionError

    made["push"].handle = fail
    (problem,) = route.handle(GAP)
    assert problem.text.startswith("Recorder failed: ZeroDivisionError")
    assert route.handle(GAP) == []
    made["push"].handle = works
    assert route.handle(GAP) == [Problem("Recorder works again; it missed 2 messages")]
    assert made["webhook"].received == [GAP, GAP, GAP]
