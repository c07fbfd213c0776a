"""When a labelled clip sounds: frame targets from its own loudness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.prepare.cutting import loud_range

STRETCH_SECONDS = 0.02  # over which loudness is measured
ACTIVE_DB = -35.0  # a clip sounds where it is no further than this below its loudest stretch


def active_frames(
    samples: NDArray[np.float32], sample_rate: int, frame_edges: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return 1 for the frames in which a clip sounds and 0 for the others, shape (frames,).

    A frame counts if any stretch in it does. Digital silence has no active frame.

    Parameters
    ----------
    samples
        Shape (samples,).
    sample_rate
        Samples per second.
    frame_edges
        Where the frames begin and end, in samples, shape (frames + 1,).
    """
    active = _active_stretches(samples, sample_rate)
    centres = (np.arange(len(active)) + 0.5) * round(STRETCH_SECONDS * sample_rate)
    last = len(frame_edges) - 2
    frames = np.searchsorted(frame_edges, centres[active], side="right") - 1
    result = np.zeros(last + 1, np.float32)
    result[frames.clip(0, last)] = 1.0
    return result


def active_part(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return a clip without its silence in front and behind; digital silence as it is."""
    first, last = loud_range(samples, (0, len(samples)), sample_rate, -ACTIVE_DB)
    return samples[first:last]


def _active_stretches(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.bool_]:
    stretch = round(STRETCH_SECONDS * sample_rate)
    whole = len(samples) // stretch * stretch
    power: NDArray[np.float32] = np.square(samples[:whole].reshape(-1, stretch)).mean(axis=1)
    return np.asarray(power > power.max(initial=0.0) * 10 ** (ACTIVE_DB / 10))
