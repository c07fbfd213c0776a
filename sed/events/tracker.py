"""Decode events from frame probabilities: median filter, decoder, merging, minimum duration.

A decoder finds the events of a class: `sed.events.tracking.hysteresis`, or
`sed.events.tracking.change_detection`. Events shorter than the minimum duration are dropped. An
event is returned as soon as no later frame can change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from sed.events.hierarchy import Hierarchy
from sed.events.tracking.change_detection import WAIT_SECONDS, ChangeDetection
from sed.events.tracking.config import TrackerConfig
from sed.events.tracking.event_boxes import ChangeParameters
from sed.events.tracking.hysteresis import Hysteresis
from sed.events.tracking.mixed import FrameDecoder, MixedDecoder
from sed.events.tracking.specific import END, HOLD_SECONDS, REST_SECONDS, SpecificEvents
from sed.timeline import Timeline, seconds_from_samples
from sed.types import Floats

__all__ = ["Event", "EventTracker", "TrackerConfig", "track_events"]


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


class EventTracker:
    """Tracks events of all classes in a stream of frame probabilities.

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
        self._min_frames = self._frames(config, "min_duration_seconds")
        gaps = self._frames(config, "min_gap_seconds")
        self.gap_frames = max(gaps, default=0)
        ancestors = [] if hierarchy is None else hierarchy.ancestor_numbers(self.labels)
        self._specific: SpecificEvents | None = None
        if any(ancestors):
            rest = timeline.frames_from_seconds(REST_SECONDS)
            decoders = config.values("decoder", len(self.labels)).tolist()
            is_late = any(
                above and decoder == "change_detection"
                for above, decoder in zip(ancestors, decoders, strict=True)
            )
            self._specific = SpecificEvents(
                ancestors,
                timeline.frames_from_seconds(HOLD_SECONDS),
                [max(rest, shortest) for shortest in self._min_frames],
                timeline.frames_from_seconds(WAIT_SECONDS) if is_late else 0,
            )
        self._decoder = self._make_decoder(config, gaps)
        self.reset()

    def _make_decoder(self, config: TrackerConfig, gaps: list[int]) -> FrameDecoder:
        """Return what finds the events of all classes."""
        n_classes, traced = len(self.labels), self._specific is not None
        onsets = config.values("onset_threshold", n_classes).astype(np.float32)
        offsets = config.values("offset_threshold", n_classes).astype(np.float32)
        medians = config.values("median_filter_frames", n_classes).astype(np.int64)
        changing = config.values("decoder", n_classes) == "change_detection"
        own: list[int] = changing.nonzero()[0].tolist()
        hysteresis = Hysteresis(
            np.where(changing, np.float32(np.inf), onsets),
            np.where(changing, np.float32(np.inf), offsets),
            np.where(changing, 1, medians),
            self._min_frames,
            gaps,
            traced=traced,
        )
        if not own:
            return hysteresis
        wait = self.timeline.frames_from_seconds(WAIT_SECONDS)
        halves = [n // 2 for n in self._frames(config, "step_filter_seconds")]
        parameters = ChangeParameters(
            onsets[own],
            offsets[own],
            medians[own],
            np.maximum(1, halves)[own],
            config.values("merge_threshold_absolute", n_classes)[own],
            config.values("merge_threshold_relative", n_classes)[own],
            config.values("event_score", n_classes)[own] == "max",
            [self._min_frames[c] for c in own],
            [gaps[c] or -1 for c in own],
        )
        decoder = ChangeDetection(parameters, own, max(1, wait), traced=traced)
        self.gap_frames = max(self.gap_frames, 2 * wait + max(0, *parameters.gap_frames))
        return decoder if len(own) == n_classes else MixedDecoder(hysteresis, decoder, own)

    def reset(self) -> None:
        """Start a new recording."""
        self._decoder.reset()
        if self._specific is not None:
            self._specific.reset()
        self._started: list[tuple[int, int, int, float]] = []  # start, class, stop, peak

    @property
    def lag_frames(self) -> int:
        """Frames by which decisions lag behind the frames pushed."""
        return self._decoder.lag_frames

    @property
    def hold_frames(self) -> int:
        """Frames by which events wait for those of more specific classes; 0 without a hierarchy."""
        return 0 if self._specific is None else self._specific.decision_frames

    def push(self, frame_probs: Floats) -> list[Event]:
        """Add the next frames, shape (frames, classes); return the events that are now complete."""
        done = self._decoder.push(frame_probs)
        return self._report(done, self._decoder.n_frames)

    def started(self) -> list[Event]:
        """Return the events that have started since the last call and are certain to be returned.

        Each lasts at least until the offset given here. `push` or `flush` returns it later with
        the same onset.
        """
        started, self._started = sorted(self._started), []
        return [self._event(c, start, stop, peak) for start, c, stop, peak in started]

    def flush(self, end_sample: int | None = None) -> list[Event]:
        """End the recording; return the remaining events, cut off at `end_sample` if given."""
        done = self._decoder.flush()
        events, started = self._report(done, END), self._started
        self.reset()
        self._started = started
        if end_sample is None:
            return events
        end = seconds_from_samples(end_sample, self.timeline.sample_rate)
        return [Event(e.onset, min(e.offset, end), e.label, e.score) for e in events]

    def _report(self, done: list[Any], n_frames: int) -> list[Event]:
        """Note the events that have started; return those that are complete.

        Both are in an order that does not depend on block sizes.
        """
        live = self._decoder.live.values()
        if self._specific is not None:
            started, reported = self._specific.push(live, done, n_frames)
            self._started += [(e.reported_from, e.c, e.stop, e.peak) for e in started]
            return [self._event(e.c, e.reported_from, e.stop, e.peak) for e in reported]
        for event in (*done, *live):
            if not event.is_started and event.stop - event.start >= self._min_frames[event.c]:
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

    def _frames(self, config: TrackerConfig, name: str) -> list[int]:
        """Return a duration of each class in frames."""
        seconds = config.values(name, len(self.labels)).tolist()
        frames = {value: self.timeline.frames_from_seconds(value) for value in set(seconds)}
        return [frames[value] for value in seconds]


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
