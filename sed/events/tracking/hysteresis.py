r"""Find events by hysteresis: a run of frames above one threshold that reaches a higher one.

::

    probability                ____
    onset threshold  ---------/----\-----------------   an event is a run of frames at or above
    offset threshold ---__---/------\---__-----------   the offset threshold that reaches the
                            [ event  ]                  onset threshold at least once

Two events of one class that are no further apart than the minimum gap are merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.events.tracking.median_filter import MedianFilter
from sed.events.tracking.runs import LiveEvent, TracedEvent, find_runs
from sed.types import Floats

FEW_CLASSES = 32  # up to so many are searched for runs without a further look
MAX_BLOCK = 256  # frames that are processed at once, so that they stay in the processor's cache


class Hysteresis:
    """Finds events in a stream of frames with all classes.

    Frames are filtered, compared and searched for runs in whole arrays, and only for the classes
    that are active in them; what is done one by one are the runs and the events.

    Parameters
    ----------
    onsets, offsets
        Thresholds, shape (classes,), float32. A class whose thresholds are infinite has no events.
    medians
        Lengths of the median filters, shape (classes,).
    min_frames, gap_frames
        Shortest event and longest gap that is closed, of each class.
    traced
        Whether to note how events grow, for `sed.events.tracking.specific`.
    """

    def __init__(
        self,
        onsets: Floats,
        offsets: Floats,
        medians: NDArray[np.int64],
        min_frames: Sequence[int],
        gap_frames: Sequence[int],
        *,
        traced: bool,
    ) -> None:
        self._onsets, self._off = onsets, offsets
        self._on: list[float] = onsets.tolist()
        self._median = MedianFilter(medians)
        self._min_frames, self._gap_frames = min_frames, gap_frames
        self._traced = traced
        self._new_event = TracedEvent if traced else LiveEvent
        self.reset()

    @property
    def lag_frames(self) -> int:
        """Frames by which decisions lag behind the frames pushed."""
        return self._median.half

    def reset(self) -> None:
        """Start a new recording."""
        self._median.reset()
        self.n_frames = 0  # processed so far
        # The classes that are at or above the offset threshold in the last frame, the runs that
        # they are in, and the events that a later run may extend.
        self._active = np.zeros(len(self._off), bool)
        self._runs: dict[int, tuple[int, float]] = {}  # first frame and highest probability so far
        self.live: dict[int, Any] = {}  # made by _new_event

    def push(self, frame_probs: Floats) -> list[Any]:
        """Add the next frames, shape (frames, classes); return the events that end."""
        return self._track(self._median.extend(frame_probs))

    def flush(self) -> list[Any]:
        """End the recording; return the remaining events."""
        done = self._track(self._median.extend_end())
        for live in self.live.values():
            live.decided_at = self.n_frames
        done += self.live.values()
        self.live = {}
        return done

    def _track(self, frames: Floats) -> list[LiveEvent]:
        """Advance by frames that are not yet filtered; return the events that end."""
        margin, done = 2 * self._median.half, []
        for first in range(0, len(frames) - margin, MAX_BLOCK):
            done += self._track_block(frames[first : first + MAX_BLOCK + margin])
        return done

    def _track_block(self, frames: Floats) -> list[LiveEvent]:
        """Advance by a block of frames with half a filter of neighbours on both sides."""
        first = self.n_frames
        n = self.n_frames = first + len(frames) - 2 * self._median.half
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
            onsets = self._onsets[classes] if self._traced else None
            is_active, runs = find_runs(frames, off, was_active, onsets)
            self._active[classes] = is_active
            done = self._add_runs(first, n, runs, classes.tolist())
        for live in list(self.live.values()):
            if n - live.stop > self._gap_frames[live.c] and live.c not in self._runs:
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
            live = self.live.get(c)
            if start < 0:
                start, peak_before = self._runs.pop(c)
                peak = max(peak, peak_before)
                reached = -1 if peak_before >= self._on[c] else reached
            else:
                start += first
                if live is not None and start - live.stop > self._gap_frames[c]:
                    done.append(self._release(live))
                    live = None
            stop += first
            if stop == n:
                self._runs[c] = start, peak
            if peak >= self._on[c]:
                if live is None:
                    live = self.live[c] = self._new_event(c, start, stop, peak)
                else:
                    live.stop, live.peak = stop, max(live.peak, peak)
                if isinstance(live, TracedEvent):
                    live.grow(first + reached, stop, self._min_frames[c])
            elif live is not None and stop < n:
                live.decided_at = stop
        return done

    def _release(self, live: LiveEvent) -> LiveEvent:
        """End an event that no run can extend any more."""
        del self.live[live.c]
        live.decided_at = max(live.decided_at, live.stop + self._gap_frames[live.c])
        return live
