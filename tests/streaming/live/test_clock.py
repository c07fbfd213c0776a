"""The clock of a stream follows that of the machine."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from streaming.live.clock import SystemClock, describe_step
from streaming.live.input import _StreamClock
from tests.streaming.live.scripts import RATE


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
