"""When a labelled clip sounds: frame targets from its own loudness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

STRETCH_SECONDS = 0.02  # over which loudness is measured
ACTIVE_DB = -35.0  # a clip sounds where it is no further than this below its loudest stretch


def active_frames(samples: Floats, sample_rate: int, frame_edges: NDArray[np.int64]) -> Floats:
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


def active_part(samples: Floats, sample_rate: int) -> Floats:
    """Return a clip without its silence in front and behind; digital silence as it is."""
    first, last = loud_range(samples, (0, len(samples)), sample_rate, -ACTIVE_DB)
    return samples[first:last]


def _active_stretches(samples: Floats, sample_rate: int) -> NDArray[np.bool_]:
    stretch = round(STRETCH_SECONDS * sample_rate)
    whole = len(samples) // stretch * stretch
    power: Floats = np.square(samples[:whole].reshape(-1, stretch)).mean(axis=1)
    return np.asarray(power > power.max(initial=0.0) * 10 ** (ACTIVE_DB / 10))


Range = tuple[int, int]


LEVELS_PER_SECOND = 50  # loudness is measured over 20 ms


_FRAMES_AT_ONCE = 1_000  # of 20 ms; a long recording is never in memory whole


def loud_range(samples: Floats, whole: Range, sample_rate: int, trim_db: float) -> Range:
    """Return a range without the silence at its two ends; what lies between is untouched.

    Silence is what lies more than `trim_db` below the loudest 20 ms of the range, in steps of
    20 ms from its begin. A range of zeros stays as it is.
    """
    begin, end = whole
    step = sample_rate // LEVELS_PER_SECOND
    powers = _powers(samples, whole, step)
    loud = np.flatnonzero(powers >= powers.max() * 10 ** (-trim_db / 10))
    return begin + int(loud[0]) * step, min(end, begin + (int(loud[-1]) + 1) * step)


def _powers(samples: Floats, whole: Range, step: int) -> NDArray[np.float64]:
    """Return the mean square of each step of a range; the last may be shorter."""
    begin, end = whole
    powers = []
    for first in range(begin, end, step * _FRAMES_AT_ONCE):
        squares = samples[first : min(end, first + step * _FRAMES_AT_ONCE)].astype(np.float64) ** 2
        starts = np.arange(0, len(squares), step)
        powers.append(np.add.reduceat(squares, starts) / np.diff(starts, append=len(squares)))
    return np.concatenate(powers)
