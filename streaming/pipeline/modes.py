r"""Run a model over a log-mel spectrogram in one of two inference modes.

::

    sliding_window       log-mel ─ SlidingWindow ─▶ windows ─ engine ─▶ OverlapAdd ─▶ frames
    fully_convolutional  log-mel ─ Segmenter ─▶ long segments ─ engine ─▶ cropped ─▶ frames
                                                            └ SlidingAttentionPool ─▶ clips

Both modes give the probabilities of every frame of the recording and of every window as a whole.
A sliding window shows the model what it was trained on, and averages a frame over the windows that
overlap there, so its cost grows with the overlap. Fully convolutional inference computes every
frame once, with real context on both sides, so the hop between windows costs nothing.

A mode is a slicer, which turns columns into inputs of the model, and an aggregator, which turns
the model's outputs into frames. They share no state, so each may run in its own thread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.models.spec import ModelSpec, ReceptiveField
from sed.types import Floats
from streaming.engines.base import Engine, FrameOutput, concat
from streaming.pipeline.config import DetectorConfig, hop_columns
from streaming.pipeline.dense import Segmenter
from streaming.pipeline.overlap_add import OverlapAdd
from streaming.pipeline.windows import SlidingWindow, Window


def frame_values(output: FrameOutput) -> Floats:
    """Return what is aggregated for each frame of a window, shape (frames, values).

    The probabilities of all classes; then, if the engine gives embeddings, the embedding and the
    attention of the frame: ``Σ_c mean_h weights[h, c] · probs[h, c]`` over heads h and classes c.
    """
    if output.embeddings is None:
        return output.frame_probs
    if not output.frame_probs.shape[1]:
        # An encoder has no classes to attend to: all frames weigh the same.
        attention = np.ones((len(output), 1), np.float32)
        return np.concatenate([output.embeddings, attention], axis=1)
    attention = (output.head_weights * output.head_probs).mean(axis=1).sum(axis=1, keepdims=True)
    # Where probabilities are rounded to 0, all frames weigh the same.
    attention = attention + np.finfo(np.float32).tiny
    return np.concatenate([output.frame_probs, output.embeddings, attention], axis=1)


class _WindowAggregator:
    """Averages overlapping windows, and pools the attention of each window.

    Parameters
    ----------
    spec
        The model.
    hop_columns
        Distance from one window to the next.
    lookahead_columns
        See `OverlapAdd`.
    """

    def __init__(
        self, spec: ModelSpec, hop_columns: int, lookahead_columns: int | None = None
    ) -> None:
        self._overlap_add = OverlapAdd(
            spec.frame_edges, spec.frame_columns, hop_columns, lookahead_columns
        )
        self.lookahead_columns = self._overlap_add.lookahead_columns
        self._nothing = np.empty((0, len(spec.labels)), np.float32)
        self.reset = self._overlap_add.reset

    def push(self, window: Window, output: FrameOutput) -> tuple[Floats, Floats]:
        """Take the output for the next window; return `frame_values` and clips that are final."""
        values = self._overlap_add.push(window.start, frame_values(output), window.stop)
        return values, output.clip_probs()[None]

    def flush(self, end_column: int) -> tuple[Floats, Floats]:
        """Return the remaining frames; every window has been pooled already."""
        return self._overlap_add.flush(end_column), self._nothing


class _SegmentAggregator:
    """Crops the context from long segments, and pools attention over sliding windows.

    Parameters
    ----------
    spec
        The model.
    receptive_field
        How far a frame of the network sees.
    hop_columns
        Distance from one pooled window to the next.
    input_columns
        Length of a segment with its context.
    """

    def __init__(
        self,
        spec: ModelSpec,
        receptive_field: ReceptiveField,
        hop_columns: int,
        input_columns: int,
    ) -> None:
        self._n_before = receptive_field.before  # frames of context in front of a segment
        # The first frame waits longest: until the whole segment is there.
        self.lookahead_columns = input_columns - (self._n_before + 1) * spec.frame_columns
        self._frame_columns = spec.frame_columns
        self._pool = _SlidingAttentionPool(spec.window_columns, hop_columns, spec.frame_columns)
        self._nothing = np.empty((0, len(spec.labels)), np.float32)
        self.reset = self._pool.reset

    def push(self, window: Window, output: FrameOutput) -> tuple[Floats, Floats]:
        """Take the output for the next segment; return `frame_values` and clips that are final."""
        n_frames = -(-(window.stop - window.start) // self._frame_columns)
        frames = output[self._n_before : self._n_before + n_frames]
        return frame_values(frames), self._pool.push(frames)

    def flush(self, end_column: int) -> tuple[Floats, Floats]:
        """Return the remaining clips; every frame was final at once."""
        return np.empty((0, 0), np.float32), self._pool.flush(end_column)


class _SlidingAttentionPool:
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


Slicer = SlidingWindow | Segmenter
Aggregator = _WindowAggregator | _SegmentAggregator


class InferenceMode(NamedTuple):
    """One way to run a model over a recording."""

    name: str  # sliding_window or fully_convolutional
    slicer: Slicer
    aggregator: Aggregator
    batch_size: int  # inputs that the model computes together


def sliding_window(
    spec: ModelSpec, hop_columns: int, lookahead_columns: int | None = None, batch_size: int = 1
) -> InferenceMode:
    """Return inference over overlapping windows.

    Parameters
    ----------
    spec
        The model.
    hop_columns
        Distance from one window to the next.
    lookahead_columns
        See `OverlapAdd`.
    batch_size
        Windows that the model computes together.
    """
    slicer = SlidingWindow(spec.window_columns, hop_columns, _silent_column(spec))
    aggregator = _WindowAggregator(spec, hop_columns, lookahead_columns)
    return InferenceMode("sliding_window", slicer, aggregator, batch_size)


def fully_convolutional(
    spec: ModelSpec, receptive_field: ReceptiveField, hop_columns: int, n_windows: int = 1
) -> InferenceMode:
    """Return inference over long segments with context, which computes every frame once.

    Parameters
    ----------
    spec
        The model.
    receptive_field
        How far a frame of the network sees.
    hop_columns
        Distance from one window to the next, over which attention is pooled.
    n_windows
        Length of a segment in windows.
    """
    n_frames = n_windows * -(-spec.window_columns // spec.frame_columns)
    slicer = Segmenter(
        n_frames, receptive_field, spec.frame_columns, spec.window_columns, _silent_column(spec)
    )
    aggregator = _SegmentAggregator(spec, receptive_field, hop_columns, slicer.input_columns)
    return InferenceMode("fully_convolutional", slicer, aggregator, 1)


def choose_mode(engine: Engine, config: DetectorConfig) -> InferenceMode:
    """Return the inference mode that a configuration asks for.

    ``auto`` is fully convolutional where windows overlap by more than half, the network allows it
    and no lookahead is set.

    Raises
    ------
    UsageError
        If fully convolutional inference is requested, and the network or a lookahead forbids it.
    """
    mode, lookahead = config.mode, config.lookahead_seconds
    hop = hop_columns(engine.spec, config.hop_seconds)
    spec = engine.spec.with_hop(hop)
    batch_size = config.batch_size or engine.batch_size
    if mode == "auto":
        is_worth_it = 2 * hop < spec.window_columns and lookahead is None
        is_possible = is_worth_it and engine.receptive_field is not None
        mode = "fully_convolutional" if is_possible else "sliding_window"
    if mode == "sliding_window":
        columns = None if lookahead is None else spec.timeline.nearest_columns(lookahead)
        return sliding_window(spec, hop, columns, batch_size)
    if lookahead is not None:
        raise UsageError(
            "--lookahead needs --mode sliding_window: leave out one of lookahead and mode"
        )
    if engine.receptive_field is None:
        raise UsageError(
            "the frames of this network depend on the whole window (squeeze and excitation, for "
            "example), so it cannot run fully convolutionally: choose sliding_window"
        )
    return fully_convolutional(spec, engine.receptive_field, hop, batch_size)


def _silent_column(spec: ModelSpec) -> Floats:
    """Return the log-mel column of digital silence, shape (mels,)."""
    return np.full(spec.log_mel.n_mels, spec.log_mel.silence_value, np.float32)
