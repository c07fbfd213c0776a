"""Columns to overlapping windows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sed.types import Floats
from streaming.pipeline.ring_buffer import RingBuffer


class Window(NamedTuple):
    """One input of the model."""

    start: int  # column of the recording that it begins with
    stop: int  # column behind the last one that it is about: what follows is silence or context
    columns: Floats  # (window_columns, mels)


class SlidingWindow:
    """Cuts a stream of columns into windows, one every hop, until all columns were in one.

    ::

        |---------window 0---------|
                     |---------window 1---------|
                                  |---------window 2---------|
        =================recording===================             the rest of window 2 is silence

    Parameters
    ----------
    window_columns, hop_columns
        Length of a window, and the distance from one to the next.
    silence
        A column without sound, shape (mels,), with which the last window is filled up.

    Raises
    ------
    ValueError
        If the hop does not divide the window.
    """

    def __init__(self, window_columns: int, hop_columns: int, silence: Floats) -> None:
        if hop_columns < 1 or window_columns % hop_columns:
            raise ValueError(
                f"expected a hop that divides the window of {window_columns} columns, "
                f"got {hop_columns}"
            )
        self.window_columns = window_columns
        self.hop_columns = hop_columns
        self._silence = silence
        self._ring = RingBuffer(silence.shape)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next column is the first of a recording."""
        self._ring.reset()
        self._next = 0  # first column of the next window

    def push(self, columns: Floats) -> list[Window]:
        """Take columns, shape (n, mels); return the windows they complete."""
        self._ring.push(columns)
        windows = []
        while self._ring.stop >= self._next + self.window_columns:
            view = self._ring.view(self._next, self._next + self.window_columns)
            windows.append(Window(self._next, self._next + self.window_columns, view.copy()))
            self._next += self.hop_columns
            self._ring.drop(self._next)
        return windows

    def flush(self) -> list[Window]:
        """Return the last window, filled up with silence, if columns are left that were in none."""
        stop = self._ring.stop
        in_a_window = self._next + self.window_columns - self.hop_columns if self._next else 0
        windows = []
        if stop > in_a_window:
            held = self._ring.view(self._next, stop)
            rest = np.tile(self._silence, (self.window_columns - len(held), 1))
            windows.append(Window(self._next, stop, np.concatenate([held, rest])))
        self.reset()
        return windows
