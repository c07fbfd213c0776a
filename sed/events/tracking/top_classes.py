"""Keep the most probable classes of each frame; a class and those above it count as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sed.types import Floats


class TopClasses:
    """Sets the probabilities of all but the most probable classes to zero.

    A parent is nearly always as probable as its child. So the classes are counted from the most
    probable one down, one that belongs to a class already counted takes its place, and the
    ancestors of one that is counted stay without counting.

    Parameters
    ----------
    k
        How many classes of a frame count.
    ancestors
        Of each class the numbers of its ancestors.
    """

    def __init__(self, k: int, ancestors: Sequence[tuple[int, ...]]) -> None:
        self._k = k
        self._ancestors = [frozenset(each) for each in ancestors]
        self._parents = frozenset[int]().union(*self._ancestors)

    def __call__(self, frame_probs: Floats) -> Floats:
        """Return the frames, shape (frames, classes), with zeros for the classes left out."""
        k, (n_frames, n_classes) = self._k, frame_probs.shape
        if k >= n_classes or n_frames == 0:
            return frame_probs
        if not self._parents:
            least = np.partition(frame_probs, -k, axis=1)[:, -k, None]
            return np.where(frame_probs >= least, frame_probs, np.float32(0))
        kept = np.zeros_like(frame_probs)
        for row, frame, order in zip(
            kept, frame_probs, np.argsort(-frame_probs, axis=1, kind="stable"), strict=True
        ):
            chosen = self._choose(order.tolist())
            row[chosen] = frame[chosen]
        return kept

    def _choose(self, order: Sequence[int]) -> list[int]:
        """Return the classes to keep, of classes in the order of their probability."""
        counted: set[int] = set()
        kept: set[int] = set()
        for c in order:
            above = self._ancestors[c]
            if c in kept:  # an ancestor of one that is counted
                continue
            if len(counted) == self._k and not counted & above:
                if counted.isdisjoint(self._parents):
                    break  # none can take a place any more
                continue
            counted -= above
            counted.add(c)
            kept |= {c, *above}
        return list(kept)
