"""When a labelled clip sounds: frame targets from its own loudness."""

from __future__ import annotations

import torch
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
    stretch = round(STRETCH_SECONDS * sample_rate)
    whole = samples.shape[-1] // stretch * stretch
    power = samples[:, :whole].reshape(len(samples), -1, stretch).square().mean(-1)
    loudest = power.amax(-1, keepdim=True)
    active = (power > loudest * 10 ** (ACTIVE_DB / 10)).float()
    centre = (torch.arange(power.shape[-1], device=samples.device) + 0.5) * stretch
    frame = (centre / frame_samples).long().clamp_max(n_frames - 1)
    zeros = torch.zeros(len(samples), n_frames, device=samples.device)
    return zeros.scatter_reduce(1, frame.expand(len(samples), -1), active, "amax")
