"""Find the events of one class with many settings at once.

They are those that `sed.events.tracker.EventTracker` finds. All runs of frames at or above an
offset threshold are searched for once, for all onset thresholds, gaps and durations; so is what
change detection finds with any score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import EventTracker, TrackerConfig
from sed.events.tracking.median_filter import MedianFilter
from sed.timeline import Timeline
from sed.types import Floats
from train.tune.labelled import Stretch
from train.tune.settings import Setting


class Found(NamedTuple):
    """Events of all settings of a class, arrays of the shape (events,).

    `setting` and `stretch` are numbers, `onset` and `offset` seconds from the start of the stretch.
    """

    setting: NDArray[np.int64]
    stretch: NDArray[np.int64]
    onset: NDArray[np.float64]
    offset: NDArray[np.float64]
    score: Floats


class Parts(NamedTuple):
    """What events are made of: frames [start, stop) and the highest probability or the score."""

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    peak: Floats


class ClassSignal:
    """The frames of a class in all stretches, without those where it is certainly quiet.

    Parameters
    ----------
    stretches
        Where the frames are.
    number
        Number of the class.
    settings
        What it will be searched with.
    timeline
        The grid of the frames.
    """

    def __init__(
        self,
        stretches: Sequence[Stretch],
        number: int,
        settings: Sequence[Setting],
        timeline: Timeline,
    ) -> None:
        self._timeline = timeline
        self._seconds = np.array([one.seconds for one in stretches])
        least = np.float32(min(one.offset_threshold for one in settings))
        pad = _pad_frames(settings, timeline)
        pieces, stretch_of, shift_of, starts = [np.zeros(pad, np.float32)], [-1], [0], [0]
        n = pad
        for i, one in enumerate(stretches):
            column = one.probs[:, number]
            for first, last in _active_spans(column >= least, pad):
                starts.append(n)
                stretch_of.append(i)
                shift_of.append(first - n)
                # Quiet on both sides, so that nothing reaches from one piece into another.
                pieces += [column[first:last], np.zeros(2 * pad, np.float32)]
                n += last - first + 2 * pad
        self._values: Floats = np.concatenate(pieces)
        self._starts = np.array(starts)
        self._stretch = np.array(stretch_of)
        self._shift = np.array(shift_of)
        self._filtered: dict[int, Floats] = {}
        self._runs: dict[tuple[int, float], Parts] = {}
        self._boxes: dict[Setting, Parts] = {}

    def find(self, settings: Sequence[Setting]) -> Found:
        """Return the events of all settings."""
        self._find_boxes(settings)
        combined: dict[tuple[int, float, int], Parts] = {}
        lasting: dict[tuple[int, float, int, int], Parts] = {}
        frames = cache(self._timeline.frames_from_seconds)
        parts = []
        for one in settings:
            gap = frames(one.min_gap_seconds)
            if one.decoder == "hysteresis":
                found = self._runs_of(one.median_filter_frames, one.offset_threshold)
            else:
                found, gap = self._boxes[_box_setting(one)], gap or -1
            key = id(found), one.onset_threshold, gap
            if key not in combined:
                combined[key] = _merged(found, np.float32(one.onset_threshold), gap)
            shortest = frames(one.min_duration_seconds)
            if (*key, shortest) not in lasting:
                joined = combined[key]
                long = joined.stop - joined.start >= shortest
                lasting[*key, shortest] = Parts(
                    joined.start[long], joined.stop[long], joined.peak[long]
                )
            parts.append(lasting[*key, shortest])
        numbers = np.repeat(np.arange(len(parts)), [len(one.start) for one in parts])
        start, stop, peak = (np.concatenate(column) for column in zip(*parts, strict=True))
        piece = np.searchsorted(self._starts, start, "right") - 1
        stretch, shift = self._stretch[piece], self._shift[piece]
        step = self._timeline.frame_seconds
        onset, offset = (start + shift) * step, (stop + shift) * step
        offset = np.minimum(offset, self._seconds[stretch])
        return Found(numbers, stretch, onset, offset, peak)

    def _runs_of(self, median: int, offset: float) -> Parts:
        """Return the runs at or above an offset threshold."""
        if (median, offset) not in self._runs:
            if median not in self._filtered:
                frames = self._values[:, None]
                lengths = MedianFilter(np.array([median], np.int64))
                whole = np.concatenate([lengths.push(frames), lengths.flush()])
                self._filtered[median] = whole[:, 0]
            values = self._filtered[median]
            active = np.concatenate([[False], values >= np.float32(offset), [False]])
            edges = np.flatnonzero(active[1:] != active[:-1])
            start, stop = edges[::2], edges[1::2]
            peak = (
                np.maximum.reduceat(values, edges[edges < len(values)])[::2]
                if len(edges)
                else (np.empty(0, np.float32))
            )
            self._runs[median, offset] = Parts(start, stop, peak)
        return self._runs[median, offset]

    def _find_boxes(self, settings: Sequence[Setting]) -> None:
        """Find the events of change detection of all scores, of all settings in one go."""
        wanted = list(
            dict.fromkeys(
                _box_setting(one) for one in settings if one.decoder == "change_detection"
            )
        )
        wanted = [one for one in wanted if one not in self._boxes]
        if not wanted:
            return
        columns = {
            name: tuple(column)
            for name, column in zip(Setting._fields, zip(*wanted, strict=True), strict=True)
        }
        names = [str(i) for i in range(len(wanted))]
        tracker = EventTracker(TrackerConfig(**columns), names, self._timeline)
        frames = np.ascontiguousarray(
            np.broadcast_to(self._values[:, None], (len(self._values), len(wanted)))
        )
        rows: list[list[tuple[int, int, float]]] = [[] for _ in wanted]
        step = self._timeline.frame_seconds
        for event in (*tracker.push(frames), *tracker.flush()):
            span = round(event.onset / step), round(event.offset / step)
            rows[int(event.label)].append((*span, event.score))
        for one, own in zip(wanted, rows, strict=True):
            table = np.array(sorted(own), np.float64).reshape(-1, 3)
            self._boxes[one] = Parts(
                table[:, 0].astype(np.int64),
                table[:, 1].astype(np.int64),
                table[:, 2].astype(np.float32),
            )


def _box_setting(one: Setting) -> Setting:
    """Return what finds the events of all scores, of any length."""
    return one._replace(
        onset_threshold=one.offset_threshold, min_duration_seconds=0.0, min_gap_seconds=0.0
    )


def _merged(parts: Parts, onset: np.float32, gap: int) -> Parts:
    """Return the parts that reach the onset threshold; those near each other become one."""
    high = parts.peak >= onset
    start, stop, peak = parts.start[high], parts.stop[high], parts.peak[high]
    if len(start) < 2:
        return Parts(start, stop, peak)
    firsts = np.flatnonzero(np.concatenate([[True], start[1:] - stop[:-1] > gap]))
    lasts = np.append(firsts[1:], len(start)) - 1
    return Parts(start[firsts], stop[lasts], np.maximum.reduceat(peak, firsts))


def _pad_frames(settings: Sequence[Setting], timeline: Timeline) -> int:
    """Return how far a setting looks beyond frames at or above its offset threshold."""
    gap = max(one.min_gap_seconds for one in settings)
    step = max(one.step_filter_seconds for one in settings)
    median = max(one.median_filter_frames for one in settings)
    return timeline.frames_from_seconds(gap) + timeline.frames_from_seconds(step) + median + 2


def _active_spans(active: NDArray[np.bool_], pad: int) -> Iterator[tuple[int, int]]:
    """Yield [first, last) frames around active ones, with so many beside them."""
    places = np.flatnonzero(active)
    if not len(places):
        return
    breaks = np.flatnonzero(np.diff(places) > 2 * pad)
    firsts = places[np.concatenate([[0], breaks + 1])]
    lasts = places[np.concatenate([breaks, [len(places) - 1]])]
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield max(0, first - pad), min(len(active), last + 1 + pad)
