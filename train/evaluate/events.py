"""Score the events that models find in clips whose labels have times."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sed.events.event_table import EventTable
from sed.events.hierarchy import Hierarchy
from sed.events.reading.frames import FrameScores
from sed.events.scoring.score import Score
from sed.events.scoring.score import score as score_events
from sed.events.tracker import Event, EventTracker, TrackerConfig, track_events
from sed.text import pluralize, printable, some
from sed.timeline import Timeline
from sed.types import Floats
from train.config.optim import EVENT_METRICS
from train.data.clips import Clip
from train.evaluate.ensemble import WindowPrediction

_logger = logging.getLogger("sed.evaluate")


class ClipFrames:
    """Collects the frame probabilities of clips that have events.

    Parameters
    ----------
    clips
        All clips that are predicted.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self._windows: dict[int, list[WindowPrediction]] = {}

    def add(self, window: WindowPrediction) -> None:
        """Take the next window of a clip."""
        if self._clips[window.source].events is not None:
            self._windows.setdefault(window.source, []).append(window)

    def scores(self, labels: Sequence[str]) -> dict[int, FrameScores]:
        """Return the frame probabilities of each clip that has events, by its number."""
        return {
            i: _joined(clip_key(i, self._clips[i]), labels, windows)
            for i, windows in self._windows.items()
        }


def clip_key(number: int, clip: Clip) -> str:
    """Return a name for a clip, since several may be of one file."""
    return f"{number}:{clip.path}"


def _joined(name: str, labels: Sequence[str], windows: Sequence[WindowPrediction]) -> FrameScores:
    """Return consecutive windows as one row of frames; a frame ends where the next begins."""
    starts = np.concatenate([window.frame_edges[:-1] for window in windows])
    edges = np.append(starts, windows[-1].frame_edges[-1])
    probs = np.concatenate([window.frame_probs for window in windows])
    return FrameScores(name, tuple(labels), np.maximum.accumulate(edges), probs)


def score_clips(
    clips: Sequence[Clip],
    frames: dict[int, FrameScores],
    *,
    config: TrackerConfig,
    timeline: Timeline,
    hierarchy: Hierarchy | None = None,
) -> tuple[Score, EventTable] | None:
    """Score the events in clips.

    Parameters
    ----------
    clips
        All clips; those without events count as clips in which nothing is.
    frames
        Frame probabilities of clips by their numbers, see `ClipFrames`.
    config, timeline, hierarchy
        How the model decodes events.

    Returns
    -------
    The metrics, and the detections, whose recordings are the keys of clips; None if there are no
    reference events.
    """
    truth = [
        replace(event, file=one.file)
        for i, one in frames.items()
        for event in clips[i].events or ()
        if event.label in one.labels
    ]
    if not truth:
        return None
    found: list[Event] = []
    durations = {one.file: float(one.edges[-1]) for one in frames.values()}
    tracker = EventTracker(config, next(iter(frames.values())).labels, timeline, hierarchy)
    for one in frames.values():
        events = tracker.push(one.probs) + tracker.flush()
        # The tracker counts in whole frames; the last one of each window is shorter.
        numbers = np.arange(len(one.edges))
        for event in events:
            at = np.array([event.onset, event.offset]) / timeline.frame_seconds
            onset, offset = np.interp(at, numbers, one.edges).tolist()
            found.append(replace(event, onset=max(0.0, onset), offset=offset, file=one.file))
    detections = EventTable.of_events(found)
    figures = score_events(
        EventTable.of_events(truth),
        list(frames.values()),
        durations=durations,
        detections=detections,
    )
    return figures, detections


def warn_of_short_events(clips: Sequence[Clip], frame_seconds: float) -> None:
    """Log how many labelled events are shorter than two frames, which a model cannot time."""
    short = [
        event.label
        for clip in clips
        for event in clip.events or ()
        if event.offset - event.onset < 2 * frame_seconds
    ]
    if short:
        n_events = sum(len(clip.events or ()) for clip in clips)
        classes = [printable(label) for label, _ in Counter(short).most_common()]
        _logger.warning(
            "%s of %s shorter than two frames of the model (%.3g s), so that their times cannot "
            "be right: %s. A model with shorter frames would find them better.",
            pluralize(len(short), "event"),
            f"{n_events:,} are" if len(short) > 1 else f"{n_events:,} is",
            2 * frame_seconds,
            some(classes, 5),
        )


def frame_event_metrics(
    frame_targets: NDArray[np.floating],
    frame_probs: Floats,
    *,
    labels: Sequence[str],
    timeline: Timeline,
    config: TrackerConfig,
    hierarchy: Hierarchy | None = None,
) -> dict[str, float]:
    """Return the metrics of events in windows; labels are active in whole frames.

    Parameters
    ----------
    frame_targets
        Whether a class is active in a frame, shape (windows, frames, classes).
    frame_probs
        The same shape.
    labels
        Names of the classes.
    timeline, config, hierarchy
        How the model decodes events.

    Returns
    -------
    The macro event, segment and intersection F1, and both PSDS, by the names of `EVENT_METRICS`;
    NaN if no class is active.
    """
    edges = np.arange(frame_targets.shape[1] + 1) * timeline.frame_seconds
    truth = TrackerConfig(0.5, 0.5)
    clips, frames = [], {}
    for i, (targets, probs) in enumerate(zip(frame_targets, frame_probs, strict=True)):
        events = track_events(targets.astype(np.float32), labels, timeline, truth)
        names = tuple(event.label for event in events)
        clips.append(Clip(str(i), names, str(i), events=tuple(events)))
        frames[i] = FrameScores(clip_key(i, clips[i]), tuple(labels), edges, probs)
    scored = score_clips(clips, frames, config=config, timeline=timeline, hierarchy=hierarchy)
    if scored is None:
        return dict.fromkeys(EVENT_METRICS, float("nan"))
    score, _ = scored
    return {
        "event_f1": score.events.macro("f1"),
        "segment_f1": score.segments.macro("f1"),
        "intersection_f1": score.intersections.macro("f1"),
        "psds1": score.psds1.score,
        "psds2": score.psds2.score,
    }
