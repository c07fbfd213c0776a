"""Add the reverberation of a random room to clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

DIRECT_TO_REVERBERANT_DB = (-3.0, 15.0)  # near the source, or far from it
FIRST_REFLECTION_SECONDS = (0.001, 0.015)


def reverberate(
    samples: Floats, sample_rate: int, rt60_seconds: float, generator: np.random.Generator
) -> Floats:
    """Return a clip as it sounds in a room, of the same shape (samples,) and energy.

    The impulse response is the direct sound and, after the first reflection, noise that decays by
    60 dB within the reverberation time (Moorer, 1979, "About this reverberation business").

    Parameters
    ----------
    samples
        Shape (samples,).
    sample_rate
        Samples per second.
    rt60_seconds
        Reverberation time in seconds.
    generator
        Draws the noise, the time of the first reflection and the distance of the source.
    """
    if not np.any(samples):
        return samples
    n = max(1, round(rt60_seconds * sample_rate))
    tail = generator.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail[: min(n - 1, round(generator.uniform(*FIRST_REFLECTION_SECONDS) * sample_rate))] = 0.0
    ratio_db = generator.uniform(*DIRECT_TO_REVERBERANT_DB)
    response = tail * 10 ** (-ratio_db / 20) / np.sqrt(np.sum(tail**2))
    response[0] += 1.0
    reverberant = convolved(samples, response)
    energy = np.sum(np.square(samples, dtype=np.float64)) / max(np.sum(reverberant**2), 1e-30)
    result: Floats = (reverberant * np.sqrt(energy)).astype(np.float32)
    return result


def convolved(signal: NDArray[np.floating], response: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a signal convolved with an impulse response, cut off at the signal's length."""
    # A power of two, since transforms of prime lengths are slow.
    n_fft = 1 << int(np.ceil(np.log2(len(signal) + len(response))))
    spectrum = np.fft.rfft(signal, n_fft) * np.fft.rfft(response, n_fft)
    return np.fft.irfft(spectrum, n_fft)[: len(signal)]
