"""Who hears what, and in which order."""

from datetime import UTC, datetime

import numpy as np
import pytest

from sed.events.tracker import Event
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    Dispatcher,
    EventEnded,
    InputStatus,
    Problem,
    Status,
)

EVENT = Event(0.0, 1.0, "dog", 0.9, "garden", datetime(2026, 1, 1, tzinfo=UTC))


class Listens:
    """A sink that keeps what it hears, and answers what it is told to."""

    def __init__(self, *, answer=None, last=()):
        self.heard = []
        self._answer, self._last = answer or {}, last

    def handle(self, message):
        self.heard.append(message)
        return self._answer.get(type(message), ())

    def close(self):
        self.heard.append("close")
        return self._last


def test_answers_come_behind_what_they_answer_for_everybody():
    clip = ClipSaved(EVENT, "a.flac")
    first, second = Listens(answer={EventEnded: [clip]}), Listens()
    Dispatcher([first, second]).handle(EventEnded(EVENT))
    assert first.heard == second.heard == [EventEnded(EVENT), clip]


def test_at_the_end_those_still_open_hear_what_the_others_had_left():
    last = Problem("3 not delivered")
    first, second = Listens(last=[last]), Listens(last=[Problem("nobody hears this")])
    fan = Dispatcher()
    fan.add(first)
    fan.add(second)
    fan.close()
    fan.close()
    assert first.heard == ["close"]
    assert second.heard == [last, "close"]


def test_a_sink_that_fails_is_told_of_and_left_out_and_the_others_go_on():
    class Fails(Listens):
        def handle(self, message):
            super().handle(message)
            raise KeyError("odd")

    fails, good = Fails(), Listens()
    fan = Dispatcher([fails, good])
    fan.handle(EventEnded(EVENT))
    fan.handle(EventEnded(EVENT))
    trouble = Problem("Fails failed and is not used any more: KeyError('odd')")
    assert good.heard == [EventEnded(EVENT), trouble, EventEnded(EVENT)]
    assert fails.heard == [EventEnded(EVENT)]


def test_one_that_cannot_be_closed_does_not_keep_the_others_open():
    class Fails(Listens):
        def close(self):
            raise OSError("stuck")

    good = Listens()
    Dispatcher([Fails(), good]).close()
    assert [type(m) for m in good.heard[:1]] == [Problem]
    assert good.heard[-1] == "close"


def test_the_level_of_a_block():
    nothing = np.empty((0, 0), np.float32)
    block = np.array([[0.5, -0.5], [0.5, -1.0]], np.float32)
    heard = AudioBlock("x", 0, block, 8_000, nothing, nothing)
    assert heard.peak == 1.0
    assert heard.rms == pytest.approx(np.sqrt(1.75 / 4))
    empty = AudioBlock("x", 0, nothing, 8_000, nothing, nothing)
    assert (empty.peak, empty.rms) == (0.0, 0.0)


def test_lost_samples_are_those_dropped_and_those_that_never_came():
    source = InputStatus("x", "listening", 8_000, 1, 100, 60, 30, 10, 7, 2, 3)
    assert Status(1.0, 0.1, 0.02, 4, (source, source)).n_lost == 74
