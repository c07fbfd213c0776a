"""Columns to long stretches, whose frames need no windows: the convolutions run once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.models.spec import ReceptiveField
from sed.types import Floats
from streaming.engines.base import FrameOutput, concat
from streaming.pipeline.ring_buffer import RingBuffer
from streaming.pipeline.windows import Window

SHORTEST = 16  # frames that the last stretch is filled up to at least


class Segmenter:
    """Cuts a stream of columns into stretches of as many frames each, with context on both sides.

    ::

        |before|====== frames of stretch 0 ======|after|
                                    |before|====== frames of stretch 1 ======|after|

    The recording lies in silence. A stretch is longer than a window by whole frames, so that a
    network pads it as it pads windows. The last stretches are shorter by halves, so that few
    lengths occur, and little silence is computed.

    Parameters
    ----------
    n_frames
        That a stretch is good for.
    context
        Of the network.
    frame_columns, window_columns
        Of the model.
    silence
        A column without sound, shape (mels,).
    """

    def __init__(
        self,
        n_frames: int,
        context: ReceptiveField,
        frame_columns: int,
        window_columns: int,
        silence: Floats,
    ) -> None:
        self.n_frames = n_frames
        self.context = context
        self._frame_columns = frame_columns
        self._window_columns = window_columns
        self._silence = silence
        self._ring = RingBuffer(silence.shape)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next column is the first of a recording."""
        self._ring.reset()
        self._before = self.context.before * self._frame_columns  # columns of silence in front
        self._ring.push(self._silent(self._before))
        self._next = 0  # first frame of the next stretch

    def push(self, columns: Floats) -> list[Window]:
        """Take columns, shape (n, mels); return the stretches they complete."""
        self._ring.push(columns)
        stretches = []
        while self._ring.stop >= self._end(self.n_frames):
            stretches.append(self._take(self.n_frames))
        return stretches

    def flush(self) -> list[Window]:
        """Return the last stretches, filled up with silence."""
        n_columns = self._ring.stop - self._before
        n_frames = -(-n_columns // self._frame_columns)
        stretches = []
        while self._next < n_frames:
            length = self.n_frames
            while length // 2 >= max(SHORTEST, n_frames - self._next):
                length //= 2
            self._ring.push(self._silent(max(0, self._end(length) - self._ring.stop)))
            stretch = self._take(length)
            stretches.append(stretch._replace(stop=min(stretch.stop, n_columns)))
        self.reset()
        return stretches

    def n_columns(self, n_frames: int) -> int:
        """Return the columns of a stretch that is good for so many frames."""
        needed = self.context.before + n_frames + self.context.after
        n_more = max(0, needed - self._window_columns // self._frame_columns)
        return self._window_columns + n_more * self._frame_columns

    def _end(self, n_frames: int) -> int:
        return self._next * self._frame_columns + self.n_columns(n_frames)

    def _take(self, n_frames: int) -> Window:
        start = self._next * self._frame_columns
        columns = self._ring.view(start, self._end(n_frames)).copy()
        self._next += n_frames
        self._ring.drop(self._next * self._frame_columns)
        return Window(start, self._next * self._frame_columns, columns)

    def _silent(self, n_columns: int) -> Floats:
        return np.tile(self._silence, (n_columns, 1))


class SlidingAttentionPool:
    """Pools the attention of frames over windows that slide along a recording.

    A frame belongs to the windows that its middle lies in.

    Parameters
    ----------
    window_columns, hop_columns, frame_columns
        Length of a window, from one to the next, and columns in a frame.
    """

    def __init__(self, window_columns: int, hop_columns: int, frame_columns: int) -> None:
        self._window_columns = window_columns
        self._hop_columns = hop_columns
        self._frame_columns = frame_columns
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of a recording."""
        self._next = 0  # the next window
        self._first = 0  # frame that is held first
        self._held: FrameOutput | None = None

    def push(self, frames: FrameOutput) -> Floats:
        """Take frames; return the clip probabilities, shape (windows, classes), they complete."""
        self._held = frames if self._held is None else concat([self._held, frames])
        end = self._first + len(self._held)
        n = self._next
        while self._frames(n)[1] <= end:
            n += 1
        return self._pooled(n)

    def flush(self, end_column: int) -> Floats:
        """Return the rest: windows until all columns of the recording were in one."""
        overlap = self._window_columns - self._hop_columns
        n_windows = max(1, -(-(end_column - overlap) // self._hop_columns))
        rest = self._pooled(max(self._next, n_windows))
        self.reset()
        return rest

    def _frames(self, window: int) -> tuple[int, int]:
        """Return the first frame of a window, and the first behind it."""
        start = window * self._hop_columns - self._frame_columns // 2
        stop = start + self._window_columns
        return max(0, -(-start // self._frame_columns)), -(-stop // self._frame_columns)

    def _pooled(self, stop: int) -> Floats:
        """Return the windows before `stop`, and forget frames that no later one holds."""
        held = self._held
        assert held is not None
        bounds = np.array([self._frames(n) for n in range(self._next, stop)], np.int64)
        first, last = np.clip(bounds.reshape(-1, 2) - self._first, 0, len(held)).T
        weighted = _running_sum(held.head_weights * held.head_probs)
        weights = _running_sum(held.head_weights)
        with np.errstate(invalid="ignore"):  # a window whose frames all lie past the end
            clips = (weighted[last] - weighted[first]) / (weights[last] - weights[first])
        self._next = max(self._next, stop)
        done = self._frames(self._next)[0] - self._first
        self._held, self._first = held[max(0, done) :], self._first + max(0, done)
        probs: Floats = np.nan_to_num(clips.mean(axis=1)).astype(np.float32)
        return probs


def _running_sum(values: Floats) -> NDArray[np.float64]:
    """Return the sums of the first 0, 1, 2, … rows."""
    sums = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=sums[1:])
    return sums
