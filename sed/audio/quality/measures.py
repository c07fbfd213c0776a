"""Measure slices of samples; on short clips each function of NumPy counts, see `meter`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

SLICE_SAMPLES = 1_024
N_SPECTRA = 4  # of these
LIMIT = 0.9999  # of full scale, or of a lower peak
MIN_CLIPPED_PEAK, MIN_CLIPPED_POWER = 0.25, 0.02  # lower limits; the power is that in peak²
MAX_SILENCE = 1e-4  # power of a slice in that of the loudest, below which it has no spectrum
Doubles = NDArray[np.float64]
_HANN = np.hanning(SLICE_SAMPLES).astype(np.float32)


def median(values: Doubles) -> float:
    """Return the upper median; on a few values much faster than NumPy's."""
    return float(np.sort(values)[len(values) // 2])


def are_multiples(samples: Floats, n_bits: int) -> bool:
    """Whether all samples are multiples of ``2 ** -n_bits``."""
    scaled = samples * np.float32(2.0**n_bits)
    return bool((scaled == np.rint(scaled)).all())


def moments(x: Floats) -> tuple[list[list[float]], list[list[float]]]:
    """Return means and mean squares of slices, each a list per channel."""
    both = np.empty((2, *x.shape), np.float32)
    both[0] = x
    with np.errstate(invalid="ignore", over="ignore"):
        np.multiply(x, x, out=both[1])
        means, powers = (np.add.reduce(both, 3) / np.float32(SLICE_SAMPLES)).tolist()
    return means, powers


def highest(x: Floats, power: float) -> tuple[float, float]:
    """Return the peak of a channel, shape (slices, samples), and the share of clipped samples.

    `power` is the sum over slices.
    """
    high, low = float(x.max()), float(x.min())
    peak = max(high, -low)
    # Most recordings end here.
    if peak < MIN_CLIPPED_PEAK or power < len(x) * MIN_CLIPPED_POWER * min(1.0, peak) ** 2:
        return peak, 0.0
    limit = LIMIT * min(1.0, peak)
    if min(high, -low) >= limit:
        is_high = np.abs(x) >= limit
    else:
        is_high = x >= limit if high >= limit else x <= -limit
    # Or here; a search of bytes is fast.
    if b"\1\1" not in is_high.tobytes():
        return peak, 0.0
    return peak, np.count_nonzero(is_high[:, 1:] & is_high[:, :-1]) / is_high.size


def sum_of_spectra(x: Floats, variances: list[float], band: slice) -> tuple[int, Doubles]:
    """Return the sum of the spectra in dB of a few of (slices, samples), and their number.

    Quiet slices have none: only what is left of a sound by a filter shows where it ends.
    """
    least = MAX_SILENCE * max(variances)
    chosen = [n for n, variance in enumerate(variances) if variance >= least]
    chosen = chosen[:: max(1, -(-len(chosen) // N_SPECTRA))]
    bins = np.fft.rfft(x[chosen] * _HANN)[:, band]
    power = bins.real**2 + bins.imag**2 + np.float32(1e-12)
    # The sum of logarithms is the logarithm of the product.
    product = np.multiply.reduce(power, 0, dtype=np.float64)
    return len(chosen), np.log(product) * (10 / math.log(10))
