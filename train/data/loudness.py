"""Find the non-silent parts of clips by their loudness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

LEVEL_SECONDS = 0.02  # loudness is measured over this long
LEVELS_PER_SECOND = 50
ACTIVE_DB = -35.0  # a clip is active down to this below its loudest 20 ms

_LEVELS_AT_ONCE = 1_000  # so that a long recording is never in memory as a whole

Range = tuple[int, int]  # first sample, and the one after the last


def active_frames(samples: Floats, sample_rate: int, frame_edges: NDArray[np.int64]) -> Floats:
    """Return 1 for the frames in which a clip is active and 0 for the others, shape (frames,).

    A frame is active if any 20 ms of it are: if their power is above that of the clip's loudest
    20 ms plus `ACTIVE_DB`. Digital silence has no active frame.

    Parameters
    ----------
    samples
        Shape (samples,).
    sample_rate
        Samples per second.
    frame_edges
        Where frames start and end, in samples, shape (frames + 1,).
    """
    active = _active_levels(samples, sample_rate)
    centres = (np.arange(len(active)) + 0.5) * round(LEVEL_SECONDS * sample_rate)
    last = len(frame_edges) - 2
    frames = np.searchsorted(frame_edges, centres[active], side="right") - 1
    result = np.zeros(last + 1, np.float32)
    result[frames.clip(0, last)] = 1.0
    return result


def active_ranges(
    samples: Floats, sample_rate: int, active_db: float, longest_pause_seconds: float
) -> list[Range]:
    """Return where a clip is active, as [first, last) samples, with short pauses bridged.

    Digital silence has no active range.

    Parameters
    ----------
    samples
        Shape (samples,).
    sample_rate
        Samples per second.
    active_db
        Level relative to the loudest 20 ms down to which the clip is active.
    longest_pause_seconds
        Pauses up to this are part of a range.
    """
    step = round(LEVEL_SECONDS * sample_rate)
    active = np.flatnonzero(_active_levels(samples, sample_rate, active_db))
    if len(active) == 0:
        return []
    pauses = np.flatnonzero((np.diff(active) - 1) * LEVEL_SECONDS > longest_pause_seconds)
    firsts = active[np.concatenate([[0], pauses + 1])] * step
    lasts = (active[np.concatenate([pauses, [len(active) - 1]])] + 1) * step
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _active_levels(
    samples: Floats, sample_rate: int, active_db: float = ACTIVE_DB
) -> NDArray[np.bool_]:
    step = round(LEVEL_SECONDS * sample_rate)
    whole = len(samples) // step * step
    power: Floats = np.square(samples[:whole].reshape(-1, step)).mean(axis=1)
    return np.asarray(power > power.max(initial=0.0) * 10 ** (active_db / 10))


def non_silent_range(samples: Floats, whole: Range, sample_rate: int, trim_db: float) -> Range:
    """Return a range of samples without leading and trailing silence.

    Silent are steps of 20 ms, counted from the start of the range, whose power is more than
    `trim_db` below that of the loudest. A range of zeros is returned unchanged.

    Parameters
    ----------
    samples
        Shape (samples,).
    whole
        The range to trim.
    sample_rate
        Samples per second.
    trim_db
        Decibels below the loudest step.
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
    for first in range(begin, end, step * _LEVELS_AT_ONCE):
        squares = samples[first : min(end, first + step * _LEVELS_AT_ONCE)].astype(np.float64) ** 2
        starts = np.arange(0, len(squares), step)
        powers.append(np.add.reduceat(squares, starts) / np.diff(starts, append=len(squares)))
    return np.concatenate(powers)
