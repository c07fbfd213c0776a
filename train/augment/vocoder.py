"""Change the speed of a clip without its pitch: a phase vocoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

# 64 ms at 16 kHz, 32 ms at 32 kHz: a compromise between smeared onsets and rough low tones.
_FFT_SIZE = 1_024
_OVERLAP = 4  # windows over each sample
_HOP = _FFT_SIZE // _OVERLAP
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT_SIZE) / _FFT_SIZE)).astype(np.float32)
_SUM_OF_SQUARES = np.float32(0.375 * _OVERLAP)  # of the windows over each sample
_SILENT = np.float32(1e-20)  # a magnitude below it has no phase


def time_scale(samples: Floats, speed: float) -> Floats:
    """Play a clip faster (above 1) or slower at the same pitch.

    A phase vocoder with identity phase locking (Laroche and Dolson, 1999, doi:10.1109/89.759041):
    columns of the spectrum are read `speed` hops apart and written one hop apart. The phase of each
    peak advances by as much as it did in one hop of the clip, and the bins around it keep their
    phases relative to it. For speeds of about 0.5 to 2.

    Parameters
    ----------
    samples
        Shape ``(samples,)``.
    speed
        Seconds of the clip per second of the result.

    Returns
    -------
    NDArray
        ``round(samples / speed)`` samples.

    Raises
    ------
    ValueError
        If the speed is not above 0.
    """
    if speed <= 0:
        raise ValueError(f"expected a speed above 0, got {speed}")
    n_out = round(len(samples) / speed)
    # Column i of the result is centred on its sample (i - 1)·hop, so that every sample lies under
    # as many windows. It is read where the clip has that sample times the speed; the first column
    # of the clip is centred two hops before it.
    n_columns = -(-n_out // _HOP) + _OVERLAP - 1
    positions = np.maximum((np.arange(n_columns) - 1) * speed + _OVERLAP // 2, 0.0)
    spectrum = _spectrum(samples, int(positions[-1]) + 2)
    return _overlap_add(_read_at(spectrum, positions))[:n_out]


def _spectrum(samples: Floats, n_columns: int) -> NDArray[np.complex64]:
    """Return `n_columns` columns of spectrum, the first in the silence before the clip."""
    needed = _FFT_SIZE + (n_columns - 1) * _HOP
    padded = np.zeros(max(needed, _FFT_SIZE + len(samples)), np.float32)
    padded[_FFT_SIZE : _FFT_SIZE + len(samples)] = samples
    columns = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SIZE)[:needed:_HOP]
    return np.fft.rfft(columns[:n_columns] * _WINDOW).astype(np.complex64)


def _read_at(
    spectrum: NDArray[np.complex64], positions: NDArray[np.float64]
) -> NDArray[np.complex64]:
    """Return the columns of a spectrum at fractional positions, with continuous phases."""
    left = positions.astype(np.int64)
    magnitude = np.abs(spectrum)
    unit = (spectrum / np.maximum(magnitude, _SILENT)).astype(np.complex64, copy=False)
    unit[magnitude < _SILENT] = 1  # unit vectors with the phases of the bins
    weight = (positions - left).astype(np.float32)[:, None]
    interpolated = magnitude[left] + weight * (magnitude[left + 1] - magnitude[left])
    here = unit[left]
    step = unit[left[:-1] + 1] * np.conj(here[:-1]) * np.conj(here[1:])
    peaks = _nearest_peaks(magnitude)[left]
    for i in range(1, len(left)):
        here[i] *= (here[i - 1] * step[i - 1])[peaks[i]]
    here *= interpolated
    return here


def _nearest_peaks(magnitude: Floats) -> NDArray[np.int32]:
    """Return the nearest peak (a maximum over five bins) of each bin, (columns, bins)."""
    n_bins = magnitude.shape[1]
    padded = np.pad(magnitude, ((0, 0), (2, 2)), constant_values=-1.0)
    is_peak = np.ones(magnitude.shape, np.bool_)
    for k in (0, 1, 3, 4):
        is_peak &= magnitude >= padded[:, k : k + n_bins]
    bins = np.arange(n_bins, dtype=np.int32)
    below = np.maximum.accumulate(np.where(is_peak, bins, np.int32(-n_bins)), axis=1)
    above = np.minimum.accumulate(np.where(is_peak, bins, np.int32(2 * n_bins))[:, ::-1], axis=1)[
        :, ::-1
    ]
    return np.where(bins - below <= above - bins, below, above)


def _overlap_add(spectrum: NDArray[np.complex64]) -> Floats:
    """Return the samples of a spectrum, from the first that lies under `_OVERLAP` windows."""
    columns = np.fft.irfft(spectrum, _FFT_SIZE) * (_WINDOW / _SUM_OF_SQUARES)
    parts = columns.reshape(len(columns), _OVERLAP, _HOP)
    n_hops = len(columns) - _OVERLAP + 1
    hops = sum(parts[_OVERLAP - 1 - k : _OVERLAP - 1 - k + n_hops, k] for k in range(_OVERLAP))
    return np.asarray(hops, np.float32).reshape(-1)
