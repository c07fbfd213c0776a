"""Slice log-mel columns into long segments, for inference that computes each frame once."""

from __future__ import annotations

import numpy as np

from sed.models.spec import ReceptiveField
from sed.types import Floats
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
