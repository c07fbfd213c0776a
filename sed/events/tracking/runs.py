"""Find runs of active frames in whole arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats


@dataclass(slots=True)
class LiveEvent:
    """An event that a later run may extend.

    Attributes
    ----------
    c
        Number of the class.
    start, stop
        Frames [start, stop), as far as known.
    peak
        Highest probability among them.
    decided_at
        First frame at which no run could extend it, as far as known.
    is_started
        If it was reported as certain.
    """

    c: int
    start: int
    stop: int
    peak: float
    decided_at: int = 0
    is_started: bool = False


@dataclass(slots=True)
class TracedEvent(LiveEvent):
    """An event with what `sed.events.tracking.specific` must know of it.

    Attributes
    ----------
    certain_at
        The frame in which it became certain; None before.
    growth
        How it grew since the last push: frame from which a run was known to belong to it, and
        where this run stops.
    known_stop
        Its stop before the last push.
    is_checked, is_over
        If it was decided whether to report it at its start, and if it is complete.
    reported_from
        First frame of what is reported; -1 if nothing is.
    """

    certain_at: int | None = None
    growth: list[tuple[int, int]] = field(default_factory=list)
    known_stop: int = 0
    is_checked: bool = False
    is_over: bool = False
    reported_from: int = -1

    def reaches(self, stop: int) -> int | None:
        """Return the frame in which it was known to last until a stop, if it was.

        That is 0 if it was known before the last push.
        """
        if self.known_stop >= stop:
            return 0
        for known_from, known_stop in self.growth:
            if known_stop >= stop:
                return max(known_from, stop - 1)
        return None

    def grow(self, known_from: int, stop: int, min_frames: int) -> None:
        """Note a run that belongs to it, from the frame in which that is known."""
        self.growth.append((known_from, stop))
        if self.certain_at is None and stop - self.start >= min_frames:
            self.certain_at = max(known_from, self.start + min_frames - 1)


def find_runs(
    probs: Floats,
    offsets: Floats,
    was_active: NDArray[np.bool_],
    onsets: Floats | None = None,
) -> tuple[NDArray[np.bool_], Iterator[tuple[int, int, int, float, int]]]:
    """Find the runs of frames at or above the offset threshold.

    Parameters
    ----------
    probs
        Shape (frames, classes).
    offsets
        Offset thresholds of the classes, above 0.
    was_active
        If a class was at or above it in the frame before, shape (classes,). A run then starts at
        -1, and if the class is not in the first frame it stops at 0.
    onsets
        Onset thresholds of the classes; None if the last value of a run is not needed.

    Returns
    -------
    If a class is at or above the threshold in the last frame, shape (classes,); and of each run the
    column of the class, start, stop, highest probability, and the first frame at or above the onset
    threshold, if there is one. Runs come class by class, in the order of time.
    """
    width = len(probs) + 3
    # Of each class a row: nothing, the frame before, the frames, nothing. So no run goes on from
    # one row to the next, and all rows can be searched as one.
    rows = np.empty((len(offsets), width), np.float32)
    rows[:, 0] = rows[:, -1] = -1
    rows[:, 1] = np.where(was_active, offsets, -1)
    rows[:, 2:-1] = probs.T
    active = rows >= offsets[:, None]
    flat = active.ravel()
    edges = (flat[1:] != flat[:-1]).nonzero()[0]
    edges += 1
    peaks: list[float] = np.maximum.reduceat(rows.ravel(), edges)[::2].tolist()
    reached = edges[::2]
    if onsets is not None:
        at_onset = rows >= onsets[:, None]
        at_onset[:, 1] = False  # the value of the frame before is not its probability
        places = at_onset.ravel().nonzero()[0]
        # A run that has none gets one of another run.
        reached = places.take(places.searchsorted(reached), mode="clip") if len(places) else reached
    return active[:, -2], _runs(edges.tolist(), width, peaks, reached.tolist())


def _runs(
    edges: list[int], width: int, peaks: list[float], reached: list[int]
) -> Iterator[tuple[int, int, int, float, int]]:
    """Yield runs, given their edges in rows of the same width."""
    for start, stop, peak, first in zip(edges[::2], edges[1::2], peaks, reached, strict=True):
        row = start // width
        before = row * width + 2
        yield row, start - before, stop - before, peak, first - before
