"""Random sounds without recordings."""

import numpy as np
import pytest

from train.augment.synthesis import synthetic

RATE = 16_000


def test_random_sounds_have_unit_level_and_follow_from_their_seed():
    for seed in range(30):
        sound = synthetic(RATE, RATE, np.random.default_rng(seed))
        assert sound.dtype == np.float32
        assert sound.shape == (RATE,)
        assert np.sqrt(np.mean(np.square(sound, dtype=float))) == pytest.approx(1.0, abs=1e-4)
        np.testing.assert_array_equal(sound, synthetic(RATE, RATE, np.random.default_rng(seed)))


def test_random_sounds_are_of_many_colours_and_courses():
    sounds = [synthetic(RATE, RATE, np.random.default_rng(seed)) for seed in range(60)]
    power = np.abs(np.fft.rfft(sounds, axis=1)) ** 2
    hz = np.fft.rfftfreq(RATE, 1 / RATE)
    centroids = (power * hz).sum(axis=1) / power.sum(axis=1)
    assert np.percentile(centroids, 10) < 600
    assert np.percentile(centroids, 90) > 1_500
    flatness = np.exp(np.log(power + 1e-12).mean(axis=1)) / power.mean(axis=1)
    assert np.percentile(flatness, 10) < 0.01  # tones
    assert np.percentile(flatness, 90) > 0.1  # noises
    crests = np.abs(sounds).max(axis=1)
    assert np.percentile(crests, 10) < 4.5
    assert np.percentile(crests, 90) > 8  # impacts


def test_short_and_slow_sounds_can_be_made():
    for n, rate in ((2, RATE), (100, RATE), (8_000, 8_000)):
        assert np.isfinite(synthetic(n, rate, np.random.default_rng(1))).all()
