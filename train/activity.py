"""When a labelled clip sounds: frame targets from its own loudness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    active = _active_stretches(samples, sample_rate, ACTIVE_DB)
    centres = (np.arange(len(active)) + 0.5) * round(STRETCH_SECONDS * sample_rate)
    last = len(frame_edges) - 2
    frames = np.searchsorted(frame_edges, centres[active], side="right") - 1
    result = np.zeros(last + 1, np.float32)
    result[frames.clip(0, last)] = 1.0
    return result


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
    active = _active_stretches(samples, sample_rate, active_db)
    places = np.flatnonzero(active)
    if len(places) == 0:
        return 0, len(samples)
    last = int(places[-1]) + 1
    # What is left behind the last whole stretch belongs to it.
    end = len(samples) if last == len(active) else last * stretch
    return int(places[0]) * stretch, end


def _active_stretches(
    samples: NDArray[np.float32], sample_rate: int, active_db: float
) -> NDArray[np.bool_]:
    stretch = round(STRETCH_SECONDS * sample_rate)
    whole = len(samples) // stretch * stretch
    power: NDArray[np.float32] = np.square(samples[:whole].reshape(-1, stretch)).mean(axis=1)
    return np.asarray(power > power.max(initial=0.0) * 10 ** (active_db / 10))
