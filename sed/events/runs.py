"""Find runs of active frames in whole arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


def find_runs(
    probs: Floats,
    active: NDArray[np.bool_],
    was_active: NDArray[np.bool_],
    classes: NDArray[np.int64],
) -> Iterator[tuple[int, int, int, float, bool]]:
    """Find the runs of active frames.

    Parameters
    ----------
    probs, active
        Shape (frames, classes).
    was_active
        If a class was active in the frame before, shape (classes,). A run then starts at -1, and
        if the class is not active in the first frame it stops at 0.
    classes
        Numbers of the classes.

    Yields
    ------
    For each run the number of the class, start, stop, highest probability, and if it lasts until
    the end of the frames; class by class, in the order of time.
    """
    n, width = len(probs), len(probs) + 2
    # Of each class a row: nothing, the frame before, the frames, nothing.
    rows = np.zeros((len(classes), width + 1), bool)
    rows[:, 1] = was_active
    rows[:, 2:-1] = active.T
    values = np.zeros((len(classes), width), np.float32)
    values[:, 1:-1] = probs.T
    edges = (rows[:, 1:] != rows[:, :-1]).ravel().nonzero()[0]
    peaks = np.maximum.reduceat(values.ravel(), edges)[::2]
    row, frame = np.divmod(edges, width)
    frame -= 1
    stops = frame[1::2]
    return zip(
        classes[row[::2]].tolist(),
        frame[::2].tolist(),
        stops.tolist(),
        peaks.tolist(),
        (stops == n).tolist(),
        strict=True,
    )
