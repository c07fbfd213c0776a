"""Apply pipelines of albumentations to mel spectrograms.

The pipelines keep time and frequency in place, so frame targets stay valid. They see a spectrogram
as an image of `mels` rows and `columns` columns with three channels, scaled to values from 0 (its
minimum) to 1 (its maximum).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sed.errors import UsageError
from sed.text import near


def _birdclef2023() -> list[Any]:
    """Return dropout, brightness and contrast, and noise or blur, as the notebooks have."""
    import albumentations as A

    return [
        A.OneOf(
            [
                A.CoarseDropout(
                    num_holes_range=(2, 8),
                    hole_height_range=(0.02, 0.1),
                    hole_width_range=(0.02, 0.1),
                ),
                A.GridDropout(ratio=0.25, random_offset=True),
            ],
            p=0.5,
        ),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.2, p=0.5),
        A.OneOf(
            [
                A.GaussNoise(std_range=(0.02, 0.08), per_channel=False),
                A.GaussianBlur(blur_limit=(3, 5)),
            ],
            p=0.3,
        ),
    ]


def _urban_sounds() -> list[Any]:
    """Return additive and multiplicative noise and larger holes, as street noise makes them."""
    import albumentations as A

    return [
        A.GaussNoise(std_range=(0.02, 0.1), per_channel=False, p=0.5),
        A.MultiplicativeNoise(multiplier=(0.85, 1.15), per_channel=False, p=0.5),
        A.CoarseDropout(
            num_holes_range=(1, 4),
            hole_height_range=(0.05, 0.2),
            hole_width_range=(0.05, 0.2),
            p=0.5,
        ),
    ]


PIPELINES: dict[str, Callable[[], list[Any]]] = {
    "birdclef2023": _birdclef2023,
    "urban-sounds": _urban_sounds,
}


def apply_albumentations(name: str, spectrograms: Tensor, generator: np.random.Generator) -> Tensor:
    """Apply a pipeline to each spectrogram of a batch, on the CPU.

    Parameters
    ----------
    name
        One of `PIPELINES`.
    spectrograms
        Shape ``(batch, 3, columns, mels)``; the channels may be of different ranges.
    generator
        Source of all randomness.

    Returns
    -------
    Tensor
        The same shape, type and device.

    Raises
    ------
    UsageError
        If there is no such pipeline.
    """
    pipeline = _composed(name)
    lowest = spectrograms.amin(dim=(2, 3), keepdim=True)
    extent = (spectrograms.amax(dim=(2, 3), keepdim=True) - lowest).clamp_min(1e-6)
    scaled = (
        ((spectrograms - lowest) / extent).float().cpu().permute(0, 3, 2, 1)
    )  # mels, columns, 3
    changed = torch.empty_like(scaled, memory_format=torch.contiguous_format)
    # With set_random_seed all steps would start at the same number, and all apply or none.
    pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    for i in range(len(scaled)):
        image = pipeline(image=scaled[i].contiguous().numpy())["image"]
        changed[i] = torch.from_numpy(np.ascontiguousarray(image))
    return changed.permute(0, 3, 2, 1).to(spectrograms) * extent + lowest


@cache
def _composed(name: str) -> Any:
    if name not in PIPELINES:
        raise UsageError(f"no pipeline {name!r}. {near(name, PIPELINES)}")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or it looks for updates on the network
    import albumentations as A

    return A.Compose(PIPELINES[name]())
