"""The whole conveyor: samples in, events out.

::

    samples ─ Resampler ─▶ Ring ─ log-mel ─▶ Mode ─ Batcher ─▶ engine ─▶ Mode ─▶ EventTracker
              `──────────── cut ─────────────────────────´            `────── hear ──────´

Each link takes any amount and gives what is ready, and every batch and every stretch of columns has
the same size however the samples were cut, so a file and a live stream give the same numbers.
What `cut` touches and what `hear` touches is not the same, so each may run in a thread of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.audio.decode import Resampler
from sed.errors import UsageError, near
from sed.events.tracker import Event, EventTracker, TrackerConfig
from sed.models.spec import ModelSpec
from sed.timeline import seconds_from_samples
from streaming.engines.answers import Answer
from streaming.engines.base import Engine, Shape, engine_of
from streaming.pipeline.batching import Batcher, Cut
from streaming.pipeline.feature_stream import ColumnStream
from streaming.pipeline.modes import Dense, Mode, Windowed

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint

Floats = NDArray[np.float32]

MODES = ("auto", "windowed", "dense")
OFF_SHARE = 0.5  # of `on`, where only a threshold is given


@dataclass(frozen=True)
class DetectorConfig:
    """How a model is led over a recording. What is None is taken from the checkpoint.

    Larger batches are faster, and bring the first events later.
    """

    hop: float | None = None  # seconds from one window to the next; None: half a window
    mode: Literal["auto", "windowed", "dense"] = (
        "auto"  # see `streaming.pipeline.modes`; auto: dense where
    )
    # windows overlap by more than half, the network allows it and there is no look-ahead
    threshold: float | None = None  # for all classes: events reach it, and last above half of it
    on: float | None = None  # in place of what the threshold says
    off: float | None = None  # in place of what the threshold says
    min_length: float | None = None  # seconds; shorter events are dropped
    merge_gap: float | None = None  # seconds; events of a class no further apart are one
    look_ahead: float | None = None  # seconds that a window must hear beyond a frame to decide it;
    # None: every window over it has its say, which takes longest and is best
    classes: tuple[str, ...] = ()  # only these; empty: all
    top: int | None = None  # in a frame, only so many classes count
    batch_size: int | None = 1  # windows that wait for each other to go through the model together;
    # None: as many as the engine is fastest with

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.mode not in MODES:
            raise UsageError(f"unknown mode {self.mode!r}. {near(self.mode, MODES)}")
        for name in ("hop", "threshold", "on", "off", "min_length", "merge_gap", "look_ahead"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"expected {name.replace('_', '-')} to be a number, got {value}")
        for name in ("threshold", "on", "off"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"expected {name} above 0 and up to 1, got {value:g}")
        for name in ("min_length", "merge_gap", "look_ahead"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"expected {name.replace('_', '-')} of 0 or more, got {value:g}")
        if self.hop is not None and self.hop <= 0:
            raise UsageError(f"expected a hop above 0, got {self.hop:g}")
        for name in ("top", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"expected {name.replace('_', '-')} of 1 or more, got {value}")


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
        self.engine = engine_of(model)
        spec = self.spec = self.engine.spec
        self.timeline = spec.timeline
        self.front_end = spec.front_end
        own_rate = self.timeline.sample_rate
        self._resampler = Resampler(sample_rate or own_rate, own_rate)
        self._hop_columns = hop_columns(spec, self.config.hop)
        self.batch_size = self.config.batch_size or self.engine.batch_size
        self._mode = self._chosen_mode()
        self._stretch = min(  # columns computed together: no window waits for any but its batch
            self._mode.step_columns * self._mode.batch_size,
            self.timeline.nearest_columns(self.engine.stretch_seconds),
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
        return self._mode.batch_size, self._mode.input_columns, self.front_end.n_mels

    @property
    def hop_seconds(self) -> float:
        """From one input of the model to the next."""
        return self._seconds(self._mode.step_columns)

    @property
    def clip_hop_seconds(self) -> float:
        """From one window, of those that clip probabilities are of, to the next."""
        return self._seconds(self._hop_columns)

    @property
    def heard_seconds(self) -> float:
        """How much of the recording has been cut."""
        return seconds_from_samples(self.n_samples, self.timeline.sample_rate)

    @property
    def look_ahead_seconds(self) -> float:
        """Sound that has to follow a moment before it is decided on; a hop may pass in addition.

        Of it, what the stitcher waits for, the rest of the frame, and half the median filter.
        """
        frames = 1 + self._tracker.half_median_frames
        return self._seconds(self._mode.look_ahead_columns + frames * self.timeline.frame_columns)

    @property
    def delay_seconds(self) -> float:
        """Sound after the end of an event, at most, until the event is given out."""
        frames = 1 + self._tracker.gap_frames  # the first frame that could not extend it any more
        gap_seconds = self.timeline.frame_time(frames)
        return self.look_ahead_seconds + self.hop_seconds + gap_seconds

    def push(self, samples: Floats) -> Detection:
        """Take samples, shape (n,), mono; return what they complete."""
        return self._together(self.batched(self.cut(samples)))

    def flush(self) -> Detection:
        """End the recording; return the rest, and be ready for the next one."""
        detection = self._together(self.batched(self.cut_last()))
        self.reset()
        return detection

    def cut(self, samples: Floats) -> Cut:
        """Take samples, shape (n,), mono; return the inputs of the model that they complete.

        For those who run the model themselves, in other threads or on the inputs of several
        detectors at once: what it says goes to `hear`.
        """
        columns = self._stream.push(self._resampler.push(samples))
        windows = [window for part in columns for window in self._mode.push(part)]
        return Cut(columns, windows, self.n_samples)

    def column_stream(self) -> ColumnStream:
        """Return what computes columns just as `cut` does, for `cut_columns`."""
        return ColumnStream(self.engine, self._stretch)

    def cut_columns(self, columns: Floats) -> Cut:
        """Take the next columns, shape (n, mels), of a `column_stream`; like `cut`.

        Samples may follow: the next one is then number `n_samples` of the recording.
        """
        self._stream.reset(self._stream.n_columns + len(columns))
        return Cut([columns], self._mode.push(columns), self.n_samples)

    def cut_last(self) -> Cut:
        """End the recording; return the last inputs of the model. The next sample is a first."""
        columns = self._stream.push(self._resampler.flush()) + self._stream.flush()
        windows = [window for part in columns for window in self._mode.push(part)]
        n_samples = self.n_samples
        if n_samples:
            windows += self._mode.flush()
        self._stream.reset()
        return Cut(columns, windows, n_samples, is_last=True)

    def batched(self, cut: Cut) -> list[Cut]:
        """Gather cuts into batches of the size in the config, the last of a recording but one."""
        return self._batcher.push(cut)

    def ask(self, cut: Cut) -> Answer:
        """Return what the model says of the windows of a cut. Any thread may ask."""
        return self.engine.hear(cut.stacked())

    def hear(self, cut: Cut, answer: Answer | None) -> Detection:
        """Return what the model's answer to a cut completes; None if the cut has no windows."""
        said = [self._mode.join(w, answer[i]) for i, w in enumerate(cut.windows) if answer]
        if cut.is_last and cut.n_samples:
            said.append(self._mode.end(-(-cut.n_samples // self.timeline.hop_samples)))
        n_classes = len(self.spec.labels)
        frame_probs = self._choose(_stacked([s.frame_probs for s in said], n_classes))
        clip_probs = _stacked([s.clip_probs for s in said], n_classes)[:, self._chosen]
        events = self._tracker.push(frame_probs)
        if cut.is_last:
            events += self._tracker.flush(cut.n_samples)
        columns = _stacked(cut.columns, self.front_end.n_mels)
        begun = self._tracker.begun()
        return Detection(events, frame_probs, columns, begun, clip_probs, cut.n_samples)

    def _together(self, cuts: Sequence[Cut]) -> Detection:
        """Hear cuts one after the other."""
        heard = [self.hear(cut, self.ask(cut) if cut.windows else None) for cut in cuts]
        n_classes = len(self._chosen)
        return Detection(
            [event for d in heard for event in d.events],
            _stacked([d.frame_probs for d in heard], n_classes),
            _stacked([d.columns for d in heard], self.front_end.n_mels),
            [event for d in heard for event in d.begun],
            _stacked([d.clip_probs for d in heard], n_classes),
            heard[-1].n_samples if heard else 0,
        )

    def _choose(self, frame_probs: Floats) -> Floats:
        """Apply `top`, and keep the classes that were asked for."""
        top = self.config.top
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
            asks = overlaps_much and config.look_ahead is None
            mode = "dense" if asks and self.engine.context is not None else "windowed"
        if mode == "windowed":
            ahead = config.look_ahead
            columns = None if ahead is None else self.timeline.nearest_columns(ahead)
            return Windowed(spec, self._hop_columns, columns, self.batch_size)
        if config.look_ahead is not None:
            raise UsageError("a look-ahead is for windows: leave it out, or choose windowed")
        if self.engine.context is None:
            raise UsageError(
                "the frames of this network know of the whole window (squeeze and excitation, for "
                "example), so it cannot be led densely: choose windowed"
            )
        return Dense(spec, self.engine.context, self._hop_columns, self.batch_size)

    def _seconds(self, columns: int) -> float:
        return seconds_from_samples(columns * self.timeline.hop_samples, self.timeline.sample_rate)


def _stacked(parts: Sequence[Floats], width: int) -> Floats:
    return np.concatenate([np.empty((0, width), np.float32), *parts])


def hop_columns(spec: ModelSpec, hop: float | None) -> int:
    """Return the columns from one window to the next; half a window if no seconds are given.

    Raises
    ------
    UsageError
        If the hop is not a whole number of columns, or does not divide the window.
    """
    window = spec.window_columns
    if hop is None:
        return window // 2 if window % 2 == 0 else window
    try:
        columns = spec.timeline.columns_from_seconds(hop)
    except ValueError as error:
        raise UsageError(f"hop: {error}") from error
    if window % columns:
        seconds = spec.window_seconds
        choices = ", ".join(f"{seconds / n:g}" for n in (1, 2, 4, 5, 10) if window % n == 0)
        raise UsageError(
            f"a hop of {hop:g} s does not divide the window of {seconds:g} s. "
            f"Choose for example {choices}"
        )
    return columns


def choose_classes(labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the indices of the wanted labels, all if none is named.

    Raises
    ------
    UsageError
        If a label is unknown to the model.
    """
    unknown = [name for name in wanted if name not in labels]
    if unknown:
        raise UsageError(f"the model has no class {unknown[0]!r}. {near(unknown[0], labels)}")
    return [labels.index(name) for name in dict.fromkeys(wanted)] or list(range(len(labels)))


def tracker_config(spec: ModelSpec, config: DetectorConfig, chosen: Sequence[int]) -> TrackerConfig:
    """Return the thresholds of the model for the chosen classes, with what was asked for.

    Raises
    ------
    UsageError
        If `off` lies above `on`.
    """
    fitted = spec.tracker

    def of_chosen(value: float | tuple[float, ...]) -> tuple[float, ...]:
        every = np.broadcast_to(np.asarray(value), len(spec.labels))
        return tuple(every[list(chosen)].tolist())

    on = config.threshold if config.on is None else config.on
    ons = of_chosen(fitted.on if on is None else on)
    if config.off is not None:
        offs = of_chosen(config.off)
    elif on is not None:
        offs = of_chosen(OFF_SHARE * on)
    else:
        offs = of_chosen(fitted.off)
    if any(off > on for off, on in zip(offs, ons, strict=True)):
        raise UsageError(
            f"expected off no higher than on, got off {max(offs):g} and on {min(ons):g}; give both"
        )
    return dataclasses.replace(
        fitted,
        on=ons,
        off=offs,
        median_frames=tuple(int(n) for n in of_chosen(fitted.median_frames)),
        min_length_seconds=(
            fitted.min_length_seconds if config.min_length is None else config.min_length
        ),
        merge_gap_seconds=(
            fitted.merge_gap_seconds if config.merge_gap is None else config.merge_gap
        ),
    )
