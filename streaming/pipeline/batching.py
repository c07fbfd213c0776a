"""Inputs of the model, gathered into batches of one size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sed.types import Floats
from streaming.pipeline.windows import Window


class Batch(NamedTuple):
    """What samples became on the way to the model."""

    columns: list[Floats]  # each (columns, mels), the next ones of the recording
    windows: list[Window]  # to be heard by the model, in this order
    n_samples: int  # of the recording so far, at the model's rate
    is_last: bool = False  # the recording ends here

    def stacked(self) -> Floats:
        """Return the windows as one batch, shape (windows, columns, mels)."""
        return np.stack([window.columns for window in self.windows])


class Batcher:
    """Takes cuts as they come; gives cuts of as many windows each, but for the last.

    Parameters
    ----------
    batch_size
        Windows in a cut.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._columns: list[Floats] = []
        self._windows: list[Window] = []

    def push(self, cut: Batch) -> list[Batch]:
        """Take the next cut; return those that are full, and all the rest if it is the last."""
        self._columns += cut.columns
        self._windows += cut.windows
        batches = []
        while len(self._windows) > (size := self.batch_size) or (
            len(self._windows) == size and not cut.is_last
        ):
            batches.append(Batch(self._columns, self._windows[:size], cut.n_samples))
            self._columns, self._windows = [], self._windows[size:]
        if cut.is_last:
            batches.append(cut._replace(columns=self._columns, windows=self._windows))
            self.reset()
        return batches
