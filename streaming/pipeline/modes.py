r"""The two ways to lead a model over columns: window by window, or its convolutions only once.

::

    windowed  columns ─ SlidingWindow ─▶ overlapping windows ─ engine ─▶ OverlapAdd ─▶ frames
    dense     columns ─ Segmenter ─▶ long stretches ─ engine ─▶ without context ─▶ frames
                                                                          └ SlidingAttentionPool ─▶ clips

Both say what each frame of the recording is, and what each window of it is as a whole. SlidingWindowMode,
the model hears what it was trained on, and a frame is the mean of several windows; its cost grows
with their overlap. FullyConvolutionalMode, a frame hears true sound on both sides of it, once; the hop of the
windows costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from sed.models.spec import ModelSpec, ReceptiveField
from sed.types import Floats
from streaming.engines.base import FrameOutput
from streaming.pipeline.dense import Segmenter, SlidingAttentionPool
from streaming.pipeline.overlap_add import OverlapAdd
from streaming.pipeline.windows import SlidingWindow, Window


class Said(NamedTuple):
    """What is final now."""

    frame_probs: Floats  # (frames, classes), the next ones of the recording
    clip_probs: Floats  # (windows, classes), the next ones of the recording


class Mode(Protocol):
    """How columns become inputs of the model, and its answers become frames."""

    name: str
    input_columns: int  # of one input of the model, but for the last of a recording
    step_columns: int  # from one input of the model to the next
    batch_size: int  # inputs that go through the model together
    lookahead_columns: int  # that an input has to reach beyond a frame to decide it

    def reset(self) -> None:
        """Forget everything: the next column is the first of a recording."""

    def push(self, columns: Floats) -> list[Window]:
        """Take columns, shape (n, mels); return the inputs of the model that they complete."""

    def flush(self) -> list[Window]:
        """End the recording; return the last inputs."""

    def join(self, window: Window, answer: FrameOutput) -> Said:
        """Take what the model says of the next input; return what it makes final."""

    def end(self, end_column: int) -> Said:
        """Return the rest, up to the end of the recording."""


class SlidingWindowMode:
    """Overlapping windows, stitched.

    Parameters
    ----------
    spec
        The model.
    hop_columns
        From one window to the next.
    lookahead_columns
        See `OverlapAdd`.
    batch_size
        Windows that go through the model together.
    """

    name = "sliding_window"

    def __init__(
        self,
        spec: ModelSpec,
        hop_columns: int,
        lookahead_columns: int | None = None,
        batch_size: int = 1,
    ) -> None:
        self.input_columns = spec.window_columns
        self.step_columns = hop_columns
        self.batch_size = batch_size
        self._windower = SlidingWindow(spec.window_columns, hop_columns, silent_column(spec))
        self._stitcher = OverlapAdd(
            spec.frame_edges, spec.frame_columns, hop_columns, lookahead_columns
        )
        self.lookahead_columns = self._stitcher.lookahead_columns
        self.push, self.flush = self._windower.push, self._windower.flush
        self._n_classes = len(spec.labels)

    def reset(self) -> None:
        """Forget everything: the next column is the first of a recording."""
        self._windower.reset()
        self._stitcher.reset()

    def join(self, window: Window, answer: FrameOutput) -> Said:
        """Take what the model says of the next window; return what it makes final."""
        frames = self._stitcher.push(window.start, answer.frame_probs, window.stop)
        return Said(frames, answer.clip_probs()[None])

    def end(self, end_column: int) -> Said:
        """Return the rest, up to the end of the recording."""
        rest = self._stitcher.flush(end_column)
        none = np.empty((0, self._n_classes), np.float32)
        return Said(rest if rest.size else none, none)


class FullyConvolutionalMode:
    """Long stretches with context, each frame computed once.

    Parameters
    ----------
    spec
        The model.
    context
        How far its frames look.
    hop_columns
        From one window to the next, over which attention is pooled.
    n_windows
        Windows of sound that go through the model together, as one stretch.
    """

    name = "fully_convolutional"
    batch_size = 1

    def __init__(
        self, spec: ModelSpec, context: ReceptiveField, hop_columns: int, n_windows: int = 1
    ) -> None:
        n_frames = n_windows * -(-spec.window_columns // spec.frame_columns)
        self._stretcher = Segmenter(
            n_frames, context, spec.frame_columns, spec.window_columns, silent_column(spec)
        )
        self.input_columns = self._stretcher.n_columns(n_frames)
        self.step_columns = n_frames * spec.frame_columns
        self.lookahead_columns = (
            self.input_columns
            - (context.before + 1) * spec.frame_columns  # of the first frame, the one that waits
        )
        self._pool = SlidingAttentionPool(spec.window_columns, hop_columns, spec.frame_columns)
        self.push, self.flush = self._stretcher.push, self._stretcher.flush
        self._frame_columns = spec.frame_columns
        self._n_classes = len(spec.labels)

    def reset(self) -> None:
        """Forget everything: the next column is the first of a recording."""
        self._stretcher.reset()
        self._pool.reset()

    def join(self, window: Window, answer: FrameOutput) -> Said:
        """Take what the model says of the next stretch; return what it makes final."""
        first = self._stretcher.context.before
        n_frames = -(-(window.stop - window.start) // self._frame_columns)
        frames = answer[first : first + n_frames]
        return Said(frames.frame_probs, self._pool.push(frames))

    def end(self, end_column: int) -> Said:
        """Return the rest, up to the end of the recording."""
        return Said(np.empty((0, self._n_classes), np.float32), self._pool.flush(end_column))


def silent_column(spec: ModelSpec) -> Floats:
    """Return a column without sound, shape (mels,)."""
    return np.full(spec.log_mel.n_mels, spec.log_mel.lowest, np.float32)
