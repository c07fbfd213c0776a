"""A buffer for the latest part of a stream, addressed by absolute positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class RingBuffer:
    """Holds what was pushed and not yet dropped, in one contiguous array.

    ::

        dropped      start              stop
        ·············[ held, contiguous )          positions count from the start of the stream

    Memory grows with what is held, not with what has passed through.

    Parameters
    ----------
    shape
        Of one item: ``()`` for samples, ``(n_mels,)`` for log-mel columns.
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self._items = np.empty((1024, *shape), np.float32)
        self.reset()

    def reset(self) -> None:
        """Drop everything: the next item pushed is at position 0."""
        self.start = self.stop = 0  # positions of the items held
        self._offset = 0  # where `start` lies in the array

    def push(self, items: NDArray[np.float32]) -> None:
        """Append items, shape (n, *shape)."""
        held = self.stop - self.start
        if self._offset + held + len(items) > len(self._items):
            needed = held + len(items)
            target = self._items
            # Doubling keeps moves rare: at most one per half an array.
            if 2 * needed > len(target):
                target = np.empty((2 * needed, *self._items.shape[1:]), np.float32)
            target[:held] = self._items[self._offset : self._offset + held]
            self._items, self._offset = target, 0
        end = self._offset + held
        self._items[end : end + len(items)] = items
        self.stop += len(items)

    def view(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return positions [start, stop), valid until the next push.

        Raises
        ------
        IndexError
            If a part is dropped already or has not been pushed yet.
        """
        if not self.start <= start <= stop <= self.stop:
            raise IndexError(f"[{start}, {stop}) is not within [{self.start}, {self.stop})")
        first = self._offset + start - self.start
        return self._items[first : first + stop - start]

    def drop(self, before: int) -> None:
        """Drop everything before a position."""
        step = min(max(0, before - self.start), self.stop - self.start)
        self.start += step
        self._offset += step
