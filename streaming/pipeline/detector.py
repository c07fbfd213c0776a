"""The whole conveyor: samples in, events out.

::

    samples ─ Resampler ─▶ RingBuffer ─ log-mel ─▶ Mode ─ Batcher ─▶ engine ─▶ Mode ─▶ EventTracker
              `──────────── cut ─────────────────────────´            `────── hear ──────´

Each link takes any amount and gives what is ready, and every batch and every stretch of columns has
the same size however the samples were cut, so a file and a live stream give the same numbers.
What `cut` touches and what `hear` touches is not the same, so each may run in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sed.audio.resample import Resampler
from sed.errors import UsageError
from sed.events.tracker import Event, EventTracker
from sed.timeline import seconds_from_samples
from sed.types import Floats
from streaming.engines.base import Engine, FrameOutput, Shape
from streaming.engines.select import open_engine
from streaming.pipeline.batching import Batch, Batcher
from streaming.pipeline.config import DetectorConfig, choose_classes, hop_columns, tracker_config
from streaming.pipeline.feature_stream import FeatureStream
from streaming.pipeline.modes import FullyConvolutionalMode, Mode, SlidingWindowMode

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


class Detection(NamedTuple):
    """What a push brought."""

    events: list[Event]  # complete now
    frame_probs: Floats  # (frames, classes), the next ones of the recording
    columns: Floats  # (columns, mels), the next ones of the recording
    begun: list[Event]  # certain to come by now, for the first time; they last at least so long
    clip_probs: Floats  # (windows, classes), of whole windows, the next ones of the recording
    n_samples: int  # of the recording that went into it and all before, at the model's rate


class Detector:
    """Leads a model over a stream of samples.

    Parameters
    ----------
    model
        An engine that runs a model, or a checkpoint, which torch then runs on the best device.
    config
        Hop, thresholds, classes.
    sample_rate
        Of the samples that will be pushed; the model's own if not given.

    Raises
    ------
    UsageError
        If a class is unknown, the hop does not divide the window into whole columns, or the network
        cannot be led as asked.
    """

    def __init__(
        self,
        model: Engine | Checkpoint,
        config: DetectorConfig | None = None,
        *,
        sample_rate: int | None = None,
    ) -> None:
        self.config = config or DetectorConfig()
        self.engine = open_engine(model, n_streams=1)
        spec = self.spec = self.engine.spec
        self.timeline = spec.timeline
        self.log_mel = spec.log_mel
        own_rate = self.timeline.sample_rate
        self._resampler = Resampler(sample_rate or own_rate, own_rate)
        self._hop_columns = hop_columns(spec, self.config.hop_seconds)
        self.batch_size = self.config.batch_size or self.engine.batch_size
        self._mode = self._chosen_mode()
        self._stretch = min(  # columns computed together: no window waits for any but its batch
            self._mode.step_columns * self._mode.batch_size,
            self.timeline.nearest_columns(self.engine.chunk_seconds),
        )
        self._stream = self.column_stream()
        self._batcher = Batcher(self._mode.batch_size)

        self._chosen = choose_classes(spec.labels, self.config.classes)
        self.labels = tuple(spec.labels[c] for c in self._chosen)
        tracker = tracker_config(spec, self.config, self._chosen)
        self._tracker = EventTracker(tracker, self.labels, self.timeline)
        self.in_use = False  # somebody who reads for it could not be stopped
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a recording."""
        self._resampler.reset()
        self._stream.reset()
        self._mode.reset()
        self._batcher.reset()
        self._tracker.reset()

    @property
    def n_samples(self) -> int:
        """How much of the recording has been cut, at the model's rate."""
        return self._stream.n_samples

    @property
    def mode(self) -> str:
        """How the model is led: windowed or dense."""
        return self._mode.name

    @property
    def batch_shape(self) -> Shape:
        """What goes through the model together: inputs, columns, mels."""
        return self._mode.batch_size, self._mode.input_columns, self.log_mel.n_mels

    @property
    def hop_seconds(self) -> float:
        """From one input of the model to the next."""
        return self._seconds(self._mode.step_columns)

    @property
    def clip_hop_seconds(self) -> float:
        """From one window, of those that clip probabilities are of, to the next."""
        return self._seconds(self._hop_columns)

    @property
    def processed_seconds(self) -> float:
        """How much of the recording has been cut."""
        return seconds_from_samples(self.n_samples, self.timeline.sample_rate)

    @property
    def lookahead_seconds(self) -> float:
        """Sound that has to follow a moment before it is decided on; a hop may pass in addition.

        Of it, what the stitcher waits for, the rest of the frame, and half the median filter.
        """
        frames = 1 + self._tracker.half_median_frames
        return self._seconds(self._mode.lookahead_columns + frames * self.timeline.frame_columns)

    @property
    def delay_seconds(self) -> float:
        """Sound after the end of an event, at most, until the event is given out."""
        frames = 1 + self._tracker.gap_frames  # the first frame that could not extend it any more
        gap_seconds = self.timeline.frame_time(frames)
        return self.lookahead_seconds + self.hop_seconds + gap_seconds

    def push(self, samples: Floats) -> Detection:
        """Take samples, shape (n,), mono; return what they complete."""
        return self._together(self.batched(self.cut(samples)))

    def flush(self) -> Detection:
        """End the recording; return the rest, and be ready for the next one."""
        detection = self._together(self.batched(self.cut_last()))
        self.reset()
        return detection

    def cut(self, samples: Floats) -> Batch:
        """Take samples, shape (n,), mono; return the inputs of the model that they complete.

        For those who run the model themselves, in other threads or on the inputs of several
        detectors at once: what it says goes to `hear`.
        """
        columns = self._stream.push(self._resampler.push(samples))
        windows = [window for part in columns for window in self._mode.push(part)]
        return Batch(columns, windows, self.n_samples)

    def column_stream(self) -> FeatureStream:
        """Return what computes columns just as `cut` does, for `cut_columns`."""
        return FeatureStream(self.engine, self._stretch)

    def cut_columns(self, columns: Floats) -> Batch:
        """Take the next columns, shape (n, mels), of a `column_stream`; like `cut`.

        Samples may follow: the next one is then number `n_samples` of the recording.
        """
        self._stream.reset(self._stream.n_columns + len(columns))
        return Batch([columns], self._mode.push(columns), self.n_samples)

    def cut_last(self) -> Batch:
        """End the recording; return the last inputs of the model. The next sample is a first."""
        columns = self._stream.push(self._resampler.flush()) + self._stream.flush()
        windows = [window for part in columns for window in self._mode.push(part)]
        n_samples = self.n_samples
        if n_samples:
            windows += self._mode.flush()
        self._stream.reset()
        return Batch(columns, windows, n_samples, is_last=True)

    def batched(self, cut: Batch) -> list[Batch]:
        """Gather cuts into batches of the size in the config, the last of a recording but one."""
        return self._batcher.push(cut)

    def ask(self, cut: Batch) -> FrameOutput:
        """Return what the model says of the windows of a cut. Any thread may ask."""
        return self.engine.hear(cut.stacked())

    def hear(self, cut: Batch, answer: FrameOutput | None) -> Detection:
        """Return what the model's answer to a cut completes; None if the cut has no windows."""
        said = [self._mode.join(w, answer[i]) for i, w in enumerate(cut.windows) if answer]
        if cut.is_last and cut.n_samples:
            said.append(self._mode.end(-(-cut.n_samples // self.timeline.hop_length)))
        n_classes = len(self.spec.labels)
        frame_probs = self._choose(_stacked([s.frame_probs for s in said], n_classes))
        clip_probs = _stacked([s.clip_probs for s in said], n_classes)[:, self._chosen]
        events = self._tracker.push(frame_probs)
        if cut.is_last:
            events += self._tracker.flush(cut.n_samples)
        columns = _stacked(cut.columns, self.log_mel.n_mels)
        begun = self._tracker.begun()
        return Detection(events, frame_probs, columns, begun, clip_probs, cut.n_samples)

    def _together(self, cuts: Sequence[Batch]) -> Detection:
        """Hear cuts one after the other."""
        heard = [self.hear(cut, self.ask(cut) if cut.windows else None) for cut in cuts]
        n_classes = len(self._chosen)
        return Detection(
            [event for d in heard for event in d.events],
            _stacked([d.frame_probs for d in heard], n_classes),
            _stacked([d.columns for d in heard], self.log_mel.n_mels),
            [event for d in heard for event in d.begun],
            _stacked([d.clip_probs for d in heard], n_classes),
            heard[-1].n_samples if heard else 0,
        )

    def _choose(self, frame_probs: Floats) -> Floats:
        """Apply `top`, and keep the classes that were asked for."""
        top = self.config.top_k
        if top is not None and top < frame_probs.shape[1] and len(frame_probs):
            least = np.partition(frame_probs, -top, axis=1)[:, -top, None]
            frame_probs = np.where(frame_probs >= least, frame_probs, np.float32(0))
        return frame_probs[:, self._chosen]

    def _chosen_mode(self) -> Mode:
        """Return how the model is led.

        Raises
        ------
        UsageError
            If dense is asked for, and the network or the look-ahead does not allow it.
        """
        config, spec = self.config, self.spec
        mode = config.mode
        overlaps_much = 2 * self._hop_columns < spec.window_columns
        if mode == "auto":
            asks = overlaps_much and config.lookahead_seconds is None
            mode = (
                "fully_convolutional"
                if asks and self.engine.context is not None
                else "sliding_window"
            )
        if mode == "sliding_window":
            ahead = config.lookahead_seconds
            columns = None if ahead is None else self.timeline.nearest_columns(ahead)
            return SlidingWindowMode(spec, self._hop_columns, columns, self.batch_size)
        if config.lookahead_seconds is not None:
            raise UsageError("a look-ahead is for windows: leave it out, or choose windowed")
        if self.engine.context is None:
            raise UsageError(
                "the frames of this network know of the whole window (squeeze and excitation, for "
                "example), so it cannot be led densely: choose windowed"
            )
        return FullyConvolutionalMode(spec, self.engine.context, self._hop_columns, self.batch_size)

    def _seconds(self, columns: int) -> float:
        return seconds_from_samples(columns * self.timeline.hop_length, self.timeline.sample_rate)


def _stacked(parts: Sequence[Floats], width: int) -> Floats:
    return np.concatenate([np.empty((0, width), np.float32), *parts])
