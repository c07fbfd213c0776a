"""The dispatcher passes messages to the sinks in order, and reports those that fail."""

from datetime import UTC, datetime

import numpy as np
import pytest

from sed.events.tracker import Event
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    Dispatcher,
    EventEnded,
    FaultReporter,
    InputStatus,
    Problem,
    Status,
)

STATUS = Status(1.0, 0.1, 0.02, 0, ())
EVENT = Event(0.0, 1.0, "dog", 0.9, "garden", datetime(2026, 1, 1, tzinfo=UTC))


class Recorder:
    """A sink that keeps its messages, and returns given ones."""

    def __init__(self, *, returns=None, last=()):
        self.received = []
        self._returns, self._last = returns or {}, last

    def handle(self, message):
        self.received.append(message)
        return self._returns.get(type(message), ())

    def close(self):
        self.received.append("close")
        return self._last


def test_returned_messages_follow_for_all_sinks():
    clip = ClipSaved(EVENT, "a.flac")
    first, second = Recorder(returns={EventEnded: [clip]}), Recorder()
    Dispatcher([first, second]).handle(EventEnded(EVENT))
    assert first.received == second.received == [EventEnded(EVENT), clip]


def test_sinks_still_open_receive_what_closed_ones_return():
    last = Problem("3 not delivered")
    first, second = Recorder(last=[last]), Recorder(last=[Problem("not received")])
    dispatcher = Dispatcher()
    dispatcher.add(first)
    dispatcher.add(second)
    dispatcher.close()
    dispatcher.close()
    assert first.received == ["close"]
    assert second.received == [last, "close"]


class Failing(Recorder):
    """A sink that raises the next of its errors, where it is one, for messages of one type."""

    def __init__(self, *errors, on=EventEnded):
        super().__init__()
        self.errors, self._on = list(errors), on

    def handle(self, message):
        error = self.errors.pop(0) if self.errors and isinstance(message, self._on) else None
        if error is not None:
            raise error
        return super().handle(message)


def texts(sink):
    return [message.text for message in sink.received if isinstance(message, Problem)]


def test_a_sink_that_fails_is_tried_again_and_reports_each_kind_of_error_once():
    odd, full = KeyError("odd"), OSError("full")
    failing, good = Failing(odd, odd, full, None), Recorder()
    dispatcher = Dispatcher([failing, good])
    for _ in range(4):
        dispatcher.handle(EventEnded(EVENT))
        dispatcher.handle(STATUS)  # which it can handle
    assert texts(good) == [
        "Failing failed: KeyError('odd'). It is tried again with each message",
        "Failing failed: OSError('full'). It is tried again with each message",
        "Failing works again; it missed 3 messages",
    ]
    assert [m for m in good.received if isinstance(m, EventEnded)] == [EventEnded(EVENT)] * 4
    assert [m for m in failing.received if isinstance(m, EventEnded)] == [EventEnded(EVENT)]
    dispatcher.close()
    assert good.received[-1] == failing.received[-1] == "close"
    assert len(texts(good)) == 3


def test_a_sink_that_still_fails_at_the_end_is_closed_with_the_number_of_messages_it_missed():
    failing, good = Failing(*[KeyError("odd")] * 5), Recorder()
    dispatcher = Dispatcher([failing, good])
    for _ in range(5):
        dispatcher.handle(EventEnded(EVENT))
    dispatcher.close()
    assert failing.received[-1] == "close"
    assert texts(good)[1:] == ["Failing: closed after it missed 5 messages"]


def test_a_sink_that_fails_with_every_second_report_does_not_report_without_end():
    errors = [KeyError("odd"), None] * 50
    failing, good = Failing(*errors, on=Problem), Recorder()
    dispatcher = Dispatcher([failing, good])
    for i in range(4):
        dispatcher.handle(Problem(f"{i}"))
    fault = "Failing failed: KeyError('odd'). It is tried again with each message"
    recovery = "Failing works again; it missed 2 messages"
    assert texts(good) == ["0", fault, "1", "2", recovery, "3"]


def test_a_sink_that_cannot_be_closed_does_not_keep_the_others_open():
    class Fails(Recorder):
        def close(self):
            raise OSError("stuck")

    good = Recorder()
    Dispatcher([Fails(), good]).close()
    assert good.received == [Problem("Fails cannot be closed: OSError('stuck')"), "close"]


def test_the_level_of_a_block():
    nothing = np.empty((0, 0), np.float32)
    block = np.array([[0.5, -0.5], [0.5, -1.0]], np.float32)
    audio = AudioBlock("x", 0, block, 8_000, nothing, nothing)
    assert audio.peak == 1.0
    assert audio.rms == pytest.approx(np.sqrt(1.75 / 4))
    empty = AudioBlock("x", 0, nothing, 8_000, nothing, nothing)
    assert (empty.peak, empty.rms) == (0.0, 0.0)


def test_lost_samples_are_those_dropped_and_those_that_never_came():
    source = InputStatus("x", "listening", 8_000, 1, 100, 60, 30, 10, 7, 2, 3)
    assert Status(1.0, 0.1, 0.02, 4, (source, source)).n_lost == 74


def test_each_kind_of_fault_is_reported_once_and_the_end_of_all_once():
    faults = FaultReporter("works again")
    assert faults.update(None) == []
    assert faults.update("full", kind="full") == [Problem("full")]
    assert faults.update("still full", kind="full") == []
    assert faults.update("slow", kind="slow") == [Problem("slow")]
    assert faults.is_faulty
    assert faults.update(None, recovery="works again: 3 sent") == [Problem("works again: 3 sent")]
    assert not faults.is_faulty
    assert faults.update(None) == []
