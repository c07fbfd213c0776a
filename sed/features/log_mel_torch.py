"""Compute log-mel spectrograms with torch, on any device; the NumPy version is `log_mel`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sed.features.log_mel import LogMelConfig, mel_filterbank


class LogMel(nn.Module):
    """Log-mel spectrograms with torch; differentiable, see `sed.features.log_mel`.

    Always in fp32, also under autocast: the squared magnitude overflows fp16.

    Parameters
    ----------
    config
        Parameters of the spectrogram.

    Shape
    -----
    Input ``(..., samples)``, output ``(..., columns, mels)`` with
    ``columns = 1 + (samples - win_length) // hop_length``.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        window = torch.hann_window(config.win_length, periodic=True)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filterbank(config)), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Return the log-mel spectrogram, (..., columns, mels), of samples, (..., samples).

        Raises
        ------
        ValueError
            If there are fewer samples than `win_length`.
        """
        c = self.config
        if samples.shape[-1] < c.win_length:
            raise ValueError(f"expected at least {c.win_length} samples, got {samples.shape[-1]}")
        return self.logarithm(self.mel_energies(samples))

    def mel_energies(self, samples: Tensor) -> Tensor:
        """Return the mel spectrogram, (..., columns, mels), before the logarithm.

        Magnitudes or powers, see `LogMelConfig.power`. Powers of mixed sounds add up.
        """
        c = self.config
        with torch.autocast(samples.device.type, enabled=False):
            windows = samples.float().unfold(-1, c.win_length, c.hop_length) * self.window
            spectrum = torch.fft.rfft(windows, n=c.n_fft)  # (..., columns, bins)
            energies = spectrum.real.square() + spectrum.imag.square()
            if c.power == 1:
                energies = energies.sqrt()
            mel: Tensor = energies @ self.filters  # (..., columns, mels)
            return mel

    def logarithm(self, mel: Tensor) -> Tensor:
        """Return the normalised logarithm of mel energies, of the same shape."""
        c = self.config
        if c.log == "db":
            mel = 10.0 * torch.log10(mel.clamp_min(c.amin))
        else:
            mel = torch.log(mel + c.log_offset)
        if c.mean != 0.0 or c.std != 1.0:
            mel = (mel - c.mean) / c.std
        return mel

    def forward_padded(self, samples: Tensor) -> Tensor:
        """Return the log-mel spectrogram of whole clips, one column per hop of their samples.

        Zeros around a clip centre each column on its hop; see `pad`.

        Parameters
        ----------
        samples
            Shape (..., samples).

        Returns
        -------
        Tensor
            Shape (..., columns, n_mels).
        """
        return self(self.pad(samples))  # type: ignore[no-any-return]

    def pad(self, samples: Tensor) -> Tensor:
        """Return whole clips, (..., samples), with `left_padding` and `right_padding` zeros."""
        c = self.config
        return nn.functional.pad(samples, (c.left_padding, c.right_padding))
