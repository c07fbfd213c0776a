"""Frames of overlapping windows to the frames of the recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats


class OverlapAdd:
    r"""Weighted overlap-add onto one grid of frames for the whole recording.

    The hop need not be a whole number of frames, so the frames of a window may lie across those of
    the recording. Column by column, a frame of the recording is the mean of what the windows say::

        window 0   |  f0  |  f1  |  f2  |  f3  |
        window 1            |  f0  |  f1  |  f2  |  f3  |
        recording  |  r0  |  r1  |  r2  |  r3  |  r4  | ...

        weight        .-'   '-.
        of a      .-'           '-.        w(c) = min(c + ½, n - c - ½) / (n / 2)
        column  '                   '      for column c of the n of a window

        r_j = Σ w(c) · f(c) / Σ w(c)   over all windows and all columns c of theirs that lie in r_j

    Columns in the middle of a window count most, since the model has seen both sides of them.

    The last window over a frame ends nearly a window after it. Who cannot wait so long gives a
    look-ahead: a frame is then final as soon as a window reaches so far beyond it, and what later
    windows say of it is left out.

    Parameters
    ----------
    frame_edges
        Where the frames of a window begin and end, in columns, shape (frames + 1,).
    frame_columns
        Columns in a frame of the recording.
    hop_columns
        From one window to the next.
    lookahead_columns
        Columns that a window has to reach beyond a frame; as far as they overlap if not given.
    """

    def __init__(
        self,
        frame_edges: NDArray[np.int64],
        frame_columns: int,
        hop_columns: int,
        lookahead_columns: int | None = None,
    ) -> None:
        self.frame_columns = frame_columns
        n_columns = int(frame_edges[-1])
        overlap = n_columns - hop_columns
        self.lookahead_columns = min(
            overlap, overlap if lookahead_columns is None else lookahead_columns
        )
        column = np.arange(n_columns)
        self._frame_of_column = np.searchsorted(frame_edges, column, side="right") - 1
        self._n_frames = len(frame_edges) - 1
        self._weights = np.minimum(column + 0.5, n_columns - column - 0.5) / (n_columns / 2)
        self._shares: dict[int, Floats] = {}
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next window is the first of a recording."""
        self._first = 0  # frame of the recording that the sums begin with
        self._sums: Floats | None = None  # (frames, classes)
        self._totals = np.zeros(0, np.float32)  # (frames,)

    def push(self, start: int, frame_probs: Floats, stop: int | None = None) -> Floats:
        """Add the window at column `start`, shape (frames, classes); return what is now final.

        The recording ends at column `stop`, if that is within the window.
        """
        shares = self._shares_at(start % self.frame_columns)
        first = start // self.frame_columns - self._first
        shares, first = shares[max(0, -first) :], max(0, first)  # not those that are final already
        self._make_room(first + len(shares), frame_probs.shape[1])
        assert self._sums is not None
        self._sums[first : first + len(shares)] += shares @ frame_probs
        self._totals[first : first + len(shares)] += shares.sum(axis=1)
        end = start + len(self._weights)
        final = (end - self.lookahead_columns) // self.frame_columns
        if stop is not None:
            final = min(final, -(-stop // self.frame_columns))
        return self._take(final)

    def flush(self, end_column: int) -> Floats:
        """Return the frames up to the end of the recording; what lies past it is padding."""
        if self._sums is None:
            return np.empty((0, 0), np.float32)
        rest = self._take(-(-end_column // self.frame_columns))
        self.reset()
        return rest

    def _shares_at(self, phase: int) -> Floats:
        """Return the weight of each frame of a window in those of the recording.

        Shape (frames of the recording, frames of the window); `phase` is the column of a frame of
        the recording that the window begins at.
        """
        if phase not in self._shares:
            cell = (phase + np.arange(len(self._weights))) // self.frame_columns
            shares = np.zeros((int(cell[-1]) + 1, self._n_frames))
            np.add.at(shares, (cell, self._frame_of_column), self._weights)
            self._shares[phase] = shares.astype(np.float32)
        return self._shares[phase]

    def _make_room(self, n_frames: int, n_classes: int) -> None:
        if self._sums is None:
            self._sums = np.zeros((0, n_classes), np.float32)
        if (missing := n_frames - len(self._sums)) > 0:
            # Several times as fast as np.pad, which window after window pays for.
            self._sums = np.concatenate([self._sums, np.zeros((missing, n_classes), np.float32)])
            self._totals = np.concatenate([self._totals, np.zeros(missing, np.float32)])

    def _take(self, stop: int) -> Floats:
        """Return and forget the frames before frame `stop` of the recording."""
        assert self._sums is not None
        n = max(0, stop - self._first)
        totals = self._totals[:n, None]
        assert totals.min(initial=1.0) > 0.0
        frames: Floats = self._sums[:n] / totals
        self._sums, self._totals = self._sums[n:], self._totals[n:]
        self._first += n
        return frames
