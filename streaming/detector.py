"""The whole conveyor: samples in, events out.

::

    samples ─ Resampler ─▶ Ring ─ log-mel ─▶ Windower ─ batches ─▶ model ─▶ Stitcher ─▶ EventTracker

Each link takes any amount and gives what is ready, and every batch and every stretch of columns has
the same size however the samples were cut, so a file and a live stream give the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.audio import Resampler
from sed.checkpoint import Checkpoint
from sed.errors import UsageError, near
from sed.events import Event, EventTracker, TrackerConfig
from sed.timeline import seconds_from_samples
from streaming.engine import TorchEngine
from streaming.ring import Ring
from streaming.stitch import Stitcher
from streaming.windows import Window, Windower

Floats = NDArray[np.float32]

OFF_SHARE = 0.5  # of `on`, where only a threshold is given


@dataclass(frozen=True)
class DetectorConfig:
    """How a model is led over a recording. What is None is taken from the checkpoint.

    Larger batches are faster, and bring the first events later.
    """

    hop: float | None = None  # seconds from one window to the next; None: half a window
    threshold: float | None = None  # for all classes: events reach it, and last above half of it
    on: float | None = None  # in place of what the threshold says
    off: float | None = None  # in place of what the threshold says
    min_length: float | None = None  # seconds; shorter events are dropped
    merge_gap: float | None = None  # seconds; events of a class no further apart are one
    look_ahead: float | None = None  # seconds that a window must hear beyond a frame to decide it;
    # None: every window over it has its say, which takes longest and is best
    classes: tuple[str, ...] = ()  # only these; empty: all
    top: int | None = None  # in a frame, only so many classes count
    batch_size: int = 1  # windows that wait for each other to go through the model together

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
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
        if self.batch_size < 1 or (self.top is not None and self.top < 1):
            raise UsageError("expected top and batch-size of 1 or more")


class Detection(NamedTuple):
    """What a push brought."""

    events: list[Event]  # complete now
    frame_probs: Floats  # (frames, classes), the next ones of the recording
    columns: Floats  # (columns, mels), the next ones of the recording
    begun: list[Event]  # certain to come by now, for the first time; they last at least so long


class Cut(NamedTuple):
    """What samples became on the way to the model."""

    columns: Floats  # (columns, mels), the next ones of the recording
    windows: list[Window]  # to be heard by the model, in this order


class Detector:
    """Leads a model over a stream of samples.

    Parameters
    ----------
    checkpoint
        The model.
    config
        Hop, thresholds, classes.
    sample_rate
        Of the samples that will be pushed; the model's own if not given.
    engine
        What runs the model; a `TorchEngine` on the best device if not given.

    Raises
    ------
    UsageError
        If a class is unknown or the hop does not divide the window into whole columns.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: DetectorConfig | None = None,
        *,
        sample_rate: int | None = None,
        engine: TorchEngine | None = None,
    ) -> None:
        self.config = config or DetectorConfig()
        self.engine = engine or TorchEngine(checkpoint.model)
        self.timeline = checkpoint.timeline
        self.front_end = checkpoint.model.log_mel.config
        own_rate = self.timeline.sample_rate
        self._resampler = Resampler(sample_rate or own_rate, own_rate)
        self._samples = Ring()

        hop_columns = self._hop_columns(checkpoint)
        silence = self.engine.columns(np.zeros(self.front_end.column_samples, np.float32))[0]
        self._windower = Windower(checkpoint.window_columns, hop_columns, silence)
        edges = checkpoint.model.frame_edges(checkpoint.window_columns)
        ahead = self.config.look_ahead
        self._stitcher = Stitcher(
            edges,
            self.timeline.frame_columns,
            hop_columns,
            None if ahead is None else self.timeline.nearest_columns(ahead),
        )

        self._chosen = choose_classes(checkpoint.labels, self.config.classes)
        self.labels = tuple(checkpoint.labels[c] for c in self._chosen)
        tracker = tracker_config(checkpoint, self.config, self._chosen)
        self._tracker = EventTracker(tracker, self.labels, self.timeline)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a recording."""
        for link in (
            self._resampler, self._samples, self._windower, self._stitcher, self._tracker
        ):  # fmt: skip
            link.reset()
        self._samples.push(np.zeros(self.front_end.context_before, np.float32))
        self.n_samples = 0  # at the model's rate
        self._n_columns = 0
        self._waiting: list[Window] = []

    @property
    def hop_seconds(self) -> float:
        """From one window to the next."""
        hop_samples = self._windower.hop_columns * self.timeline.hop_samples
        return seconds_from_samples(hop_samples, self.timeline.sample_rate)

    @property
    def heard_seconds(self) -> float:
        """How much of the recording has been pushed."""
        return seconds_from_samples(self.n_samples, self.timeline.sample_rate)

    @property
    def look_ahead_seconds(self) -> float:
        """Sound that has to follow a moment before it is decided on; a hop may pass in addition.

        Of it, what the stitcher waits for, the rest of the frame, and half the median filter.
        """
        frames = 1 + self._tracker.half_median_frames
        columns = self._stitcher.look_ahead_columns + frames * self.timeline.frame_columns
        return seconds_from_samples(columns * self.timeline.hop_samples, self.timeline.sample_rate)

    @property
    def delay_seconds(self) -> float:
        """Sound after the end of an event, at most, until the event is given out."""
        frames = 1 + self._tracker.gap_frames  # the first frame that could not extend it any more
        gap_seconds = self.timeline.frame_time(frames)
        return self.look_ahead_seconds + self.hop_seconds + gap_seconds

    def push(self, samples: Floats) -> Detection:
        """Take samples, shape (n,), mono; return what they complete."""
        columns, windows = self.cut(samples)
        self._waiting += windows
        probs = [self._frames(batch) for batch in self._batches()]
        return self._decided(columns, np.concatenate([self._no_frames(), *probs]))

    def cut(self, samples: Floats) -> Cut:
        """Take samples, shape (n,), mono; return the windows that they complete.

        For those who run the model themselves, on the windows of several detectors at once: what it
        says goes to `hear`.
        """
        return self._advance(self._resampler.push(samples))

    def hear(self, cut: Cut, frame_probs: Floats) -> Detection:
        """Return what the model's answer to a `Cut` completes, shape (windows, frames, classes)."""
        return self._decided(cut.columns, self._stitched(cut.windows, frame_probs))

    def flush(self) -> Detection:
        """End the recording; return the rest, and be ready for the next one."""
        first = self._advance(self._resampler.flush())
        end_column = -(-self.n_samples // self.timeline.hop_samples)
        columns = self._last_columns(end_column)
        self._waiting += first.windows + self._windower.push(columns)
        if end_column:
            self._waiting += self._windower.flush()
        probs = [self._frames(batch) for batch in self._batches(last=True)]
        probs.append(self._choose(self._stitcher.flush(end_column)))
        last = self._decided(np.concatenate([first.columns, columns]), np.concatenate(probs))
        events = last.events + self._tracker.flush(self.n_samples)
        begun = last.begun + self._tracker.begun()
        self.reset()
        return last._replace(events=events, begun=begun)

    def _advance(self, samples: Floats) -> Cut:
        """Move samples at the model's rate up to where the model comes."""
        self.n_samples += len(samples)
        self._samples.push(samples)
        columns = self._full_stretches()
        return Cut(columns, self._windower.push(columns))

    def _decided(self, columns: Floats, frame_probs: Floats) -> Detection:
        events = self._tracker.push(frame_probs)
        return Detection(events, frame_probs, columns, self._tracker.begun())

    def _full_stretches(self) -> Floats:
        """Return the columns of all whole hops there are, computed hop by hop.

        The rounding of a matrix product depends on its size, so the size must not depend on how
        the samples arrived.
        """
        stretch = self._windower.hop_columns
        needed = (stretch - 1) * self.timeline.hop_samples + self.front_end.column_samples
        stretches = [self._no_columns()]
        while self._samples.stop >= (at := self._n_columns * self.timeline.hop_samples) + needed:
            stretches.append(self.engine.columns(self._samples.view(at, at + needed)))
            self._n_columns += stretch
            self._samples.drop(self._n_columns * self.timeline.hop_samples)
        return np.concatenate(stretches)

    def _last_columns(self, end_column: int) -> Floats:
        """Return the columns that are left, the last of them filled up with silence."""
        n = end_column - self._n_columns
        if n <= 0:
            return self._no_columns()
        at = self._n_columns * self.timeline.hop_samples
        needed = at + (n - 1) * self.timeline.hop_samples + self.front_end.column_samples
        self._samples.push(np.zeros(max(0, needed - self._samples.stop), np.float32))
        return self.engine.columns(self._samples.view(at, needed))

    def _batches(self, *, last: bool = False) -> list[list[Window]]:
        """Take full batches from what is waiting, and at the end the rest."""
        size = self.config.batch_size
        n = len(self._waiting) if last else len(self._waiting) // size * size
        ready, self._waiting = self._waiting[:n], self._waiting[n:]
        return [ready[i : i + size] for i in range(0, n, size)]

    def _frames(self, batch: Sequence[Window]) -> Floats:
        """Run the model on a batch; return the frames of the recording that are final now."""
        probs = self.engine.frame_probs(np.stack([window.columns for window in batch]))
        return self._stitched(batch, probs)

    def _stitched(self, windows: Sequence[Window], probs: Floats) -> Floats:
        """Return the frames of the recording that are final now."""
        pushed = [
            self._choose(self._stitcher.push(window.start, frames))
            for window, frames in zip(windows, probs, strict=True)
        ]
        return np.concatenate([self._no_frames(), *pushed])

    def _choose(self, frame_probs: Floats) -> Floats:
        """Apply `top`, and keep the classes that were asked for."""
        top = self.config.top
        if frame_probs.size == 0:
            return self._no_frames()
        if top is not None and top < frame_probs.shape[1]:
            least = np.partition(frame_probs, -top, axis=1)[:, -top, None]
            frame_probs = np.where(frame_probs >= least, frame_probs, np.float32(0))
        return frame_probs[:, self._chosen]

    def _no_frames(self) -> Floats:
        return np.empty((0, len(self._chosen)), np.float32)

    def _no_columns(self) -> Floats:
        return np.empty((0, self.front_end.n_mels), np.float32)

    def _hop_columns(self, checkpoint: Checkpoint) -> int:
        hop, window = self.config.hop, checkpoint.window_columns
        if hop is None:
            return window // 2 if window % 2 == 0 else window
        try:
            columns = self.timeline.columns_from_seconds(hop)
        except ValueError as error:
            raise UsageError(f"hop: {error}") from error
        if window % columns:
            seconds = checkpoint.window_seconds
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


def tracker_config(
    checkpoint: Checkpoint, config: DetectorConfig, chosen: Sequence[int]
) -> TrackerConfig:
    """Return the thresholds of the checkpoint for the chosen classes, with what was asked for.

    Raises
    ------
    UsageError
        If `off` lies above `on`.
    """
    fitted = checkpoint.tracker

    def of_chosen(value: float | tuple[float, ...]) -> tuple[float, ...]:
        every = np.broadcast_to(np.asarray(value), len(checkpoint.labels))
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
