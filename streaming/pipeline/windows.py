"""Slice log-mel columns into overlapping windows; windows are computed in batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sed.types import Floats
from streaming.pipeline.ring_buffer import RingBuffer


class Window(NamedTuple):
    """One input of the model, with its place in the recording."""

    start: int  # its first column
    stop: int  # the column after its last one; columns beyond are padding or context
    log_mel: Floats  # (columns, mels)


class Batch(NamedTuple):
    """Consecutive inputs of the model, and the columns that arrived with them."""

    log_mel: list[Floats]  # each (columns, mels), the next ones of the recording
    windows: list[Window]  # inputs of the model, in order
    n_samples: int  # of the recording so far, at the model's rate
    is_last: bool = False  # whether the recording ends here

    def stack(self) -> Floats:
        """Return the windows as one array, shape (windows, columns, mels)."""
        return np.stack([window.log_mel for window in self.windows])


class SlidingWindow:
    """Slices a stream of columns into windows, one every hop, until each column was in one.

    ::

        |---------window 0---------|
                     |---------window 1---------|
                                  |---------window 2---------|
        =================recording===================             the end of window 2 is padded

    Parameters
    ----------
    window_columns, hop_columns
        Length of a window, and the distance from one to the next.
    silence
        The column of digital silence, shape (mels,), which pads the last window.

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
        self.input_columns = window_columns
        self.step_columns = hop_columns
        self._silence = silence
        self._buffer = RingBuffer(silence.shape)
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._buffer.reset()
        self._next = 0  # first column of the next window

    def push(self, log_mel: Floats) -> list[Window]:
        """Take columns, shape (columns, mels); return the windows that they complete."""
        self._buffer.push(log_mel)
        windows = []
        while self._buffer.stop >= self._next + self.input_columns:
            view = self._buffer.view(self._next, self._next + self.input_columns)
            windows.append(Window(self._next, self._next + self.input_columns, view.copy()))
            self._next += self.step_columns
            self._buffer.drop(self._next)
        return windows

    def flush(self) -> list[Window]:
        """End the recording; return the last, padded window if some columns were in none."""
        stop = self._buffer.stop
        in_a_window = self._next + self.input_columns - self.step_columns if self._next else 0
        windows = []
        if stop > in_a_window:
            held = self._buffer.view(self._next, stop)
            rest = np.tile(self._silence, (self.input_columns - len(held), 1))
            windows.append(Window(self._next, stop, np.concatenate([held, rest])))
        self.reset()
        return windows
