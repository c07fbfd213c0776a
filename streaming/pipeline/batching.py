"""Gather inputs of the model into batches of one size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sed.types import Floats
from streaming.pipeline.windows import Window


class Batch(NamedTuple):
    """Consecutive inputs of the model, and the columns that arrived with them."""

    log_mel: list[Floats]  # each (columns, mels), the next ones of the recording
    windows: list[Window]  # inputs of the model, in order
    n_samples: int  # of the recording so far, at the model's rate
    is_last: bool = False  # whether the recording ends here

    def stack(self) -> Floats:
        """Return the windows as one array, shape (windows, columns, mels)."""
        return np.stack([window.log_mel for window in self.windows])


class Batcher:
    """Takes any number of windows; returns batches of one size, except at the end.

    Parameters
    ----------
    batch_size
        Windows in a batch.
    is_live
        Whether columns that complete no window are returned at once, in a batch without windows.
    """

    def __init__(self, batch_size: int, *, is_live: bool = False) -> None:
        self.batch_size = batch_size
        self._is_live = is_live
        self.reset()

    def reset(self) -> None:
        """Drop everything."""
        self._log_mel: list[Floats] = []
        self._windows: list[Window] = []

    def push(self, batch: Batch) -> list[Batch]:
        """Take windows; return full batches, and everything left at the end of a recording."""
        self._log_mel += batch.log_mel
        self._windows += batch.windows
        batches = []
        while len(self._windows) > (size := self.batch_size) or (
            len(self._windows) == size and not batch.is_last
        ):
            batches.append(Batch(self._log_mel, self._windows[:size], batch.n_samples))
            self._log_mel, self._windows = [], self._windows[size:]
        if batch.is_last:
            batches.append(batch._replace(log_mel=self._log_mel, windows=self._windows))
            self.reset()
        elif self._is_live and self._log_mel:
            batches.append(batch._replace(log_mel=self._log_mel, windows=[]))
            self._log_mel = []
        return batches
