"""The clock of a stream follows that of the machine."""

from datetime import datetime, timedelta

import numpy as np
import pytest

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
