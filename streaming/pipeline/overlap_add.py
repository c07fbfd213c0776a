"""Average the frames of overlapping windows into the frames of the recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats


class OverlapAdd:
    r"""Weighted overlap-add onto one grid of frames for the whole recording.

    The hop need not be a whole number of frames, so a frame of a window may overlap two frames of
    the recording. A frame of the recording is the weighted mean, over columns, of the windows::

        window 0   |  f0  |  f1  |  f2  |  f3  |
        window 1            |  f0  |  f1  |  f2  |  f3  |
        recording  |  r0  |  r1  |  r2  |  r3  |  r4  | ...

        weight        .-'   '-.
        of a      .-'           '-.        w(c) = min(c + ½, n - c - ½) / (n / 2)
        column  '                   '      for column c of the n of a window

        r_j = Σ w(c) · f(c) / Σ w(c)   over all windows and all columns c of theirs that lie in r_j

    Columns in the middle of a window count most, since the model sees both sides of them.

    The last window over a frame ends nearly a window after it. To bound latency, set a lookahead: a
    frame is then final as soon as one window reaches that far beyond it, and later windows do not
    change it.

    Parameters
    ----------
    frame_edges
        Where the frames of a window start and end, in columns, shape (frames + 1,).
    frame_columns
        Length of a frame of the recording, in columns.
    hop_columns
        Distance from one window to the next, in columns.
    lookahead_columns
        Columns that a window must reach beyond a frame to make it final; the whole overlap if not
        given.
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
        """Start a new recording."""
        self._first = 0  # frame of the recording that the sums start with
        self._sums: Floats | None = None  # (frames, classes)
        self._totals = np.zeros(0, np.float32)  # (frames,)

    def push(self, start: int, frame_probs: Floats, stop: int | None = None) -> Floats:
        """Add the window that starts at a column; return the frames that are now final.

        Parameters
        ----------
        start
            First column of the window in the recording.
        frame_probs
            Its frames, shape (frames, classes).
        stop
            The column at which the recording ends, if that is within the window.

        Returns
        -------
        The next frames of the recording, shape (frames, classes).
        """
        shares = self._shares_at(start % self.frame_columns)
        first = start // self.frame_columns - self._first
        # Frames that are final already stay as they are.
        shares, first = shares[max(0, -first) :], max(0, first)
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
        """End the recording at a column; return its remaining frames, shape (frames, classes)."""
        if self._sums is None:
            return np.empty((0, 0), np.float32)
        rest = self._take(-(-end_column // self.frame_columns))
        self.reset()
        return rest

    def _shares_at(self, phase: int) -> Floats:
        """Return the weight of each frame of a window in the frames of the recording.

        Shape (frames of the recording, frames of the window); `phase` is the offset of the window
        from the start of a frame of the recording, in columns.
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
            # Several times faster than np.pad, and this runs for every window.
            self._sums = np.concatenate([self._sums, np.zeros((missing, n_classes), np.float32)])
            self._totals = np.concatenate([self._totals, np.zeros(missing, np.float32)])

    def _take(self, stop: int) -> Floats:
        """Return and drop the frames before frame `stop` of the recording."""
        assert self._sums is not None
        n = max(0, stop - self._first)
        totals = self._totals[:n, None]
        assert totals.min(initial=1.0) > 0.0
        frames: Floats = self._sums[:n] / totals
        self._sums, self._totals = self._sums[n:], self._totals[n:]
        self._first += n
        return frames
