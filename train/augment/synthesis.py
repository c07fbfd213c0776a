"""Make random sounds without recordings, for teachers to say what they are.

Most sounds are one of three kinds, or sums of them (Schwarz, 2011, "State of the art in sound
texture synthesis"): noise with a spectrum of its own, such as wind, water or a fan; impacts on
something that resonates, such as steps, cutlery or, when they are dense, rain and frying; and
harmonic tones, such as voices, motors or alarms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats
from train.augment.noise import log_uniform, octaves, random_response_db
from train.augment.room import convolved

Wave = NDArray[np.float64]

MAX_LAYERS = 3
LAYER_GAIN_DB = (-18.0, 0.0)
COLOUR_DB = 18.0  # the spectrum of a noise lies between minus and plus this
COLOUR_BANDS = 8
IMPACTS_PER_SECOND = (0.3, 300.0)
MODES = (1, 12)
MODE_HZ = (80.0, 7_000.0)
MODE_SECONDS = (0.002, 0.4)  # in which a mode decays by 60 dB
PITCH_HZ = (40.0, 2_500.0)
N_HARMONICS = 24
MODULATION_HZ = (0.2, 40.0)


def synthetic(n: int, sample_rate: int, generator: np.random.Generator) -> Floats:
    """Return a random sound of unit RMS, shape (n,).

    Parameters
    ----------
    n
        Samples.
    sample_rate
        Samples per second.
    generator
        Draws everything.
    """
    total = np.zeros(n)
    for _ in range(int(generator.integers(1, MAX_LAYERS + 1))):
        kind = (_noise, _impacts, _tone)[int(generator.integers(3))]
        layer = kind(n, sample_rate, generator)
        if generator.random() < 0.6:
            layer *= _envelope(n, sample_rate, generator)
        rms = np.sqrt(np.mean(layer**2))
        total += layer / max(rms, 1e-9) * 10 ** (generator.uniform(*LAYER_GAIN_DB) / 20)
    return (total / max(float(np.sqrt(np.mean(total**2))), 1e-9)).astype(np.float32)


def _noise(n: int, sample_rate: int, generator: np.random.Generator) -> Wave:
    """Return noise whose spectrum is random, smooth over octaves, and falls by 0 to 6 dB each."""
    spectrum = np.fft.rfft(generator.standard_normal(n))
    at = octaves(n, sample_rate)
    response_db = random_response_db(at, COLOUR_DB, COLOUR_BANDS, generator)
    response_db -= generator.uniform(0, 6) * at
    return np.fft.irfft(spectrum * 10 ** (response_db / 20), n)


def _impacts(n: int, sample_rate: int, generator: np.random.Generator) -> Wave:
    """Return impacts at random or regular times on something with a few resonances."""
    rate = log_uniform(IMPACTS_PER_SECOND, generator)
    n_impacts = max(1, int(generator.poisson(rate * n / sample_rate)))
    if generator.random() < 0.3:  # a machine, or steps
        period = sample_rate / rate
        times = np.arange(generator.uniform(0, min(period, n / 2)), n, period)
        times = times + generator.normal(0, 0.03 * period, len(times))
        places = np.clip(times, 0, n - 1).astype(int)
    else:
        places = generator.integers(n, size=n_impacts)
    hits = np.zeros(n)
    np.add.at(hits, places, generator.lognormal(0, generator.uniform(0, 1.2), len(places)))
    length = min(n, round(2 * MODE_SECONDS[1] * sample_rate))
    time = np.arange(length) / sample_rate
    response = np.zeros(length)
    longest = log_uniform(MODE_SECONDS, generator)
    for _ in range(int(generator.integers(MODES[0], MODES[1] + 1))):
        hz = log_uniform((MODE_HZ[0], min(MODE_HZ[1], 0.45 * sample_rate)), generator)
        decay = 6.9 / (longest * generator.uniform(0.2, 1))
        phase = generator.uniform(0, 2 * np.pi)
        response += (
            generator.uniform(0.1, 1)
            * np.exp(-decay * time)
            * np.sin(2 * np.pi * hz * time + phase)
        )
    click = generator.standard_normal(length) * np.exp(-time / log_uniform((5e-4, 0.03), generator))
    response += generator.uniform(0, 1) * click
    return convolved(hits, response)


def _tone(n: int, sample_rate: int, generator: np.random.Generator) -> Wave:
    """Return a harmonic tone."""
    course = _pitch_course(n, sample_rate, generator)
    pitch = np.clip(log_uniform(PITCH_HZ, generator) * 2**course, 20, 0.45 * sample_rate)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    audible = int(0.45 * sample_rate // pitch.max())
    n_harmonics = max(1, min(int(generator.integers(1, N_HARMONICS + 1)), audible))
    slope = generator.uniform(0, 2)
    wave = np.zeros(n)
    for k in range(1, n_harmonics + 1):
        wave += generator.uniform(0.2, 1) / k**slope * np.sin(k * phase)
    return wave


def _pitch_course(n: int, sample_rate: int, generator: np.random.Generator) -> Wave:
    """Return the course of a pitch in octaves, shape (n,): steady, in steps, or a glide."""
    time = np.arange(n) / sample_rate
    course = np.zeros(n)
    kind = generator.random()
    if kind < 0.3:  # notes
        n_notes = int(generator.integers(2, 25))
        edges = np.sort(generator.integers(n, size=n_notes))
        notes = generator.integers(-12, 13, n_notes + 1) / 12
        course = notes[np.searchsorted(edges, np.arange(n))]
    elif kind < 0.6:  # a glide
        points = int(generator.integers(2, 10))
        at = np.linspace(0, time[-1], points)
        course = np.interp(time, at, generator.normal(0, 0.5, points))
    if generator.random() < 0.4:
        depth, hz = generator.uniform(0, 0.4), log_uniform(MODULATION_HZ, generator)
        course = course + depth * np.sin(2 * np.pi * hz * time)
    return course


def _envelope(n: int, sample_rate: int, generator: np.random.Generator) -> Wave:
    """Return a course of the level: swelling and fading, periodic, or on and off."""
    time = np.arange(n) / sample_rate
    kind = generator.random()
    if kind < 0.4:
        points = int(generator.integers(2, 12))
        levels_db = generator.uniform(-40, 0, points)
        return np.asarray(10 ** (np.interp(time, np.linspace(0, time[-1], points), levels_db) / 20))
    if kind < 0.7:
        hz, depth = log_uniform(MODULATION_HZ, generator), generator.uniform(0.2, 1)
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * hz * time + generator.uniform(0, 2 * np.pi))
        return np.asarray(1 - depth + depth * wave ** generator.uniform(0.5, 6))
    edges = np.sort(generator.integers(n, size=2 * int(generator.integers(1, 6))))
    gate = (np.searchsorted(edges, np.arange(n), side="right") % 2).astype(float)
    fade = np.hanning(max(3, round(0.01 * sample_rate)))
    return convolved(gate, fade / fade.sum())
