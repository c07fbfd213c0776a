"""Filter a stream of frames with a running median."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats


class MedianFilter:
    """A running median over frames, of an odd length per class.

    The first and the last frame are repeated at the edges. Output lags input by half the longest
    filter.

    Parameters
    ----------
    lengths
        Frames, shape (classes,).
    """

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self._lengths = lengths
        self.half = int(np.max(lengths, initial=1)) // 2
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._frames: Floats | None = None  # the last 2 · half frames

    def push(self, frames: Floats) -> Floats:
        """Add frames, shape (frames, classes); return those whose neighbours are all known."""
        if self.half == 0 or len(frames) == 0:
            return frames
        if self._frames is None:
            self._frames = np.repeat(frames[:1], self.half, axis=0)
        frames = np.concatenate([self._frames, frames])
        self._frames = frames[-2 * self.half :]
        return self._filter(frames)

    def flush(self) -> Floats:
        """Return the remaining frames, shape (frames, classes), and start a new recording."""
        frames = self._frames
        self.reset()
        if frames is None:
            return np.empty((0, len(self._lengths)), np.float32)
        return self._filter(np.concatenate([frames, np.repeat(frames[-1:], self.half, axis=0)]))

    def _filter(self, frames: Floats) -> Floats:
        n = max(0, len(frames) - 2 * self.half)
        result = np.empty((n, frames.shape[1]), np.float32)
        for length in np.unique(self._lengths):
            classes = np.flatnonzero(self._lengths == length)
            margin = self.half - int(length) // 2
            part = frames[margin : margin + n + int(length) - 1, classes]
            if n:
                windows = np.lib.stride_tricks.sliding_window_view(part, int(length), axis=0)
                result[:, classes] = np.median(windows, axis=-1)
        return result
