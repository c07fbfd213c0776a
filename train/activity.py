"""When a labelled clip sounds: frame targets from its own loudness."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STRETCH_SECONDS = 0.02  # over which loudness is measured
ACTIVE_DB = -35.0  # a clip sounds where it is no further than this below its loudest stretch


def frame_activity(samples: Tensor, sample_rate: int, frame_samples: int, n_frames: int) -> Tensor:
    """Return 1 for the frames in which a clip sounds and 0 for the others.

    A frame counts if any stretch in it does. Digital silence has no active frame.

    Shape
    -----
    samples ``(batch, samples)``; out ``(batch, n_frames)``.
    """
    active = _active_stretches(samples, sample_rate, ACTIVE_DB).float()
    stretch = round(STRETCH_SECONDS * sample_rate)
    centre = (torch.arange(active.shape[-1], device=samples.device) + 0.5) * stretch
    frame = (centre / frame_samples).long().clamp_max(n_frames - 1)
    zeros = torch.zeros(len(samples), n_frames, device=samples.device)
    return zeros.scatter_reduce(1, frame.expand(len(samples), -1), active, "amax")


def active_part(
    samples: NDArray[np.float32], sample_rate: int, active_db: float = ACTIVE_DB
) -> NDArray[np.float32]:
    """Return a clip without its silence in front and behind; digital silence as it is.

    What is further than `active_db` below the loudest stretch is silence.
    """
    first, last = active_range(samples, sample_rate, active_db)
    return samples[first:last]


def active_range(
    samples: NDArray[np.float32], sample_rate: int, active_db: float = ACTIVE_DB
) -> tuple[int, int]:
    """Return the first active sample of a clip, and the one behind its last."""
    stretch = round(STRETCH_SECONDS * sample_rate)
    if len(samples) < stretch:
        return 0, len(samples)
    active = _active_stretches(torch.from_numpy(samples)[None], sample_rate, active_db)[0]
    places = torch.nonzero(active)[:, 0]
    if len(places) == 0:
        return 0, len(samples)
    last = int(places[-1]) + 1
    # What is left behind the last whole stretch belongs to it.
    end = len(samples) if last == len(active) else last * stretch
    return int(places[0]) * stretch, end


def _active_stretches(samples: Tensor, sample_rate: int, active_db: float) -> Tensor:
    stretch = round(STRETCH_SECONDS * sample_rate)
    whole = samples.shape[-1] // stretch * stretch
    power = samples[..., :whole].reshape(*samples.shape[:-1], -1, stretch).square().mean(-1)
    return power > power.amax(-1, keepdim=True) * 10 ** (active_db / 10)
