"""Slice log-mel columns into long segments, for inference that computes each frame once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.models.spec import ReceptiveField
from sed.types import Floats
from streaming.engines.base import FrameOutput, concat
from streaming.pipeline.ring_buffer import RingBuffer
from streaming.pipeline.windows import Window

MIN_SEGMENT_FRAMES = 16  # the last segment is padded to at least this length


class Segmenter:
    """Slices a stream of columns into segments of equal length, with context on both sides.

    ::

        |before|====== frames of segment 0 ======|after|
                                    |before|====== frames of segment 1 ======|after|

    The recording is surrounded by silence. A segment is longer than a window by whole frames, so
    that the network pads it as it pads windows. The last segments are halved as often as fits, so
    that few lengths occur (each is compiled) and little padding is computed.

    Parameters
    ----------
    n_frames
        Of a segment, without its context.
    receptive_field
        Of the network.
    frame_columns, window_columns
        Length of a frame and of a window of the model, in columns.
    silence
        The column of digital silence, shape (mels,).
    """

    def __init__(
        self,
        n_frames: int,
        receptive_field: ReceptiveField,
        frame_columns: int,
        window_columns: int,
        silence: Floats,
    ) -> None:
        self.n_frames = n_frames
        self._context = receptive_field
        self._frame_columns = frame_columns
        self._window_columns = window_columns
        self._silence = silence
        self._buffer = RingBuffer(silence.shape)
        self.input_columns = self.n_columns(n_frames)
        self.step_columns = n_frames * frame_columns
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._buffer.reset()
        self._before = self._context.before * self._frame_columns  # columns of padding in front
        self._buffer.push(self._silent(self._before))
        self._next = 0  # first frame of the next segment

    def push(self, log_mel: Floats) -> list[Window]:
        """Take columns, shape (columns, mels); return the segments that they complete."""
        self._buffer.push(log_mel)
        segments = []
        while self._buffer.stop >= self._end(self.n_frames):
            segments.append(self._take(self.n_frames))
        return segments

    def flush(self) -> list[Window]:
        """End the recording; return the last segments, padded with silence."""
        n_columns = self._buffer.stop - self._before
        n_frames = -(-n_columns // self._frame_columns)
        segments = []
        while self._next < n_frames:
            length = self.n_frames
            while length // 2 >= max(MIN_SEGMENT_FRAMES, n_frames - self._next):
                length //= 2
            self._buffer.push(self._silent(max(0, self._end(length) - self._buffer.stop)))
            segment = self._take(length)
            segments.append(segment._replace(stop=min(segment.stop, n_columns)))
        self.reset()
        return segments

    def n_columns(self, n_frames: int) -> int:
        """Return the length, in columns, of a segment of `n_frames` with its context."""
        needed = self._context.before + n_frames + self._context.after
        n_more = max(0, needed - self._window_columns // self._frame_columns)
        return self._window_columns + n_more * self._frame_columns

    def _end(self, n_frames: int) -> int:
        return self._next * self._frame_columns + self.n_columns(n_frames)

    def _take(self, n_frames: int) -> Window:
        start = self._next * self._frame_columns
        log_mel = self._buffer.view(start, self._end(n_frames)).copy()
        self._next += n_frames
        self._buffer.drop(self._next * self._frame_columns)
        return Window(start, self._next * self._frame_columns, log_mel)

    def _silent(self, n_columns: int) -> Floats:
        return np.tile(self._silence, (n_columns, 1))


class SlidingAttentionPool:
    """Pools the attention of frames over windows that slide along a recording.

    A frame belongs to the windows that contain its middle. See attention pooling in Kong et al.,
    PANNs, 2020 (https://arxiv.org/abs/1912.10211).

    Parameters
    ----------
    window_columns, hop_columns, frame_columns
        Length of a window, distance from one to the next, and length of a frame.
    """

    def __init__(self, window_columns: int, hop_columns: int, frame_columns: int) -> None:
        self._window_columns = window_columns
        self._hop_columns = hop_columns
        self._frame_columns = frame_columns
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._next = 0  # the next window
        self._first = 0  # the first frame held
        self._held: FrameOutput | None = None

    def push(self, frames: FrameOutput) -> Floats:
        """Take frames; return the clip probabilities, (windows, classes), that they complete."""
        self._held = frames if self._held is None else concat([self._held, frames])
        end = self._first + len(self._held)
        n = self._next
        while self._frames(n)[1] <= end:
            n += 1
        return self._pooled(n)

    def flush(self, end_column: int) -> Floats:
        """End the recording; return the remaining clips, shape (windows, classes)."""
        overlap = self._window_columns - self._hop_columns
        n_windows = max(1, -(-(end_column - overlap) // self._hop_columns))
        rest = self._pooled(max(self._next, n_windows))
        self.reset()
        return rest

    def _frames(self, window: int) -> tuple[int, int]:
        """Return the first frame of a window, and the first one after it."""
        start = window * self._hop_columns - self._frame_columns // 2
        stop = start + self._window_columns
        return max(0, -(-start // self._frame_columns)), -(-stop // self._frame_columns)

    def _pooled(self, stop: int) -> Floats:
        """Return the windows before `stop`; drop frames that no later window contains."""
        held = self._held
        assert held is not None
        bounds = np.array([self._frames(n) for n in range(self._next, stop)], np.int64)
        first, last = np.clip(bounds.reshape(-1, 2) - self._first, 0, len(held)).T
        weighted = _running_sum(held.head_weights * held.head_probs)
        weights = _running_sum(held.head_weights)
        # Windows whose frames all lie past the end divide 0 by 0.
        with np.errstate(invalid="ignore"):
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
