r"""Set a threshold for each class so that false events are rare, from labelled clips.

::

    clips in sequence ─ model ─▶ frame probabilities ─ median filter ─▶ peaks of possible events
    labels of the clips ─▶ where a class is certainly absent, where it is present

A threshold for one false event per hour needs more than an hour of sound without the class, and
there are four at most. So three things have to hold: the events counted at the threshold, plus one,
are no more than allowed; the rate that an exponential tail fitted to the highest peaks (in logits)
predicts is no more than allowed (peaks over threshold, Pickands 1975, with shape 0); and the event
tracker itself finds no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import EventTracker, TrackerConfig
from sed.events.tracking.median_filter import MedianFilter
from sed.timeline import Timeline
from sed.types import Floats
from train.distill.event_peaks import EventPeaks, event_peaks
from train.distill.labelled_frames import LabelledFrames, absent_frames, marked_frames

Rule = Literal["best F1", "false events", "lowest", "background"]

_BLOCK_FRAMES = 4096  # that are filtered together
_RAISED_LOGIT = 0.25  # by which a threshold rises where the tracker finds too many events


@dataclass(frozen=True)
class ThresholdConfig:
    """How thresholds are set.

    Attributes
    ----------
    false_per_hour
        The false events of a class that are allowed in an hour.
    lowest
        Lowest threshold of a class of which there are no positive clips: the sound at hand is a
        small part of all sound.
    lowest_labelled
        Lowest threshold of a class of which there are positive clips.
    highest
        Highest threshold.
    offset_ratio
        Offset threshold over onset threshold.
    tail_peaks
        The highest peaks that the tail is fitted to.
    margin_seconds
        Length beside a clip that may have a class in which its absence is not certain.
    """

    false_per_hour: float = 1.0
    lowest: float = 0.2
    lowest_labelled: float = 0.2
    highest: float = 0.995
    offset_ratio: float = 0.3
    tail_peaks: int = 10
    margin_seconds: float = 1.0


@dataclass(frozen=True)
class ClassThreshold:
    """The threshold of a class, and what it rests on.

    Attributes
    ----------
    label
        Name of the class.
    onset
        The onset threshold.
    rule
        `best F1` where positive clips that are found decided; `false events` where the allowed
        rate of these did; `lowest` where even the lowest threshold allowed gives no more;
        `background` for a class that may be in any clip: then all sound counts as without it.
    hours
        Length of the sound without the class.
    n_false
        False events of the event tracker in it.
    n_positive, n_found
        Clips with the class, and those of them in which its score reaches the threshold.
    """

    label: str
    onset: float
    rule: Rule
    hours: float
    n_false: int
    n_positive: int
    n_found: int


def rare_threshold(peaks: EventPeaks, hours: float, config: ThresholdConfig) -> float:
    """Return the lowest threshold at which false events are no more frequent than allowed.

    It may be above 1 - 1e-6 if no threshold is high enough, and is 0 if any threshold is.

    Parameters
    ----------
    peaks
        Of the sound without the class.
    hours
        Length of that sound.
    config
        The allowed rate and the tail.
    """
    if not len(peaks.heights):
        return 0.0
    heights = _logit(peaks.heights)
    too_many = np.flatnonzero(peaks.n_events(peaks.heights) > n_allowed(hours, config))
    by_count = -np.inf
    if len(too_many):
        last = heights[too_many[0]]
        higher = heights[heights > last]
        by_count = (last + higher.min()) / 2 if len(higher) else last + _RAISED_LOGIT
    n = min(config.tail_peaks, len(heights) - 1)
    by_tail = -np.inf
    if n > 1:
        excess = float(np.mean(heights[:n] - heights[n]))
        by_tail = heights[n] + excess * np.log(n / (hours * config.false_per_hour))
    return _sigmoid(max(by_count, by_tail))


def n_allowed(hours: float, config: ThresholdConfig) -> int:
    """Return the false events that may be counted: one less than the rate allows, at least 0."""
    return max(0, int(hours * config.false_per_hour) - 1)


def best_threshold(scores: Floats, peaks: EventPeaks, lowest: float) -> float:
    """Return the threshold from `lowest` on with the highest F1.

    Found clips, missed clips and false events count. Where a range of thresholds has the same
    counts, its middle in logits is returned; `lowest` if no threshold finds a clip.

    Parameters
    ----------
    scores
        Highest probability in each positive clip, shape (clips,).
    peaks
        Of the sound without the class.
    lowest
        Lower bound.
    """
    steps = np.unique(np.concatenate([scores, peaks.heights, peaks.joins, [lowest]]))
    steps = steps[steps >= lowest]
    found = (scores[:, None] >= steps).sum(axis=0)
    f1 = 2 * found / (found + peaks.n_events(steps) + len(scores))
    best = int(np.argmax(f1 + np.arange(len(f1)) * 1e-12))  # the highest of equal ones
    if best == 0 or f1[best] == 0:
        return lowest
    return _sigmoid(float(_logit(steps[best - 1 : best + 1]).mean()))


def fit_class_thresholds(
    frame_probs: Floats,
    clips: Sequence[LabelledFrames],
    labels: Sequence[str],
    timeline: Timeline,
    tracker: TrackerConfig,
    config: ThresholdConfig | None = None,
) -> tuple[list[ClassThreshold], TrackerConfig]:
    """Set the threshold of every class.

    Events are counted without the hierarchy of the classes, which only removes some.

    Parameters
    ----------
    frame_probs
        What the model gives for the clips in sequence, shape (frames, classes).
    clips
        Their frames and labels.
    labels
        Names of the classes.
    timeline
        Grid of the frames.
    tracker
        The median filter, durations and gaps that events are found with.
    config
        How thresholds are set.

    Returns
    -------
    list[ClassThreshold], TrackerConfig
        One threshold per class, and `tracker` with all of them.
    """
    config = config or ThresholdConfig()
    margin = timeline.frames_from_seconds(config.margin_seconds)
    absent = absent_frames(clips, labels, len(frame_probs), margin)
    background = absent.sum(axis=0) <= len(absent) // 100
    present = marked_frames(clips, labels, len(frame_probs), "present")
    absent[:, background] = ~present[:, background]
    filtered = _filtered(frame_probs, tracker, len(labels))
    gaps = tracker.values("min_gap_seconds", len(labels)).tolist()
    frame_hours = timeline.frame_seconds / 3600
    fitted, scores = [], []
    for c, label in enumerate(labels):
        probs, here = filtered[:, c], [one for one in clips if label in one.present]
        scores += [np.array([probs[one.first : one.last].max() for one in here], np.float32)]
        threshold = _class_threshold(
            label,
            probs,
            absent[:, c],
            scores[c],
            frame_hours,
            timeline.frames_from_seconds(gaps[c]),
            config,
        )
        fitted += [replace(threshold, rule="background") if background[c] else threshold]
    masked = np.where(absent, frame_probs, 0).astype(np.float32)
    fitted = [
        replace(one, n_found=int((of_class >= one.onset).sum()))
        for one, of_class in zip(
            _raised(fitted, masked, timeline, tracker, config), scores, strict=True
        )
    ]
    return fitted, with_onsets(tracker, fitted, config)


def _class_threshold(
    label: str,
    probs: Floats,
    absent: NDArray[np.bool_],
    scores: Floats,
    frame_hours: float,
    gap_frames: int,
    config: ThresholdConfig,
) -> ClassThreshold:
    """Set the threshold of one class, from frames where it is absent and scores of positive clips.

    The tracker's false events and the clips found are not counted here.
    """
    hours = float(absent.sum()) * frame_hours
    lowest = config.lowest_labelled if len(scores) else config.lowest
    peaks = event_peaks(
        np.where(absent, probs, 0), config.offset_ratio, gap_frames=gap_frames, lowest=lowest / 4
    )
    rare = rare_threshold(peaks, hours, config)
    onset = max(rare, lowest)
    rule: Rule = "false events" if rare > lowest else "lowest"
    if len(scores):
        best = best_threshold(scores, peaks, onset)
        is_found = bool((scores >= best).any())
        rule = "best F1" if is_found and (best > onset or rule == "lowest") else rule
        onset = best
    onset = min(onset, config.highest)
    return ClassThreshold(label, onset, rule, hours, 0, len(scores), 0)


def with_onsets(
    tracker: TrackerConfig, thresholds: Sequence[ClassThreshold], config: ThresholdConfig
) -> TrackerConfig:
    """Return a config with an onset threshold per class, and its offset thresholds."""
    return replace(
        tracker,
        onset_threshold=tuple(round(one.onset, 4) for one in thresholds),
        offset_threshold=tuple(round(one.onset * config.offset_ratio, 4) for one in thresholds),
    )


def _raised(
    thresholds: list[ClassThreshold],
    masked: Floats,
    timeline: Timeline,
    tracker: TrackerConfig,
    config: ThresholdConfig,
) -> list[ClassThreshold]:
    """Raise thresholds until the event tracker finds no more false events than allowed; count them.

    `masked` are probabilities of shape (frames, classes), 0 where a class may be present.
    """
    labels = [one.label for one in thresholds]
    while True:
        events = EventTracker(with_onsets(tracker, thresholds, config), labels, timeline)
        found = [
            event.label
            for first in range(0, len(masked), _BLOCK_FRAMES)
            for event in events.push(masked[first : first + _BLOCK_FRAMES])
        ]
        counts = Counter([*found, *(event.label for event in events.flush())])
        thresholds = [replace(one, n_false=counts[one.label]) for one in thresholds]
        low = [
            one.n_false > n_allowed(one.hours, config) and one.onset < config.highest
            for one in thresholds
        ]
        if not any(low):
            return thresholds
        thresholds = [
            _higher(one, config) if is_low else one
            for one, is_low in zip(thresholds, low, strict=True)
        ]


def _higher(one: ClassThreshold, config: ThresholdConfig) -> ClassThreshold:
    onset = _sigmoid(float(_logit(np.float32(one.onset))) + _RAISED_LOGIT)
    return replace(one, onset=min(onset, config.highest))


def _filtered(frame_probs: Floats, tracker: TrackerConfig, n_classes: int) -> Floats:
    lengths = np.broadcast_to(np.asarray(tracker.median_filter_frames, np.int64), (n_classes,))
    median = MedianFilter(lengths)
    starts = range(0, len(frame_probs), _BLOCK_FRAMES)
    parts = [median.push(frame_probs[first : first + _BLOCK_FRAMES]) for first in starts]
    return np.concatenate([*parts, median.flush()])


def _logit(probs: Floats | np.float32) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(probs, np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped / (1 - clipped))


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))
