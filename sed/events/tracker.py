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
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.events.hierarchy import Hierarchy
from sed.events.tracking.median_filter import MedianFilter
from sed.events.tracking.runs import LiveEvent, TracedEvent, find_runs
from sed.events.tracking.specific import END, HOLD_SECONDS, REST_SECONDS, SpecificEvents
from sed.timeline import Timeline, seconds_from_samples
from sed.types import Floats

FEW_CLASSES = 32  # up to so many are searched for runs without a further look
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
    hierarchy
        If given, only the most specific class of a sound is reported; see
        `sed.events.tracking.specific`.

    Raises
    ------
    ValueError
        If a tuple in the config is not as long as `labels`.
    """

    def __init__(
        self,
        config: TrackerConfig,
        labels: Sequence[str],
        timeline: Timeline,
        hierarchy: Hierarchy | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.timeline = timeline
        self._frame_samples, self._sample_rate = timeline.frame_samples, timeline.sample_rate
        self._onsets = self._per_class(config.onset_threshold, "onset_threshold").astype(np.float32)
        self._on: list[float] = self._onsets.tolist()
        self._off = self._per_class(config.offset_threshold, "offset_threshold").astype(np.float32)
        medians = self._per_class(config.median_filter_frames, "median_filter_frames")
        self._median = MedianFilter(medians.astype(np.int64))
        self._min_frames = timeline.frames_from_seconds(config.min_duration_seconds)
        self.gap_frames = timeline.frames_from_seconds(config.min_gap_seconds)
        ancestors = [] if hierarchy is None else hierarchy.ancestor_numbers(self.labels)
        self._specific: SpecificEvents | None = None
        if any(ancestors):
            self._specific = SpecificEvents(
                ancestors,
                timeline.frames_from_seconds(HOLD_SECONDS),
                max(timeline.frames_from_seconds(REST_SECONDS), self._min_frames),
            )
        self._new_event = LiveEvent if self._specific is None else TracedEvent
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._median.reset()
        if self._specific is not None:
            self._specific.reset()
        self._n_frames = 0
        # The classes that are at or above the offset threshold in the last frame, the runs that
        # they are in, and the events that a later run may extend.
        self._active = np.zeros(len(self.labels), bool)
        self._runs: dict[int, tuple[int, float]] = {}  # first frame and highest probability so far
        self._live: dict[int, Any] = {}  # made by _new_event
        self._started: list[tuple[int, int, int, float]] = []  # start, class, stop, peak

    @property
    def half_median_frames(self) -> int:
        """Frames by which decisions lag behind the frames pushed."""
        return self._median.half

    @property
    def hold_frames(self) -> int:
        """Frames by which events wait for those of more specific classes; 0 without a hierarchy."""
        return 0 if self._specific is None else self._specific.hold_frames

    def push(self, frame_probs: Floats) -> list[Event]:
        """Add the next frames, shape (frames, classes); return the events that are now complete."""
        done = self._track(self._median.extend(frame_probs))
        return self._report(done, self._n_frames)

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
        events, started = self._report(done, END), self._started
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
        classes = self._reached(frames, self._off, self._active).nonzero()[0]
        done: list[LiveEvent] = []
        if len(classes):
            frames = self._median.medians(frames.take(classes, axis=1), classes)
            off, was_active = self._off[classes], self._active[classes]
            if len(classes) > FEW_CLASSES:
                reached = self._reached(frames, off, was_active)
                frames, classes = frames.compress(reached, axis=1), classes[reached]
                off, was_active = off[reached], was_active[reached]
            onsets = None if self._specific is None else self._onsets[classes]
            is_active, runs = find_runs(frames, off, was_active, onsets)
            self._active[classes] = is_active
            done = self._add_runs(first, n, runs, classes.tolist())
        for live in list(self._live.values()):
            if n - live.stop > self.gap_frames and live.c not in self._runs:
                done.append(self._release(live))
        return done

    @staticmethod
    def _reached(frames: Floats, off: Floats, was_active: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which classes are active in any frame, or were in the one before."""
        reached: NDArray[np.bool_] = np.maximum.reduce(frames, axis=0) >= off
        reached |= was_active
        return reached

    def _add_runs(
        self,
        first: int,
        n: int,
        runs: Iterable[tuple[int, int, int, float, int]],
        classes: list[int],
    ) -> list[LiveEvent]:
        """Add the runs in the frames [first, n), of each class in the order of time.

        Returns
        -------
        The events that end.
        """
        done = []
        for column, start, stop, peak, reached in runs:
            c = classes[column]
            live = self._live.get(c)
            if start < 0:
                start, peak_before = self._runs.pop(c)
                peak = max(peak, peak_before)
                reached = -1 if peak_before >= self._on[c] else reached
            else:
                start += first
                if live is not None and start - live.stop > self.gap_frames:
                    done.append(self._release(live))
                    live = None
            stop += first
            if stop == n:
                self._runs[c] = start, peak
            if peak >= self._on[c]:
                if live is None:
                    live = self._live[c] = self._new_event(c, start, stop, peak)
                else:
                    live.stop, live.peak = stop, max(live.peak, peak)
                if isinstance(live, TracedEvent):
                    live.grow(first + reached, stop, self._min_frames)
            elif live is not None and stop < n:
                live.decided_at = stop
        return done

    def _release(self, live: LiveEvent) -> LiveEvent:
        """End an event that no run can extend any more."""
        del self._live[live.c]
        live.decided_at = max(live.decided_at, live.stop + self.gap_frames)
        return live

    def _report(self, done: list[Any], n_frames: int) -> list[Event]:
        """Note the events that have started; return those that are complete.

        Both are in an order that does not depend on block sizes.
        """
        live = self._live.values()
        if self._specific is not None:
            started, reported = self._specific.push(live, done, n_frames)
            self._started += [(e.reported_from, e.c, e.stop, e.peak) for e in started]
            return [self._event(e.c, e.reported_from, e.stop, e.peak) for e in reported]
        for event in (*done, *live):
            if not event.is_started and event.stop - event.start >= self._min_frames:
                event.is_started = True
                self._started.append((event.start, event.c, event.stop, event.peak))
        ended = [event for event in done if event.is_started]
        ended.sort(key=lambda event: (event.decided_at, event.c))
        return [self._event(e.c, e.start, e.stop, e.peak) for e in ended]

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
