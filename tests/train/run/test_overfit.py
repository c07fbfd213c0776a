"""Overfitting one batch."""

import pytest

from train.run.overfit import overfit_one_batch

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.slow
def test_overfitting_a_batch_passes_or_fails(sounds, tiny):
    good = overfit_one_batch(
        sounds, 0, recipe=tiny, device="cpu", overrides=["loss.name=clip_ce_frame_bce"]
    )
    assert good.passed
    assert "It can be overfitted" in str(good)
    bad = overfit_one_batch(
        sounds, 0, recipe=tiny, device="cpu", overrides=["optim.learning_rate=1e-9"]
    )
    assert not bad.passed
    assert "could NOT be overfitted" in str(bad)
