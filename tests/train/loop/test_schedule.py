"""The learning rate over a run."""

import numpy as np
import pytest

from train.loop.schedule import lr_factor


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_rate_rises_once_and_falls_to_nothing(schedule):
    rates = [lr_factor(i / 1_000, schedule, 0.1) for i in range(1_000)]
    peak = int(np.argmax(rates))
    assert peak == pytest.approx(100, abs=5)
    assert max(rates) == pytest.approx(1.0 if schedule == "one-cycle" else 0.976, abs=0.005)
    assert (np.diff(rates[:peak]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] < 1e-4
