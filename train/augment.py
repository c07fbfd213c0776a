"""Changes to clips that do not change what they are. Randomness is an argument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.config import AugmentConfig

Samples = NDArray[np.float32]


def turn(samples: Samples, generator: np.random.Generator) -> Samples:
    """Turn a clip by a random number of samples; what leaves at the end comes in at the start."""
    return np.roll(samples, int(generator.integers(len(samples))))


def slide(samples: Samples, generator: np.random.Generator) -> Samples:
    """Move a clip by up to half its length, with silence behind it, as a window meets a sound.

    The move is drawn again, nearer and nearer, until half of the energy stays inside.
    """
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    furthest = len(samples) // 2
    while furthest:
        by = int(generator.integers(-furthest, furthest + 1))
        first, last = max(0, -by), len(samples) - max(0, by)
        if energy[last] - energy[first] >= 0.5 * energy[-1]:
            moved = np.zeros_like(samples)
            moved[first + by : last + by] = samples[first:last]
            return moved
        furthest //= 2
    return samples


def stay(samples: Samples, generator: np.random.Generator) -> Samples:
    """Leave a clip where it is."""
    return samples


SHIFTS = {"turn": turn, "slide": slide, "none": stay}


def gain(samples: Samples, gain_db: float, generator: np.random.Generator) -> Samples:
    """Make a clip louder or softer by up to `gain_db` decibels."""
    return samples * np.float32(10 ** (generator.uniform(-gain_db, gain_db) / 20))


def add_noise(samples: Tensor, levels_db: tuple[float, ...]) -> Tensor:
    """Add white noise to clips (batch, samples), each at an RMS level drawn between two.

    Draws from torch's global generator.
    """
    low, high = levels_db
    level_db = low + (high - low) * torch.rand(len(samples), 1, device=samples.device)
    return samples + 10 ** (level_db / 20) * torch.randn_like(samples)


def mixup(
    samples: Tensor,
    targets: Sequence[Tensor],
    config: AugmentConfig,
    generator: np.random.Generator,
) -> tuple[Tensor, list[Tensor]]:
    """Mix each clip of a batch with another one (Zhang et al., 2018, arXiv:1710.09412).

    The shares of a pair, drawn from Beta(alpha, alpha), weigh the samples; and the targets alike
    (convex), or a label counts in full if either has it (or).

    Shape
    -----
    samples ``(batch, samples)``, each of the targets ``(batch, ...)``; the same out.
    """
    n = len(samples)
    alpha = config.mixup_alpha
    shares = torch.from_numpy(generator.beta(alpha, alpha, size=(n, 1)).astype(np.float32))
    shares = shares.to(samples.device)
    other = torch.from_numpy(generator.permutation(n)).to(samples.device)
    mixed = shares * samples + (1 - shares) * samples[other]
    if config.mixup_targets == "or":
        return mixed, [torch.maximum(t, t[other]) for t in targets]
    return mixed, [torch.lerp(t[other], t, shares.view(n, *[1] * (t.ndim - 1))) for t in targets]


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
