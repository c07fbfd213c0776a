r"""Frame probabilities to events: median filter, hysteresis, merging, minimum length.

::

    probability        ____
        on  ----------/----\------------------------    a run of frames at or above `off`
        off ---__---_/------\_---__-----------------    is an event if it reaches `on` once
               ‾‾   [  event  ]  ‾‾ (never reaches on)

Two events of one class with no more than the merge gap between them become one; what is then
shorter than the minimum length is dropped. An event is given out as soon as nothing that is still
to come can change it, and never changed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from sed.timeline import Timeline, seconds_from_samples
from sed.types import Floats


@dataclass(frozen=True)
class Event:
    """A sound that was heard: `label` from `onset` to `offset` seconds."""

    onset: float  # seconds from the start of the recording
    offset: float  # seconds; exclusive
    label: str
    score: float  # highest probability of a frame, after the median filter
    file: str = ""  # the recording, as it was named by the caller
    time: datetime | None = None  # of the onset on the calendar, with its zone, where it is known


@dataclass(frozen=True)
class TrackerConfig:
    """How probabilities become events. A tuple holds one value per class."""

    onset_threshold: float | tuple[float, ...] = 0.5  # a run of frames must reach this once
    offset_threshold: float | tuple[float, ...] = 0.25  # and lasts while it stays at or above this
    median_filter_frames: int | tuple[int, ...] = 1  # length of the median filter, odd; 1 is none
    min_duration_seconds: float = 0.0  # shorter events are dropped; rounded to frames
    min_gap_seconds: float = 0.0  # events no further apart are one; rounded to frames

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        on, off = np.atleast_1d(self.onset_threshold), np.atleast_1d(self.offset_threshold)
        if not (np.all((off > 0) & (on <= 1)) and np.all(off <= on)):
            raise ValueError(
                "expected 0 < offset_threshold <= onset_threshold <= 1, got onset_threshold "
                f"{self.onset_threshold} and offset_threshold {self.offset_threshold}"
            )
        if np.any(np.atleast_1d(self.median_filter_frames) % 2 == 0):
            raise ValueError(f"expected odd median_filter_frames, got {self.median_filter_frames}")
        if self.min_duration_seconds < 0 or self.min_gap_seconds < 0:
            raise ValueError("expected min_duration_seconds and min_gap_seconds >= 0")


class EventTracker:
    """Follows every class through time and gives out its events.

    Parameters
    ----------
    config
        Thresholds and lengths.
    labels
        One per class, in the order of the probabilities.
    timeline
        The grid that frames lie on.

    Raises
    ------
    ValueError
        If a tuple in the config is not as long as `labels`.
    """

    def __init__(self, config: TrackerConfig, labels: Sequence[str], timeline: Timeline) -> None:
        self.labels = tuple(labels)
        self.timeline = timeline
        self._on = self._per_class(config.onset_threshold, "onset_threshold").astype(np.float32)
        self._off = self._per_class(config.offset_threshold, "offset_threshold").astype(np.float32)
        medians = self._per_class(config.median_filter_frames, "median_filter_frames")
        self._median = MedianFilter(medians.astype(np.int64))
        self._min_frames = timeline.frames_from_seconds(config.min_duration_seconds)
        self.gap_frames = timeline.frames_from_seconds(config.min_gap_seconds)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame pushed is the first of a recording."""
        self._median.reset()
        self._n_frames = 0
        self._runs: list[_Run | None] = [None] * len(self.labels)  # at or above off right now
        self._held: list[_Run | None] = [None] * len(self.labels)  # an event a run may yet extend
        self._told = [-1] * len(self.labels)  # start of the last event that was told of as begun
        self._begun: list[tuple[int, _Run]] = []

    @property
    def half_median_frames(self) -> int:
        """Frames by which decisions lag behind what was pushed."""
        return self._median.half

    def push(self, frame_probs: Floats) -> list[Event]:
        """Take the next frames, shape (frames, classes); return the events they completed."""
        done = self._track(self._median.push(frame_probs))
        self._note_begun(done)
        return self._events(done)

    def started(self) -> list[Event]:
        """Return the events that are certain to come and were not returned here before.

        They have lasted at least to the offset told here; what `push` and `flush` give out later
        has the same onset.
        """
        begun, self._begun = self._begun, []
        return [self._event(c, run) for c, run in sorted(begun, key=lambda b: (b[1].start, b[0]))]

    def flush(self, end_sample: int | None = None) -> list[Event]:
        """End the recording; return the events still open, cut off at `end_sample` if given."""
        done = self._track(self._median.flush())
        for c, run in enumerate(self._runs):
            if run is not None:
                self._close(c, run, self._n_frames)
            if (held := self._held[c]) is not None:
                done.append((self._n_frames, c, held))
        self._note_begun(done)
        events, begun = self._events(done), self._begun
        self.reset()
        self._begun = begun
        if end_sample is None:
            return events
        end = seconds_from_samples(end_sample, self.timeline.sample_rate)
        return [Event(e.onset, min(e.offset, end), e.label, e.score) for e in events]

    def _track(self, probs: Floats) -> list[tuple[int, int, _Run]]:
        """Advance by filtered frames; return (frame of decision, class, run) of finished events."""
        if len(probs) == 0:
            return []
        first, self._n_frames = self._n_frames, self._n_frames + len(probs)
        active = probs >= self._off
        done: list[tuple[int, int, _Run]] = []
        awake = [(a or b) is not None for a, b in zip(self._runs, self._held, strict=True)]
        for c in np.flatnonzero(active.any(axis=0) | np.array(awake)).tolist():
            if (run := self._runs[c]) is not None and not active[0, c]:
                self._close(c, run, first)  # it ended where the last push did
            for start, stop in _runs_of(active[:, c]):
                peak = float(probs[start:stop, c].max())
                if start == 0 and (run := self._runs[c]) is not None:
                    run = _Run(run.start, first + stop, max(run.peak, peak))
                else:
                    run = _Run(first + start, first + stop, peak)
                    done += self._release(c, before=run.start)
                self._runs[c] = run
                if stop < len(probs):
                    self._close(c, run, run.stop)
            if self._runs[c] is None:
                done += self._release(c, before=self._n_frames)
        return done

    def _close(self, c: int, run: _Run, at: int) -> None:
        """End a run below `off`: it becomes the held event, extends it, or is nothing.

        A held event that is still there has waited for this run, so it lies within the gap.
        """
        self._runs[c] = None
        held = self._held[c]
        if run.peak < self._on[c]:
            self._held[c] = None if held is None else held.decided(at)
        elif held is None:
            self._held[c] = run
        else:
            self._held[c] = _Run(held.start, run.stop, max(held.peak, run.peak))

    def _release(self, c: int, before: int) -> list[tuple[int, int, _Run]]:
        """Give out the held event if no run starting at `before` or later could extend it."""
        held = self._held[c]
        if held is None or before - held.stop <= self.gap_frames:
            return []
        self._held[c] = None
        return [(max(held.decided_at, held.stop + self.gap_frames), c, held)]

    def _note_begun(self, done: list[tuple[int, int, _Run]]) -> None:
        """Note the events, done or not, that nothing can take back, each once."""
        certain = [(c, run) for _, c, run in done]
        for c, (run, held) in enumerate(zip(self._runs, self._held, strict=True)):
            if run is not None and run.peak >= self._on[c]:
                start, peak = (held.start, held.peak) if held else (run.start, run.peak)
                certain.append((c, _Run(start, run.stop, max(run.peak, peak))))
            elif held is not None:
                certain.append((c, held))
        for c, run in certain:
            if run.start > self._told[c] and self._is_long_enough(run):
                self._told[c] = run.start
                self._begun.append((c, run))

    def _events(self, done: list[tuple[int, int, _Run]]) -> list[Event]:
        """Sort by the frame of decision, which does not depend on how the frames were pushed."""
        done = [d for d in done if self._is_long_enough(d[2])]
        return [self._event(c, run) for _, c, run in sorted(done, key=lambda d: d[:2])]

    def _is_long_enough(self, run: _Run) -> bool:
        return run.stop - run.start >= self._min_frames

    def _event(self, c: int, run: _Run) -> Event:
        times = self.timeline.frame_time(run.start), self.timeline.frame_time(run.stop)
        return Event(*times, self.labels[c], run.peak)

    def _per_class(self, value: float | tuple[float, ...], name: str) -> NDArray[np.float64]:
        values = np.asarray(value, np.float64)
        if values.ndim and len(values) != len(self.labels):
            raise ValueError(
                f"expected one {name} for each of {len(self.labels)} classes, got {len(values)}"
            )
        return np.broadcast_to(values, (len(self.labels),))


@dataclass(frozen=True)
class _Run:
    """Frames [start, stop) of one class, and the highest probability among them."""

    start: int
    stop: int
    peak: float
    decided_at: int = 0  # first frame at which nothing could extend it any more, as far as known

    def decided(self, at: int) -> _Run:
        return _Run(self.start, self.stop, self.peak, max(self.decided_at, at))


def _runs_of(active: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield [start, stop) of each run of true values."""
    edges = np.flatnonzero(np.diff(active, prepend=False, append=False))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


class MedianFilter:
    """A running median over frames, of its own odd length for each class.

    Beyond its ends the recording is taken to go on as its first and last frame. Output lags input
    by half the longest filter.
    """

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self._lengths = lengths
        self.half = int(np.max(lengths, initial=1)) // 2
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._frames: Floats | None = None  # the last 2 · half frames

    def push(self, frames: Floats) -> Floats:
        """Take frames, shape (frames, classes); return those whose neighbours are all known."""
        if self.half == 0 or len(frames) == 0:
            return frames
        if self._frames is None:
            self._frames = np.repeat(frames[:1], self.half, axis=0)
        frames = np.concatenate([self._frames, frames])
        self._frames = frames[-2 * self.half :]
        return self._filter(frames)

    def flush(self) -> Floats:
        """Return the rest, and forget everything."""
        frames = self._frames
        self.reset()
        if frames is None:
            return np.empty((0, len(self._lengths)), np.float32)
        return self._filter(np.concatenate([frames, np.repeat(frames[-1:], self.half, axis=0)]))

    def _filter(self, frames: Floats) -> Floats:
        n = max(0, len(frames) - 2 * self.half)
        result = np.empty((n, frames.shape[1]), np.float32)
        for length in np.unique(self._lengths):
            classes = np.flatnonzero(self._lengths == length)
            margin = self.half - int(length) // 2
            part = frames[margin : margin + n + int(length) - 1, classes]
            if n:
                windows = np.lib.stride_tricks.sliding_window_view(part, int(length), axis=0)
                result[:, classes] = np.median(windows, axis=-1)
        return result


def track_events(
    frame_probs: Floats,
    labels: Sequence[str],
    timeline: Timeline,
    config: TrackerConfig | None = None,
) -> list[Event]:
    """Return the events in the frame probabilities of a whole recording, shape (frames, classes).

    This is the tracker, pushed once and flushed.
    """
    tracker = EventTracker(config or TrackerConfig(), labels, timeline)
    return tracker.push(np.asarray(frame_probs, np.float32)) + tracker.flush()


def with_timestamps(events: Iterable[Event], start: datetime | None) -> list[Event]:
    """Return events with the time of their onset, if it is known when the recording began.

    Seconds are added to the absolute time, so that no hour is lost when the clocks change. A time
    has its offset from UTC, as when it is read from a file, and not the name of a zone: of such
    times, Python calls none in an hour that comes twice equal to any other.
    """
    if start is None:
        return list(events)
    return [replace(event, time=_later(start, event.onset)) for event in events]


def _later(start: datetime, seconds: float) -> datetime:
    time = (start.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(start.tzinfo)
    return datetime.fromisoformat(time.isoformat())
