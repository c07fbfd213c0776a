"""Clips changed until their labels are unknown."""

import numpy as np
import pytest

from train.augment.disguise import SPEEDS, disguise

RATE = 16_000


def test_a_tone_becomes_another_tone_of_another_length():
    tone = np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE).astype(np.float32)
    speeds = []
    for seed in range(30):
        changed = disguise(tone, RATE, np.random.default_rng(seed))
        speed = len(tone) / len(changed)
        power = np.abs(np.fft.rfft(changed * np.hanning(len(changed)), 16 * RATE))
        assert np.argmax(power) / 16 == pytest.approx(1_000 * speed, rel=2e-3)
        assert 10 ** (-13 / 20) < np.abs(changed).max() < 10 ** (13 / 20)
        speeds.append(speed)
    assert SPEEDS[0] * 0.98 < min(speeds) < 0.6
    assert 1.7 < max(speeds) < SPEEDS[1] * 1.02


def test_half_of_the_clips_are_played_backwards():
    rising = np.linspace(0, 1, 8_000, dtype=np.float32) * np.tile([1, -1], 4_000)
    halves = []
    for seed in range(100):
        first, last = np.array_split(disguise(rising, RATE, np.random.default_rng(seed)) ** 2, 2)
        if first.sum() + last.sum() > 0:
            halves.append(first.sum() > last.sum())
    assert 0.35 < np.mean(halves) < 0.65
