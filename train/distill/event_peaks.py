"""Count the events that hysteresis would find, for all thresholds in one pass.

Each peak of the probabilities is an event of its own in one range of thresholds, which follows from
its height and from the lowest value on the way to a higher peak (the persistence of the peak,
Edelsbrunner et al., "Topological persistence and simplification", 2002).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats


class EventPeaks(NamedTuple):
    """The possible events of one class, by the thresholds at which each is an event of its own.

    At a threshold in (joins, heights] a peak is a separate event; up to `joins`, probabilities stay
    at or above the offset threshold on the way to a higher peak. Both have shape (peaks,), the
    highest peak first.
    """

    heights: Floats
    joins: Floats

    def n_events(self, thresholds: Floats) -> NDArray[np.int64]:
        """Return the number of events at each of some thresholds."""
        reached = np.searchsorted(np.sort(self.heights), thresholds, side="left")
        joined = np.searchsorted(np.sort(self.joins), thresholds, side="left")
        return joined.astype(np.int64) - reached


def event_peaks(
    probs: Floats, offset_ratio: float, *, gap_frames: int = 0, lowest: float = 0.0
) -> EventPeaks:
    """Return the peaks of the events that hysteresis would find, for all thresholds at once.

    Parameters
    ----------
    probs
        Filtered probabilities of one class, shape (frames,).
    offset_ratio
        Offset threshold over onset threshold.
    gap_frames
        Dips of at most this many frames do not separate events.
    lowest
        Peaks below it are left out.
    """
    values = np.pad(closed(probs, gap_frames), 1)
    values[values < lowest * offset_ratio] = 0
    values = values[np.flatnonzero(np.diff(values, prepend=-1))]  # a plateau is one value
    tops = np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] > values[2:])) + 1
    peaks = values[tops]
    if not len(peaks):
        return EventPeaks(peaks, peaks)
    valleys = np.minimum.reduceat(values, tops)[:-1]
    before = _saddles(peaks, valleys, or_equal=True)
    after = _saddles(peaks[::-1], valleys[::-1], or_equal=False)[::-1]
    joins = np.minimum(np.maximum(before, after) / offset_ratio, peaks)
    order = np.argsort(-peaks, kind="stable")
    order = order[(peaks > joins)[order] & (peaks >= lowest)[order]]
    return EventPeaks(peaks[order], joins[order].astype(peaks.dtype))


def closed(probs: Floats, gap_frames: int) -> Floats:
    """Return probabilities in which dips of up to `gap_frames` frames are filled.

    This is the grey closing with a flat window of ``gap_frames + 1`` frames.
    """
    n = gap_frames + 1
    windows = np.lib.stride_tricks.sliding_window_view
    highest = windows(np.pad(probs, gap_frames, constant_values=-np.inf), n).max(axis=-1)
    result: Floats = windows(highest, n).min(axis=-1)
    return result


def _saddles(peaks: Floats, valleys: Floats, *, or_equal: bool) -> Floats:
    """Return the lowest value from each peak to the nearest higher one before it, 0 without one."""
    found = np.zeros_like(peaks)
    stack: list[tuple[float, float]] = []  # a peak, the lowest value between it and the one below
    for i, peak in enumerate(peaks.tolist()):
        low = float(valleys[i - 1]) if i else 0.0
        while stack and (stack[-1][0] < peak or (stack[-1][0] == peak and not or_equal)):
            low = min(low, stack.pop()[1])
        found[i] = low if stack else 0.0
        stack.append((peak, low))
    return found
