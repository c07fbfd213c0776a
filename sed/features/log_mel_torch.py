"""Samples to log-mel columns in torch, on any device and with gradients; see `sed.features.log_mel`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sed.features.log_mel import LogMelConfig, mel_filterbank


class LogMel(nn.Module):
    """Log-mel columns by FFT, always in fp32: the squared magnitude overflows fp16.

    Parameters
    ----------
    config
        What a column looks like.

    Shape
    -----
    Input ``(..., samples)``, output ``(..., columns, n_mels)`` with
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
        """Return the log-mel columns of `samples`.

        Raises
        ------
        ValueError
            If there are fewer samples than one column looks at.
        """
        c = self.config
        if samples.shape[-1] < c.win_length:
            raise ValueError(f"expected at least {c.win_length} samples, got {samples.shape[-1]}")
        return self.logarithm(self.mel_energies(samples))

    def mel_energies(self, samples: Tensor) -> Tensor:
        """Return the mel energies of `samples`: what `forward` gives, before the logarithm.

        Magnitudes or powers, as `LogMelConfig.power` says; powers of sounds add up.
        """
        c = self.config
        with torch.autocast(samples.device.type, enabled=False):
            columns = samples.float().unfold(-1, c.win_length, c.hop_length) * self.window
            spectrum = torch.fft.rfft(columns, n=c.n_fft)  # (..., columns, bins)
            energy = spectrum.real.square() + spectrum.imag.square()
            if c.power == 1:
                energy = energy.sqrt()
            mel: Tensor = energy @ self.filters  # (..., columns, n_mels)
            return mel

    def logarithm(self, mel: Tensor) -> Tensor:
        """Return the log-mel columns of mel energies, normalised by the config's constants."""
        c = self.config
        if c.log == "db":
            mel = 10.0 * torch.log10(mel.clamp_min(c.amin))
        else:
            mel = torch.log(mel + c.log_offset)
        if c.mean != 0.0 or c.std != 1.0:
            mel = (mel - c.mean) / c.std
        return mel

    def forward_padded(self, samples: Tensor) -> Tensor:
        """Return the columns of a whole clip, as many as its samples hold hops.

        Zeros are put around the clip so that each column is centred on its hop.
        """
        return self(self.pad(samples))  # type: ignore[no-any-return]

    def pad(self, samples: Tensor) -> Tensor:
        """Return a whole clip with the zeros around it that centre each column on its hop."""
        c = self.config
        return nn.functional.pad(samples, (c.left_padding, c.right_padding))
