"""The clock of a stream follows that of the machine, which may be set or suspended."""

import math
import threading
import time
from datetime import datetime, timedelta

import numpy as np
import pytest

from streaming.engines.pytorch import TorchEngine
from streaming.live.capture import SUSPENDED, CaptureBuffer, SampleGap
from streaming.live.clock import SystemClock, describe_step
from streaming.live.input import _StreamClock
from streaming.live.listener import Listener
from streaming.live.sources import FileSource
from streaming.messages import ClockStepped, Gap, Problem
from tests.conftest import rising_noise, until
from tests.streaming.live.scripts import CONFIG, RATE, Endless, Script, ended


def test_the_drift_of_a_device_clock_is_followed():
    """A crystal 100 ppm too fast gains 8.6 s a day; blocks come up to 80 ms late."""
    generator = np.random.default_rng(0)
    clock, true_rate = _StreamClock(RATE), RATE * (1 + 100e-6)
    for position in range(0, 6 * 3600 * RATE, 10 * RATE):
        clock.update(position, 1e9 + position / true_rate + generator.uniform(0, 0.08))
    expected = datetime.fromtimestamp(1e9 + position / true_rate).astimezone()
    assert abs(clock.time(position) - expected) < timedelta(seconds=0.1)


def test_a_clock_that_was_set_is_followed_at_once():
    clock = _StreamClock(RATE)
    clock.update(RATE, 1_000.0)
    clock.update(2 * RATE, 1_000.9)
    assert clock.time(0).timestamp() == pytest.approx(998.9)
    clock.update(3 * RATE, 5_000.0)
    assert clock.time(3 * RATE).timestamp() == pytest.approx(5_000.0)
    clock.update(4 * RATE, 4_000.0)
    assert clock.time(4 * RATE).timestamp() == pytest.approx(4_000.0)


class Clocks:
    def __init__(self):
        self.now, self.elapsed, self.pause = 1_000.0, 50.0, 0.0

    def read_elapsed(self):
        self.elapsed += self.pause
        return self.elapsed


def test_a_clock_that_is_set_is_a_step_and_one_that_drifts_or_is_read_late_is_not():
    clocks = Clocks()
    clock = SystemClock(lambda: clocks.now, clocks.read_elapsed)
    assert clock.step() == 0.0
    for now, elapsed, pause, expected in [
        (1.0, 1.0, 0.0, 0.0),
        (1.5, 0.5, 0.0, 0.0),  # 1 s is followed without a report
        (3600.0, 0.0, 0.0, 3600.0),
        (0.5, 0.5, 0.0, 0.0),
        (8.0, 0.5, 0.2, 0.0),  # the process had to wait: it is not known when
        (0.5, 0.5, 0.0, 7.1),
        (-1e6, 1.0, 0.0, -1_000_001.0),
    ]:
        clocks.now, clocks.elapsed, clocks.pause = clocks.now + now, clocks.elapsed + elapsed, pause
        assert clock.step() == pytest.approx(expected)


def test_the_text_of_a_step():
    texts = [describe_step(seconds) for seconds in (2.5, -150.0, 7_300.0, 20_000 * 86_400.0)]
    assert texts == [
        "the clock was set forward by 2.5 s",
        "the clock was set back by 2.5 minutes",
        "the clock was set forward by 2.0 hours",
        "the clock was set forward by 20,000.0 days",
    ]


class Suspended(Script):
    """A source during which the machine is suspended: only some of its clocks go on."""

    def __init__(self, *parts, monkeypatch, seconds):
        super().__init__(*parts)
        self.slept, self._monkeypatch, self._seconds = 0.0, monkeypatch, seconds

    def start(self, buffer):
        read = time.clock_gettime
        self._monkeypatch.setattr(time, "clock_gettime", lambda clock: read(clock) + self.slept)
        first, second = self._steps
        buffer.push(first[:, None])
        self.slept = self._seconds
        buffer.push(second[:, None])
        self._buffer = buffer
        buffer.end()


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux has both clocks")
def test_the_time_in_which_the_machine_is_suspended_is_a_gap(tiny_checkpoint, monkeypatch):
    sounds = rising_noise(30_000, 1), rising_noise(30_000, 2)
    source = Suspended(*sounds, monkeypatch=monkeypatch, seconds=3_600.0)
    clock = SystemClock(lambda: time.time() + source.slept)
    engine = TorchEngine(tiny_checkpoint, "cpu", "fp32")
    listener = Listener([source], engine, CONFIG, buffer_seconds=60.0, clock=clock)
    start = datetime.now().astimezone()
    messages = list(listener.messages())
    (gap,) = [message for message in messages if isinstance(message, Gap)]
    assert (gap.onset, gap.reason) == (30_000 / RATE, "the machine was suspended")
    assert gap.offset - gap.onset == pytest.approx(3_600.0, abs=0.1)
    assert messages[-1].sources[0].n_missing == gap.n_samples
    events = ended(messages)
    for event in events:
        slept = 0.0 if event.onset < gap.onset else 3_600.0
        assert (event.time - start).total_seconds() == pytest.approx(slept, abs=10.0)
    assert {event.onset < gap.onset for event in events} == {True, False}
    assert not [m for m in messages if isinstance(m, Problem | ClockStepped)]


class Sleeping(Endless):
    """A decoder that is read while the machine is suspended for an hour."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch

    def blocks(self):
        yield rising_noise(4_000)[:, None]
        read = time.clock_gettime
        self._monkeypatch.setattr(time, "clock_gettime", lambda clock: read(clock) + 3_600)
        yield rising_noise(4_000)[:, None]


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux has both clocks")
@pytest.mark.parametrize(("speed", "n_gaps"), [(math.inf, 1), (20.0, 0)])
def test_a_suspended_machine_misses_sound_of_a_pipe_but_not_of_a_file(monkeypatch, speed, n_gaps):
    source = FileSource("x", Sleeping(monkeypatch), speed=speed)
    buffer = CaptureBuffer(
        hop_length=RATE,
        capacity_samples=60 * RATE,
        wake=threading.Condition(),
        sample_rate=RATE,
    )
    source.start(buffer)
    until(lambda: buffer.state == "ended")
    items = iter(lambda: buffer.pop(10**9), None)
    gaps = [item for item in items if isinstance(item, SampleGap)]
    assert [(gap.start, gap.reason) for gap in gaps] == [(4_000, SUSPENDED)] * n_gaps
    assert all(abs(gap.n_samples - 3_600 * RATE) < RATE for gap in gaps)
    assert buffer.n_missing == sum(gap.n_samples for gap in gaps)
