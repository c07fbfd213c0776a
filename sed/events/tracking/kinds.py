"""Make probabilities of kinds (animal, vehicle) from those of their classes.

A class is rescaled so that its thresholds become those of its kind; the highest of the rescaled
probabilities is that of the kind. So a kind is at or above a threshold in a frame exactly if one of
its classes is at or above its own. The thresholds of a kind are the means of those of its classes:
where all classes have the same thresholds, nothing is rescaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sed.events.tracking.median_filter import MedianFilter
from sed.types import Floats


class KindProbs:
    """Maps probabilities of classes to those of kinds.

    Parameters
    ----------
    members
        Of each kind the numbers of its classes, one or more.
    onset, offset
        Thresholds of the classes, shape (classes,).
    """

    def __init__(
        self,
        members: Sequence[Sequence[int]],
        onset: NDArray[np.float32],
        offset: NDArray[np.float32],
    ) -> None:
        self._columns = np.concatenate([np.asarray(each, np.int64) for each in members])
        sizes = [len(each) for each in members]
        self._first = np.cumsum([0, *sizes[:-1]])
        self.onset, self.offset = (
            np.array([np.mean(values[list(each)], dtype=np.float64) for each in members]).astype(
                np.float32
            )
            for values in (onset, offset)
        )
        self._on, self._off = onset[self._columns], offset[self._columns]
        self._to_on, self._to_off = np.repeat(self.onset, sizes), np.repeat(self.offset, sizes)
        self._is_same = (self._on == self._to_on) & (self._off == self._to_off)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._low = self._to_off / self._off
            self._middle = (self._to_on - self._to_off) / (self._on - self._off)
            self._high = (1 - self._to_on) / (1 - self._on)
        self._middle[self._on == self._off] = 0
        self._high[self._on == 1] = 0

    def __call__(self, probs: Floats) -> Floats:
        """Return the probabilities of kinds, (n, kinds), for those of classes, (n, classes)."""
        probs = probs[:, self._columns]
        if not self._is_same.all():
            probs = np.where(self._is_same, probs, self._rescale(probs))
        highest: Floats = np.maximum.reduceat(probs, self._first, axis=1)
        return highest

    def _rescale(self, probs: Floats) -> Floats:
        """Map thresholds to thresholds, with straight lines below, between and above them.

        What is rounded stays on its side of the thresholds.
        """
        zero, to_on, to_off = np.float32(0), self._to_on, self._to_off
        low = np.minimum(probs * self._low, np.nextafter(to_off, zero))
        middle = to_off + (probs - self._off) * self._middle
        middle = np.maximum(np.minimum(middle, np.nextafter(to_on, zero)), to_off)
        high = np.clip(to_on + (probs - self._on) * self._high, to_on, np.float32(1))
        below_onset = np.where(probs >= self._off, middle, low)
        rescaled: Floats = np.where(probs >= self._on, high, below_onset)
        return rescaled


class KindFrames:
    """Filters the frames of classes with their running medians, then maps them to kinds.

    Parameters
    ----------
    kinds
        The map.
    lengths
        Lengths of the medians in frames, shape (classes,).
    """

    def __init__(self, kinds: KindProbs, lengths: NDArray[np.int64]) -> None:
        self._kinds = kinds
        self._median = MedianFilter(lengths)

    @property
    def half_median_frames(self) -> int:
        """Frames by which the output lags behind the frames pushed."""
        return self._median.half

    def push(self, frame_probs: Floats) -> Floats:
        """Add frames, shape (frames, classes); return those of kinds whose neighbours are known."""
        return self._kinds(self._median.push(frame_probs))

    def flush(self) -> Floats:
        """Return the remaining frames, shape (frames, kinds), and start a new recording."""
        return self._kinds(self._median.flush())

    def reset(self) -> None:
        """Start a new recording."""
        self._median.reset()
