"""Changes to clips that do not change what they are. Randomness is an argument."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.config import AugmentConfig

Samples = NDArray[np.float32]


def shift(samples: Samples, generator: np.random.Generator) -> Samples:
    """Turn a clip by a random number of samples; what leaves at the end comes in at the start."""
    return np.roll(samples, int(generator.integers(len(samples))))


def gain(samples: Samples, gain_db: float, generator: np.random.Generator) -> Samples:
    """Make a clip louder or softer by up to `gain_db` decibels."""
    return samples * np.float32(10 ** (generator.uniform(-gain_db, gain_db) / 20))


def mixup(
    samples: Tensor, targets: Tensor, alpha: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each clip of a batch with another one (Zhang et al., 2018, arXiv:1710.09412).

    The shares of a pair, drawn from Beta(alpha, alpha), weigh samples and targets alike.

    Shape
    -----
    samples ``(batch, samples)``, targets ``(batch, classes)``; the same out.
    """
    n = len(samples)
    shares = torch.from_numpy(generator.beta(alpha, alpha, size=(n, 1)).astype(np.float32))
    shares = shares.to(samples.device)
    other = torch.from_numpy(generator.permutation(n)).to(samples.device)
    mixed = shares * samples + (1 - shares) * samples[other]
    return mixed, shares * targets + (1 - shares) * targets[other]


class SpecAugment(nn.Module):
    """Blank stripes of the log-mel picture (Park et al., 2019, arXiv:1904.08779), by torchlibrosa.

    Each picture of a batch gets its own. Draws from torch's global generator.

    Shape
    -----
    ``(batch, columns, mels)`` in and out.
    """

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        from torchlibrosa.augmentation import SpecAugmentation

        self.stripes = SpecAugmentation(
            time_drop_width=config.time_stripe_columns,
            time_stripes_num=config.n_time_stripes,
            freq_drop_width=config.mel_stripe_bands,
            freq_stripes_num=config.n_mel_stripes,
        )

    def forward(self, columns: Tensor) -> Tensor:
        """Return the picture with its stripes set to its mean, which is no sound and no silence."""
        mean = columns.mean(dim=(1, 2), keepdim=True)
        blanked = self.stripes((columns - mean).unsqueeze(1)).squeeze(1)
        return blanked + mean  # type: ignore[no-any-return]
