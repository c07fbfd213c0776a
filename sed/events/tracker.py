r"""Decode events from frame probabilities: median filter, hysteresis, merging, minimum duration.

::

    probability                ____
    onset threshold  ---------/----\-----------------   an event is a run of frames at or above
    offset threshold ---__---/------\---__-----------   the offset threshold that reaches the
                            [ event  ]                  onset threshold at least once

Two events of one class that are no further apart than the minimum gap are merged; events that are
then shorter than the minimum duration are dropped. An event is returned as soon as no later frame
can change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from sed.events.median_filter import MedianFilter
from sed.events.runs import LiveEvent, find_runs
from sed.timeline import Timeline, seconds_from_samples
from sed.types import Floats

MAX_BLOCK = 256  # frames that are processed at once, so that they stay in the processor's cache


@dataclass(frozen=True)
class Event:
    """A detected sound.

    Attributes
    ----------
    onset, offset
        Start and end in seconds from the start of the recording.
    label
        Name of the class.
    score
        Highest frame probability, after the median filter.
    file
        Path of the recording, as given by the caller.
    time
        Time of day of the onset with its UTC offset; None if it is unknown.
    """

    onset: float
    offset: float
    label: str
    score: float
    file: str = ""
    time: datetime | None = None


@dataclass(frozen=True)
class TrackerConfig:
    """Thresholds and durations that turn frame probabilities into events.

    Attributes
    ----------
    onset_threshold
        Probability in (0, 1] that one frame of an event must reach. A tuple holds one value per
        class, also in the next two fields.
    offset_threshold
        An event lasts while the probability is at or above this.
    median_filter_frames
        Length of the median filter in frames, odd; 1 is no filter.
    min_duration_seconds
        Shorter events are dropped; rounded to frames.
    min_gap_seconds
        Events of a class that are no further apart than this are merged; rounded to frames.
    """

    onset_threshold: float | tuple[float, ...] = 0.5
    offset_threshold: float | tuple[float, ...] = 0.25
    median_filter_frames: int | tuple[int, ...] = 1
    min_duration_seconds: float = 0.0
    min_gap_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
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
    """Tracks events of all classes in a stream of frame probabilities.

    Frames are filtered, compared and searched for runs in whole arrays, and only for the classes
    that are active in them; what is done one by one are the runs and the events.

    Parameters
    ----------
    config
        Thresholds and durations.
    labels
        Names of the classes, in the order of the probabilities.
    timeline
        The grid of the frames.

    Raises
    ------
    ValueError
        If a tuple in the config is not as long as `labels`.
    """

    def __init__(self, config: TrackerConfig, labels: Sequence[str], timeline: Timeline) -> None:
        self.labels = tuple(labels)
        self.timeline = timeline
        self._frame_samples, self._sample_rate = timeline.frame_samples, timeline.sample_rate
        onsets = self._per_class(config.onset_threshold, "onset_threshold").astype(np.float32)
        self._on: list[float] = onsets.tolist()
        self._off = self._per_class(config.offset_threshold, "offset_threshold").astype(np.float32)
        medians = self._per_class(config.median_filter_frames, "median_filter_frames")
        self._median = MedianFilter(medians.astype(np.int64))
        self._min_frames = timeline.frames_from_seconds(config.min_duration_seconds)
        self.gap_frames = timeline.frames_from_seconds(config.min_gap_seconds)
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._median.reset()
        self._n_frames = 0
        # The classes that are at or above the offset threshold in the last frame, the runs that
        # they are in, and the events that a later run may extend.
        self._active = np.zeros(len(self.labels), bool)
        self._runs: dict[int, tuple[int, float]] = {}  # first frame and highest probability so far
        self._live: dict[int, LiveEvent] = {}
        self._started: list[tuple[int, int, int, float]] = []  # start, class, stop, peak

    @property
    def half_median_frames(self) -> int:
        """Frames by which decisions lag behind the frames pushed."""
        return self._median.half

    def push(self, frame_probs: Floats) -> list[Event]:
        """Add the next frames, shape (frames, classes); return the events that are now complete."""
        done = self._track(self._median.extend(frame_probs))
        self._update_started(done)
        return self._events(done)

    def started(self) -> list[Event]:
        """Return the events that have started since the last call and are certain to be returned.

        Each lasts at least until the offset given here. `push` or `flush` returns it later with
        the same onset.
        """
        started, self._started = sorted(self._started), []
        return [self._event(c, start, stop, peak) for start, c, stop, peak in started]

    def flush(self, end_sample: int | None = None) -> list[Event]:
        """End the recording; return the remaining events, cut off at `end_sample` if given."""
        done = self._track(self._median.extend_end())
        for live in self._live.values():
            live.decided_at = self._n_frames
        done += self._live.values()
        self._live = {}
        self._update_started(done)
        events, started = self._events(done), self._started
        self.reset()
        self._started = started
        if end_sample is None:
            return events
        end = seconds_from_samples(end_sample, self.timeline.sample_rate)
        return [Event(e.onset, min(e.offset, end), e.label, e.score) for e in events]

    def _track(self, frames: Floats) -> list[LiveEvent]:
        """Advance by frames that are not yet filtered; return the events that end."""
        margin, done = 2 * self._median.half, []
        for first in range(0, len(frames) - margin, MAX_BLOCK):
            done += self._track_block(frames[first : first + MAX_BLOCK + margin])
        return done

    def _track_block(self, frames: Floats) -> list[LiveEvent]:
        """Advance by a block of frames with half a filter of neighbours on both sides."""
        first = self._n_frames
        n = self._n_frames = first + len(frames) - 2 * self._median.half
        # A median reaches a threshold only where one of its values does, and often not there.
        classes = self._reached(frames, None)
        if self._median.half and len(classes):
            frames = self._median.medians(frames.take(classes, axis=1), classes)
            reached = self._reached(frames, classes)
            frames, classes = frames.take(reached, axis=1), classes[reached]
        elif len(classes):
            frames = frames.take(classes, axis=1)
        done: list[LiveEvent] = []
        if len(classes):
            active = frames >= self._off[classes]
            runs = find_runs(frames, active, self._active[classes], classes)
            self._active[classes] = active[-1]
            done = self._add_runs(first, runs)
        for live in list(self._live.values()):
            if n - live.stop > self.gap_frames and live.c not in self._runs:
                done.append(self._release(live))
        return done

    def _reached(self, frames: Floats, classes: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return the columns of the classes that are active in any frame, or in the one before."""
        off, was_active = self._off, self._active
        if classes is not None:
            off, was_active = off[classes], was_active[classes]
        reached = np.maximum.reduce(frames, axis=0) >= off
        reached |= was_active
        columns: NDArray[np.int64] = reached.nonzero()[0]
        return columns

    def _add_runs(
        self, first: int, runs: Iterable[tuple[int, int, int, float, bool]]
    ) -> list[LiveEvent]:
        """Add the runs of a block, those of each class in the order of time; return what ends."""
        done = []
        for c, start, stop, peak, is_open in runs:
            live = self._live.get(c)
            if start < 0:
                start, peak_before = self._runs.pop(c)
                peak = max(peak, peak_before)
            else:
                start += first
                if live is not None and start - live.stop > self.gap_frames:
                    done.append(self._release(live))
                    live = None
            stop += first
            if is_open:
                self._runs[c] = start, peak
            if peak >= self._on[c]:
                if live is None:
                    self._live[c] = LiveEvent(c, start, stop, peak)
                else:
                    live.stop, live.peak = stop, max(live.peak, peak)
            elif live is not None and not is_open:
                live.decided_at = stop
        return done

    def _release(self, live: LiveEvent) -> LiveEvent:
        """End an event that no run can extend any more."""
        del self._live[live.c]
        live.decided_at = max(live.decided_at, live.stop + self.gap_frames)
        return live

    def _update_started(self, done: Iterable[LiveEvent]) -> None:
        """Note the events, done or not, that nothing can take back, each once."""
        for live in (*done, *self._live.values()):
            if not live.is_started and live.stop - live.start >= self._min_frames:
                live.is_started = True
                self._started.append((live.start, live.c, live.stop, live.peak))

    def _events(self, done: Iterable[LiveEvent]) -> list[Event]:
        """Return events sorted by the frame of decision, which does not depend on block sizes."""
        long_enough = [live for live in done if live.stop - live.start >= self._min_frames]
        long_enough.sort(key=lambda live: (live.decided_at, live.c))
        return [self._event(live.c, live.start, live.stop, live.peak) for live in long_enough]

    def _event(self, c: int, start: int, stop: int, peak: float) -> Event:
        # What `Timeline.frame_time` computes.
        onset = start * self._frame_samples / self._sample_rate
        offset = stop * self._frame_samples / self._sample_rate
        return Event(onset, offset, self.labels[c], peak)

    def _per_class(self, value: float | tuple[float, ...], name: str) -> NDArray[np.float64]:
        values = np.asarray(value, np.float64)
        if values.ndim and len(values) != len(self.labels):
            raise ValueError(
                f"expected one {name} for each of {len(self.labels)} classes, got {len(values)}"
            )
        return np.broadcast_to(values, (len(self.labels),))


def track_events(
    frame_probs: Floats,
    labels: Sequence[str],
    timeline: Timeline,
    config: TrackerConfig | None = None,
) -> list[Event]:
    """Return the events in the frame probabilities of a whole recording, with an `EventTracker`.

    Parameters
    ----------
    frame_probs
        Shape (frames, classes).
    labels
        Names of the classes.
    timeline
        The grid of the frames.
    config
        Thresholds and durations; the defaults if not given.

    Raises
    ------
    ValueError
        If a tuple in the config is not as long as `labels`.
    """
    tracker = EventTracker(config or TrackerConfig(), labels, timeline)
    return tracker.push(np.asarray(frame_probs, np.float32)) + tracker.flush()


def with_timestamps(events: Iterable[Event], start: datetime | None) -> list[Event]:
    """Return events with the time of day of their onsets, given the start of the recording.

    Seconds are added in UTC, so that a change of the clocks does not shift events. Times have a
    fixed UTC offset, as when read from a file, and not a named zone: in Python, a time of a named
    zone in an hour that occurs twice equals no time of another zone.

    Parameters
    ----------
    events
        Events of one recording.
    start
        Start time with its zone; None if it is unknown, then events are returned unchanged.
    """
    if start is None:
        return list(events)
    return [replace(event, time=_later(start, event.onset)) for event in events]


def _later(start: datetime, seconds: float) -> datetime:
    time = (start.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(start.tzinfo)
    return datetime.fromisoformat(time.isoformat())
