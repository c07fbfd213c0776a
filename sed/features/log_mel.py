"""Compute log-mel spectrograms with NumPy: one column per hop, the same for a stream and a file.

Column c is computed from the samples [c·hop_length, c·hop_length + win_length). Nothing is padded
here. To centre each column on the samples that it stands for, the caller puts `left_padding` zeros
in front of a clip or recording and `right_padding` zeros behind it::

      left_padding   hop 0     hop 1     hop 2    right_padding
    |......|---------|---------|---------|......|
    [        column 0       ]
              [        column 1       ]
                        [        column 2       ]

With window w, n_fft-point spectrum X and mel filterbank M::

    X[c, k]   = Σ_n w[n] · x[c·hop_length + n] · exp(-2πi·k·n / n_fft)
    mel[c, m] = Σ_k |X[c, k]|^power · M[k, m]
    out[c, m] = (ln(mel + log_offset) - mean) / std               for log = "offset"
              = (10·log10(max(mel, amin)) - mean) / std           for log = "db"

`sed.features.log_mel_torch.LogMel` computes the same in torch, for training and on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.typing import NDArray

from sed.types import Floats

# Columns per batch: their spectra fit into the cache of one core together.
BATCH_COLUMNS = 128
MIN_DB = -120.0


@dataclass(frozen=True)
class LogMelConfig:
    """Parameters of the log-mel spectrogram. The defaults are those of YAMNet.

    Attributes
    ----------
    sample_rate
        Samples per second.
    win_length
        Samples under the analysis window of a column.
    hop_length
        Samples from one column to the next.
    n_fft
        Length of the FFT; a window is padded with zeros to it.
    n_mels
        Number of mel bands.
    f_min
        Lower edge of the lowest mel band in Hz.
    f_max
        Upper edge of the highest mel band in Hz.
    mel_scale
        ``htk`` or ``slaney`` formula of the mel scale.
    filter_interpolation
        Scale on which the triangular filters are linear: ``hz`` as in librosa, or ``mel`` as in
        TensorFlow.
    norm
        ``slaney`` for filters of equal area, ``none`` for filters of equal height.
    power
        Exponent of the magnitude: 1 or 2.
    log
        ``offset`` for ln(x + log_offset), ``db`` for 10·log10(max(x, amin)).
    log_offset
        Added before the natural logarithm; unused with ``db``.
    amin
        Lower limit before the decimal logarithm; unused with ``offset``.
    mean
        Constant that is subtracted after the logarithm.
    std
        Constant that the difference is divided by.
    """

    sample_rate: int = 16_000
    win_length: int = 400
    hop_length: int = 160
    n_fft: int = 512
    n_mels: int = 64
    f_min: float = 125.0
    f_max: float = 7_500.0
    mel_scale: Literal["htk", "slaney"] = "htk"
    filter_interpolation: Literal["hz", "mel"] = "mel"
    norm: Literal["none", "slaney"] = "none"
    power: Literal[1, 2] = 1
    log: Literal["offset", "db"] = "offset"
    log_offset: float = 1e-3
    amin: float = 1e-10
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that contradict each other."""
        if not 0 < self.hop_length <= self.win_length <= self.n_fft:
            raise ValueError(
                "expected 0 < hop_length <= win_length <= n_fft, got "
                f"{self.hop_length}, {self.win_length}, {self.n_fft}"
            )
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"expected 0 <= f_min < f_max <= {self.sample_rate / 2:g} (half the sample "
                f"rate), got {self.f_min:g} and {self.f_max:g}"
            )
        if self.power not in (1, 2):
            raise ValueError(f"expected power 1 (magnitude) or 2 (power), got {self.power}")
        for name, value, allowed in (
            ("mel_scale", self.mel_scale, ("htk", "slaney")),
            ("filter_interpolation", self.filter_interpolation, ("hz", "mel")),
            ("norm", self.norm, ("none", "slaney")),
            ("log", self.log, ("offset", "db")),
        ):
            if value not in allowed:
                raise ValueError(f"expected {name} to be one of {allowed}, got {value!r}")
        if min(self.log_offset, self.amin) <= 0 or self.std <= 0 or self.n_mels < 1:
            raise ValueError("expected log_offset, amin, std and n_mels above zero")

    @property
    def db_per_unit(self) -> float:
        """Decibels per unit of the spectrogram."""
        per_neper = (20.0 if self.power == 1 else 10.0) / math.log(10.0)
        return self.std * (1.0 if self.log == "db" else per_neper)

    @property
    def silence_value(self) -> float:
        """Value of the spectrogram in digital silence."""
        logarithm = 10.0 * math.log10(self.amin) if self.log == "db" else math.log(self.log_offset)
        return (logarithm - self.mean) / self.std

    @property
    def left_padding(self) -> int:
        """Zeros to put in front of a clip or recording, in samples."""
        return (self.win_length - self.hop_length) // 2

    @property
    def right_padding(self) -> int:
        """Zeros to put behind a clip or recording, in samples."""
        return self.win_length - self.hop_length - self.left_padding

    def n_columns(self, n_samples: int) -> int:
        """Return the number of columns of `n_samples` samples, without padding."""
        return max(0, 1 + (n_samples - self.win_length) // self.hop_length)


def hz_to_mel(hz: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Convert frequencies in Hz to mels, of any shape.

    HTK: ``2595·log10(1 + f/700)``. Slaney: linear up to 1 kHz, logarithmic above.
    """
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    log_part = 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / np.log(6.4)
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, log_part)


def mel_to_hz(mel: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Convert mels to frequencies in Hz, of any shape; the inverse of `hz_to_mel`."""
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    log_part = 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, log_part)


def mel_filterbank(config: LogMelConfig) -> Floats:
    """Return the triangular mel filters, shape (n_fft // 2 + 1, n_mels)."""
    bins_hz = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)
    low, high = hz_to_mel(np.array([config.f_min, config.f_max]), config.mel_scale)
    edges_mel = np.linspace(low, high, config.n_mels + 2)
    edges_hz = mel_to_hz(edges_mel, config.mel_scale)
    if config.filter_interpolation == "hz":
        bins, edges = bins_hz, edges_hz
    else:
        bins, edges = hz_to_mel(bins_hz, config.mel_scale), edges_mel

    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - lower) / (centre - lower)
    falling = (upper - bins[:, None]) / (upper - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if config.filter_interpolation == "mel":
        filters[0] = 0.0  # drop the DC bin, as TensorFlow does
    if config.norm == "slaney":
        filters *= 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return filters.astype(np.float32)


def mel_center_hz(config: LogMelConfig) -> NDArray[np.float64]:
    """Return the centre frequencies of the mel bands in Hz, lowest first, shape (n_mels,)."""
    low, high = hz_to_mel(np.array([config.f_min, config.f_max]), config.mel_scale)
    return mel_to_hz(np.linspace(low, high, config.n_mels + 2)[1:-1], config.mel_scale)


def amplitude_to_db(amplitude: float) -> float:
    """Return an amplitude in decibels relative to full scale, `MIN_DB` at least.

    NaN and infinity count as silence.
    """
    if not 0 < amplitude < math.inf:
        return MIN_DB
    return max(MIN_DB, 20.0 * math.log10(amplitude))


class NumpyLogMel:
    """Log-mel spectrograms with NumPy and SciPy in fp32.

    Parameters
    ----------
    config
        Parameters of the spectrogram.
    """

    def __init__(self, config: LogMelConfig) -> None:
        self.config = config
        phase = 2.0 * np.pi * np.arange(config.win_length) / config.win_length
        self._window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)  # Hann, periodic
        # A sparse product needs few multiplications, starts no BLAS threads, and makes each column
        # bit-identical whatever other columns are computed with it.
        self._filters = scipy.sparse.csr_array(mel_filterbank(config).T)

    def __call__(self, samples: Floats) -> Floats:
        """Return the log-mel spectrogram, shape (columns, mels), of samples, shape (samples,).

        Raises
        ------
        ValueError
            If there are fewer samples than `win_length`.
        """
        c = self.config
        if len(samples) < c.win_length:
            raise ValueError(f"expected at least {c.win_length} samples, got {len(samples)}")
        windows = np.lib.stride_tricks.sliding_window_view(samples, c.win_length)
        windows = windows[:: c.hop_length]
        mel = np.empty((len(windows), c.n_mels), np.float32)
        for first in range(0, len(windows), BATCH_COLUMNS):
            part = slice(first, first + BATCH_COLUMNS)
            mel[part] = (self._filters @ np.ascontiguousarray(self._energies(windows[part]).T)).T
        return self._logarithm(mel)

    def _energies(self, windows: Floats) -> Floats:
        spectrum = scipy.fft.rfft(windows * self._window, self.config.n_fft, axis=-1)
        magnitude: Floats = np.abs(spectrum)
        return magnitude if self.config.power == 1 else np.square(magnitude, out=magnitude)

    def _logarithm(self, mel: Floats) -> Floats:
        c = self.config
        if c.log == "db":
            np.log10(np.maximum(mel, np.float32(c.amin), out=mel), out=mel)
            mel *= np.float32(10.0)
        else:
            mel += np.float32(c.log_offset)
            np.log(mel, out=mel)
        if c.mean != 0.0 or c.std != 1.0:
            mel -= np.float32(c.mean)
            mel /= np.float32(c.std)
        return mel
