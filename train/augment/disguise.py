"""Make sounds without labels out of clips, for teachers to say what they are."""

from __future__ import annotations

import numpy as np

from sed.types import Floats
from train.augment.noise import log_uniform, octaves, random_response_db

SPEEDS = (0.4, 2.5)
BAND_GAIN_DB = 12.0  # the gains of the frequency response lie between minus and plus this
N_BANDS = 6
ROUND = 64  # samples


def disguise(samples: Floats, sample_rate: int, generator: np.random.Generator) -> Floats:
    """Return a clip at another speed and pitch, of another colour, and half of the time backwards.

    Its length changes with its speed, which is drawn evenly on a logarithmic scale.

    Parameters
    ----------
    samples
        Shape (samples,).
    sample_rate
        Samples per second.
    generator
        Draws speed, frequency response and direction.
    """
    speed = log_uniform(SPEEDS, generator)
    # A round number, since transforms of prime lengths are slow.
    n = max(1, round(len(samples) / speed / ROUND)) * ROUND
    spectrum = np.fft.rfft(samples)
    at = octaves(len(samples), sample_rate)
    spectrum *= 10 ** (random_response_db(at, BAND_GAIN_DB, N_BANDS, generator) / 20)
    # At a lower speed there is nothing in the highest frequencies; at a higher one they are lost.
    changed = np.fft.irfft(spectrum[: n // 2 + 1], n) * (n / len(samples))
    if generator.random() < 0.5:
        changed = changed[::-1]
    return np.ascontiguousarray(changed, np.float32)
