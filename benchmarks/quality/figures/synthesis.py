"""Synthesize noise, hum and music from a seed."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from benchmarks.quality.scenes import SAMPLE_RATE, Samples, decibels

LEVEL_DB = -45.0
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # major, minor
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (5, 3, 0, 4))  # steps of the scale


def at_level(samples: Samples, rms_db: float = LEVEL_DB) -> Samples:
    """Return samples with a mean level."""
    return samples * decibels(rms_db - 10 * np.log10(np.mean(samples**2) + 1e-20))


def coloured_noise(n: int, exponent: float, generator: np.random.Generator) -> Samples:
    """Return n samples of noise whose power falls with frequency: 0 white, 1 pink, 2 brown."""
    size = 1 << max(0, n - 1).bit_length()  # of a fast transform
    spectrum = np.fft.rfft(generator.standard_normal(size).astype(np.float32))
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum *= np.maximum(frequencies, 20.0) ** (-exponent / 2)
    return np.fft.irfft(spectrum, size)[:n].astype(np.float32)


def mains_hum(n: int, generator: np.random.Generator) -> Samples:
    """Return n samples of mains hum of 50 or 60 Hz with harmonics."""
    base = generator.choice([50.0, 60.0])
    seconds = np.arange(n) / SAMPLE_RATE
    tones = [
        generator.uniform(0.2, 1) / k * np.sin(2 * np.pi * base * k * seconds)
        for k in (1, 2, 3, 4, 6)
    ]
    return np.sum(tones, axis=0).astype(np.float32)


def piece(duration: float, generator: np.random.Generator) -> Samples:
    """Return music: a progression of chords, a bass, a melody and drums."""
    beat = 60 / generator.uniform(80, 140)
    scale = SCALES[generator.integers(2)]
    progression = PROGRESSIONS[generator.integers(len(PROGRESSIONS))]
    root = int(generator.integers(45, 57))
    brightness = generator.uniform(0.4, 0.8)
    sound = np.zeros(round((duration + 8) * SAMPLE_RATE), np.float32)

    def pitch(step: int) -> float:
        note = root + 12 * (step // 7) + scale[step % 7]
        return float(440 * 2 ** ((note - 69) / 12))

    def add(at: float, samples: Samples, gain: float) -> None:
        first = round(at * SAMPLE_RATE)
        sound[first : first + len(samples)] += gain * samples

    for bar in range(int(duration / (4 * beat)) + 1):
        degree = progression[bar % 4]
        begin = bar * 4 * beat
        for step in (degree, degree + 2, degree + 4):
            add(begin, tone(pitch(step + 7), 4 * beat, 0.05, brightness), 0.25)
        for i in range(8):
            at = begin + i * beat / 2
            add(at, tone(pitch(degree), beat / 2, 0.01, 0.3), 0.5 if i % 2 == 0 else 0.25)
            add(at, hit(0.05, 0.02, generator), 0.12)
            if generator.random() < 0.6:
                melody = degree + int(generator.choice([7, 9, 11, 8, 14]))
                add(at, tone(pitch(melody + 7), beat / 2, 0.01, brightness), 0.3)
        for i in range(4):
            add(begin + i * beat, kick(), 0.9 if i % 2 == 0 else 0.3)
            if i % 2:
                add(begin + i * beat, hit(0.2, 0.06, generator), 0.4)
    return sound[: round(duration * SAMPLE_RATE)]


@lru_cache(256)
def tone(frequency: float, duration: float, attack: float, brightness: float) -> Samples:
    """Return a decaying tone with eight harmonics, each `brightness` times the one before."""
    seconds = np.arange(round(duration * SAMPLE_RATE)) / SAMPLE_RATE
    waves = [
        brightness**k * np.sin(2 * np.pi * frequency * (k + 1) * seconds)
        for k in range(8)
        if frequency * (k + 1) < SAMPLE_RATE / 2
    ]
    rise = np.minimum(seconds / attack, 1)
    fall = np.exp(-1.5 * seconds / duration) * np.minimum((duration - seconds) / 0.02, 1)
    return (np.sum(waves, axis=0) * rise * fall).astype(np.float32)


@cache
def kick() -> Samples:
    """Return a bass drum: a tone that falls to 45 Hz."""
    seconds = np.arange(round(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * (45 * seconds + 80 * 0.04 * (1 - np.exp(-seconds / 0.04)))
    return (np.sin(phase) * np.exp(-seconds / 0.1)).astype(np.float32)


def hit(duration: float, decay: float, generator: np.random.Generator) -> Samples:
    """Return a stroke on a snare drum or cymbal: noise that decays."""
    n = round(duration * SAMPLE_RATE)
    seconds = np.arange(n) / SAMPLE_RATE
    noise = np.diff(generator.standard_normal(n + 1))  # without bass
    return (noise * np.exp(-seconds / decay)).astype(np.float32)
