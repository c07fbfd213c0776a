"""Reverberation of random rooms."""

import numpy as np
import pytest

from train.augment.room import reverberate

RATE = 16_000


@pytest.mark.parametrize("rt60", [0.2, 0.8])
def test_sound_decays_by_60_db_in_the_reverberation_time(rt60):
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1.0
    response = reverberate(impulse, RATE, rt60, np.random.default_rng(0))
    # Schroeder's backward integration, from -5 to -25 dB below the level of the reverberation.
    energy = np.cumsum(response[RATE // 50 :][::-1].astype(np.float64) ** 2)[::-1]
    decay_db = 10 * np.log10(energy / energy[0])
    at = [np.argmax(decay_db < level) / RATE for level in (-5, -25)]
    assert 3 * (at[1] - at[0]) == pytest.approx(rt60, rel=0.12)


def test_a_clip_keeps_its_energy_and_its_first_sample():
    random = np.random.default_rng(1)
    clip = random.standard_normal(RATE).astype(np.float32)
    wet = reverberate(clip, RATE, 0.4, random)
    assert wet.dtype == np.float32
    assert np.sum(wet**2) == pytest.approx(np.sum(clip**2), rel=1e-4)
    assert not reverberate(np.zeros(100, np.float32), RATE, 0.4, random).any()
