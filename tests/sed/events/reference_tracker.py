"""The event tracker as it was first written, class by class, as a reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import Event, TrackerConfig
from sed.timeline import Timeline, seconds_from_samples
from sed.types import Floats


class ReferenceMedian:
    """A running median over frames, of an odd length per class.

    The first and the last frame are repeated at the edges. Output lags input by half the longest
    filter.

    Parameters
    ----------
    lengths
        Frames, shape (classes,).
    """

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self._lengths = lengths
        self.half = int(np.max(lengths, initial=1)) // 2
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._frames: Floats | None = None  # the last 2 · half frames

    def push(self, frames: Floats) -> Floats:
        """Add frames, shape (frames, classes); return those whose neighbours are all known."""
        if self.half == 0 or len(frames) == 0:
            return frames
        if self._frames is None:
            self._frames = np.repeat(frames[:1], self.half, axis=0)
        frames = np.concatenate([self._frames, frames])
        self._frames = frames[-2 * self.half :]
        return self._filter(frames)

    def flush(self) -> Floats:
        """Return the remaining frames, shape (frames, classes), and start a new recording."""
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


class ReferenceTracker:
    """Tracks events of all classes in a stream of frame probabilities.

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
        self._on = self._per_class(config.onset_threshold, "onset_threshold").astype(np.float32)
        self._off = self._per_class(config.offset_threshold, "offset_threshold").astype(np.float32)
        medians = self._per_class(config.median_filter_frames, "median_filter_frames")
        self._median = ReferenceMedian(medians.astype(np.int64))
        self._min_frames, self.gap_frames = (
            [timeline.frames_from_seconds(s) for s in self._per_class(seconds, name).tolist()]
            for seconds, name in (
                (config.min_duration_seconds, "min_duration_seconds"),
                (config.min_gap_seconds, "min_gap_seconds"),
            )
        )
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._median.reset()
        self._n_frames = 0
        n_classes = len(self.labels)
        # Of each class: the run that is now at or above the offset threshold, and the event that a
        # later run may extend.
        self._runs: list[_Run | None] = [None] * n_classes
        self._held: list[_Run | None] = [None] * n_classes
        self._last_started = [-1] * len(self.labels)  # first frame of the last event in _started
        self._started: list[tuple[int, _Run]] = []

    @property
    def half_median_frames(self) -> int:
        """Frames by which decisions lag behind the frames pushed."""
        return self._median.half

    def push(self, frame_probs: Floats) -> list[Event]:
        """Add the next frames, shape (frames, classes); return the events that are now complete."""
        done = self._track(self._median.push(frame_probs))
        self._update_started(done)
        return self._events(done)

    def started(self) -> list[Event]:
        """Return the events that have started since the last call and are certain to be returned.

        Each lasts at least until the offset given here. `push` or `flush` returns it later with
        the same onset.
        """
        runs, self._started = self._started, []
        return [self._event(c, run) for c, run in sorted(runs, key=lambda r: (r[1].start, r[0]))]

    def flush(self, end_sample: int | None = None) -> list[Event]:
        """End the recording; return the remaining events, cut off at `end_sample` if given."""
        done = self._track(self._median.flush())
        for c, run in enumerate(self._runs):
            if run is not None:
                self._close(c, run, self._n_frames)
            if (held := self._held[c]) is not None:
                done.append((self._n_frames, c, held))
        self._update_started(done)
        events, started = self._events(done), self._started
        self.reset()
        self._started = started
        if end_sample is None:
            return events
        end = seconds_from_samples(end_sample, self.timeline.sample_rate)
        return [Event(e.onset, min(e.offset, end), e.label, e.score) for e in events]

    def _track(self, probs: Floats) -> list[tuple[int, int, _Run]]:
        """Advance by filtered frames; return (frame of decision, class, run) of complete events."""
        if len(probs) == 0:
            return []
        first, self._n_frames = self._n_frames, self._n_frames + len(probs)
        active = probs >= self._off
        done: list[tuple[int, int, _Run]] = []
        awake = [(a or b) is not None for a, b in zip(self._runs, self._held, strict=True)]
        for c in np.flatnonzero(active.any(axis=0) | np.array(awake, bool)).tolist():
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
        """End a run: it becomes the held event, extends it, or is dropped.

        A run within the minimum gap of the held event extends it; `_release` has returned others.
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
        """Return the held event if no run that starts at `before` or later can extend it."""
        held = self._held[c]
        if held is None or before - held.stop <= self.gap_frames[c]:
            return []
        self._held[c] = None
        return [(max(held.decided_at, held.stop + self.gap_frames[c]), c, held)]

    def _update_started(self, done: list[tuple[int, int, _Run]]) -> None:
        """Note the events, done or not, that nothing can take back, each once."""
        certain = [(c, run) for _, c, run in done]
        for c, (run, held) in enumerate(zip(self._runs, self._held, strict=True)):
            if run is not None and run.peak >= self._on[c]:
                start, peak = (held.start, held.peak) if held else (run.start, run.peak)
                certain.append((c, _Run(start, run.stop, max(run.peak, peak))))
            elif held is not None:
                certain.append((c, held))
        for c, run in certain:
            if run.start > self._last_started[c] and self._is_long_enough(c, run):
                self._last_started[c] = run.start
                self._started.append((c, run))

    def _events(self, done: list[tuple[int, int, _Run]]) -> list[Event]:
        """Return events sorted by the frame of decision, which does not depend on block sizes."""
        done = [d for d in done if self._is_long_enough(d[1], d[2])]
        return [self._event(c, run) for _, c, run in sorted(done, key=lambda d: d[:2])]

    def _is_long_enough(self, c: int, run: _Run) -> bool:
        return run.stop - run.start >= self._min_frames[c]

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
    decided_at: int = 0  # first frame at which no run could extend it, as far as known

    def decided(self, at: int) -> _Run:
        return _Run(self.start, self.stop, self.peak, max(self.decided_at, at))


def _runs_of(active: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield [start, stop) of each run of true values."""
    edges = np.flatnonzero(np.diff(active, prepend=False, append=False))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
