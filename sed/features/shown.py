"""Compute the spectrogram to show for models that take samples, whose columns are blocks of them.

A column of the spectrogram is computed from the block alone, so both have the same columns.
"""

from __future__ import annotations

import numpy as np

from sed.features.log_mel import LogMelConfig, NumpyLogMel
from sed.types import Floats

N_MELS, F_MIN = 64, 50.0  # enough for an eye
MIN_BLOCK = 64  # samples; a spectrum of fewer shows nothing


def shown_log_mel(blocks: LogMelConfig) -> LogMelConfig:
    """Return the spectrogram to show for blocks of samples.

    Parameters
    ----------
    blocks
        As `sed.models.spec.sample_blocks` returns it.
    """
    n_fft = max(MIN_BLOCK, 1 << (blocks.hop_length - 1).bit_length())
    top = blocks.sample_rate / 2
    return LogMelConfig(
        sample_rate=blocks.sample_rate,
        win_length=blocks.hop_length,
        hop_length=blocks.hop_length,
        n_fft=n_fft,
        n_mels=min(N_MELS, n_fft // 2),
        f_min=min(F_MIN, top / 2),
        f_max=top,
    )


class ShownSpectrogram:
    """Turns the columns of a model into those to show: themselves, unless they are samples.

    Parameters
    ----------
    log_mel
        The columns of the model.
    shown
        The spectrogram to show, as `sed.models.spec.ModelSpec.spectrogram` gives it.
    """

    def __init__(self, log_mel: LogMelConfig, shown: LogMelConfig) -> None:
        self._compute = None if shown == log_mel else NumpyLogMel(shown)

    def __call__(self, columns: Floats) -> Floats:
        """Return columns to show, (columns, mels), for columns of the model, (columns, values)."""
        if self._compute is None:
            return columns
        if not len(columns):
            return np.empty((0, self._compute.config.n_mels), np.float32)
        return self._compute(columns.reshape(-1))
