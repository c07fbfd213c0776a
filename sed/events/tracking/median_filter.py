"""Filter a stream of frames with a running median."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

MAX_NETWORK = 15  # longest filter for which a sorting network is faster than a partition


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
        # Shorter filters are as long as the longest, with as many values of -inf as of inf in the
        # places of the frames that they do not have: these never change the median.
        outside = np.arange(-self.half, self.half + 1)[:, None]
        beyond = np.abs(outside) > lengths // 2
        self._is_uniform = not beyond.any()
        self._least = np.where(beyond & (outside > 0), np.inf, -np.inf).astype(np.float32)
        self._most = np.where(beyond & (outside < 0), -np.inf, np.inf).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._frames: Floats | None = None  # the last 2 · half frames

    def extend(self, frames: Floats) -> Floats:
        """Add frames, shape (frames, classes); return them after the last 2 · half ones.

        `medians` of these are what `push` returns.
        """
        if self.half == 0 or len(frames) == 0:
            return frames
        if self._frames is None:
            self._frames = np.repeat(frames[:1], self.half, axis=0)
        frames = np.concatenate([self._frames, frames])
        self._frames = frames[-2 * self.half :].copy()
        return frames

    def extend_end(self) -> Floats:
        """Repeat the last frame, return what `extend` does, and start a new recording."""
        frames = self._frames
        self.reset()
        if frames is None:
            return np.empty((0, len(self._lengths)), np.float32)
        return np.concatenate([frames, np.repeat(frames[-1:], self.half, axis=0)])

    def medians(self, frames: Floats, classes: NDArray[np.int64] | slice) -> Floats:
        """Return the medians of the frames that have half a filter of neighbours on both sides.

        Parameters
        ----------
        frames
            Shape (frames + 2 · half, classes), all or those in `classes`.
        classes
            The classes of the frames.

        Returns
        -------
        Shape (frames, classes).
        """
        if self.half == 0:
            return frames
        n, length = max(0, len(frames) - 2 * self.half), 2 * self.half + 1
        layers = [frames[i : i + n] for i in range(length)]
        if not self._is_uniform:
            bounds = zip(self._least[:, classes], self._most[:, classes], strict=True)
            layers = [
                np.minimum(np.maximum(layer, least), most)
                for layer, (least, most) in zip(layers, bounds, strict=True)
            ]
        if length > MAX_NETWORK:
            middle: Floats = np.partition(np.stack(layers), self.half, axis=0)[self.half]
            return middle
        for i, j, wanted in _median_network(length):
            low, high = layers[i], layers[j]
            if wanted & 1:
                layers[i] = np.minimum(low, high)
            if wanted & 2:
                layers[j] = np.maximum(low, high)
        return layers[self.half]

    def push(self, frames: Floats) -> Floats:
        """Add frames, shape (frames, classes); return those whose neighbours are all known."""
        return self.medians(self.extend(frames), slice(None))

    def flush(self) -> Floats:
        """Return the remaining frames, shape (frames, classes), and start a new recording."""
        return self.medians(self.extend_end(), slice(None))


@cache
def _median_network(length: int) -> tuple[tuple[int, int, int], ...]:
    """Return the exchanges of Batcher's odd-even merge sort that the middle value depends on.

    Each is (i, j, wanted): the lesser of the values i and j goes to i if ``wanted & 1``, the
    greater one to j if ``wanted & 2``.

    K. E. Batcher, Sorting networks and their applications, AFIPS 1968; the loops are those of
    algorithm 5.2.2M in Knuth's The Art of Computer Programming, volume 3.
    """
    exchanges = []
    top = 1 << (length - 1).bit_length() - 1
    p = top
    while p:
        q, r, d = top, 0, p
        while d:
            exchanges += [(i, i + d) for i in range(length - d) if i & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    needed, network = {length // 2}, []
    for i, j in reversed(exchanges):
        wanted = (i in needed) + 2 * (j in needed)
        if wanted:
            needed |= {i, j}
            network.append((i, j, wanted))
    return tuple(reversed(network))
