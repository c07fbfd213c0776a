"""Keep the most recent part of a live log-mel spectrogram, reduced in time for display.

::

    columns, 10 ms each ─ maximum of a few ─▶ cells, 0.1 s each ─▶ the last minutes; NaN where lost
"""

from __future__ import annotations

import numpy as np

from sed.features.log_mel import LogMelConfig
from sed.types import Floats


class Waterfall:
    """The last seconds of a spectrogram that scrolls, in cells of several columns each.

    Parameters
    ----------
    log_mel
        The spectrogram.
    cell_seconds
        Approximate length of a cell; it is rounded to a whole number of columns.
    max_seconds
        Length that is kept.
    """

    def __init__(self, log_mel: LogMelConfig, *, cell_seconds: float, max_seconds: float) -> None:
        column_seconds = log_mel.hop_length / log_mel.sample_rate
        self._cell_columns = max(1, round(cell_seconds / column_seconds))
        self.cell_seconds = self._cell_columns * column_seconds
        self.end_seconds = 0.0  # of the input, at the end of the last cell
        self.n_cells = 0  # pushed or skipped in all
        self._max_cells = round(max_seconds / self.cell_seconds)
        self._pending = np.empty((0, log_mel.n_mels), np.float32)  # less than a cell
        self.cells: Floats = self._pending  # (cells, mels), in the unit of the spectrogram

    def push(self, log_mel: Floats) -> Floats:
        """Take the next columns, shape (columns, mels); return the cells that they complete.

        A cell is the maximum of its columns, per mel band.
        """
        columns = np.concatenate([self._pending, log_mel])
        n_whole = len(columns) // self._cell_columns * self._cell_columns
        self._pending = columns[n_whole:]
        grouped = columns[:n_whole].reshape(-1, self._cell_columns, columns.shape[1])
        cells: Floats = grouped.max(axis=1)
        self._append(cells)
        self.end_seconds += len(cells) * self.cell_seconds
        return cells

    def skip(self, until_seconds: float) -> None:
        """Continue at a later time; the cells up to there are NaN."""
        n_cells = max(0, round((until_seconds - self.end_seconds) / self.cell_seconds))
        self._pending = self._pending[:0]
        shape = min(n_cells, self._max_cells), self._pending.shape[1]
        self._append(np.full(shape, np.nan, np.float32))
        self.end_seconds = until_seconds

    def _append(self, cells: Floats) -> None:
        if len(cells):
            self.cells = np.concatenate([self.cells, cells])[-self._max_cells :]
            self.n_cells += len(cells)
