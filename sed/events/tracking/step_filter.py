"""Find where the probability of a class rises and falls, with a step filter in whole arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

# Probabilities become integers, so that sums do not depend on the order in which frames arrive.
SCALE = 1 << 30
QUIET, FALL, RISE = range(3)  # what happens at a place, in the order of what happens at one place

Integers = NDArray[np.int64]


class Changes(NamedTuple):
    """What happens in a block of frames.

    Attributes
    ----------
    points
        Of each column the places, what happens there, and the sum of the frames of the window
        before them, in the order of time.
    sums
        Of the frames before each place of the window, shape (frames + 1, columns).
    rising
        Of each column, whether the output of the filter rose where it last changed.
    """

    points: list[list[tuple[int, int, int]]]
    sums: Integers
    rising: NDArray[np.bool_]


def integers(frames: Floats, offsets: Floats) -> Integers:
    """Return probabilities as multiples of 1 / `SCALE`, and those below their offset as 0."""
    scaled = np.rint(frames.astype(np.float64) * SCALE).astype(np.int64)
    scaled[frames < offsets] = 0
    return scaled


def find_changes(
    frames: Integers, halves: Integers, n: int, before: int, rising: NDArray[np.bool_]
) -> Changes:
    """Find the rises, the falls and the quiet places in `n` frames.

    Parameters
    ----------
    frames
        Shape (before + n + 2 · longest half - 1, columns).
    halves
        Half the length of the filter of each column, in frames.
    n
        Frames of the block.
    before
        Frames before them, twice the longest half and one more.
    rising
        What `Changes` says of the block before, or true after quiet frames.

    Returns
    -------
    Places count from the first frame of the block. The filter is the sum of the next frames minus
    that of the last ones. A rise is the last place of a maximum above 0; a fall is the first place
    of a minimum below 0, and of one that goes on for longer than half of the filter. Quiet is the
    place after as many frames of 0 as the filter is long.
    """
    longest = int(halves.max())
    sums = np.zeros((len(frames) + 1, frames.shape[1]), np.int64)
    np.cumsum(frames, axis=0, out=sums[1:])
    first, last = before - 1, before + n + longest
    if (halves == longest).all():
        output = sums[first + longest : last + longest] + sums[first - longest : last - longest]
    else:
        places = np.arange(first, last)[:, None]
        output = np.take_along_axis(sums, places + halves, axis=0)
        output += np.take_along_axis(sums, places - halves, axis=0)
    output -= 2 * sums[first:last]
    steps = np.ascontiguousarray(np.diff(output, axis=0).T)
    width = steps.shape[1]
    flat = steps.ravel()
    changed = flat.nonzero()[0]
    column, place = np.divmod(changed, width)
    up = flat[changed] > 0
    same = column[1:] == column[:-1]
    was_up = rising[column]
    was_up[1:][same] = up[:-1][same]
    values = output[1:].T
    # The first place after a maximum, and the first place of a minimum.
    after = ~up & was_up & (place >= 1) & (place <= n)
    after[after] = values[column[after], place[after] - 1] > 0
    goes_on = np.zeros(len(changed), bool)
    goes_on[:-1] = same & ~up[1:] & (place[1:] - place[:-1] <= halves[column[:-1]])
    falls = ~up & (place < n) & ~goes_on
    falls[falls] = values[column[falls], place[falls]] < 0
    quiet_columns, quiet_places = _quiet(frames, halves, n, before)
    points: list[list[tuple[int, int, int]]] = [[] for _ in halves]
    for columns, where, what in (
        (quiet_columns, quiet_places, QUIET),
        (column[falls], place[falls], FALL),
        (column[after], place[after] - 1, RISE),
    ):
        totals = sums[where + before, columns].tolist()
        for c, p, total in zip(columns.tolist(), where.tolist(), totals, strict=True):
            points[c].append((p, what, total))
    for each in points:
        each.sort()
    rising = rising.copy()
    inside = place < n
    rising[column[inside]] = up[inside]
    return Changes(points, sums, rising)


def _quiet(frames: Integers, halves: Integers, n: int, before: int) -> tuple[Integers, Integers]:
    """Return the columns and the places that follow a whole filter of zeros."""
    column, frame = frames.T.nonzero()
    place = frame - before + 1 + 2 * halves[column]
    following = np.full(len(frame), np.iinfo(np.int64).max)
    same = column[1:] == column[:-1]
    following[:-1][same] = frame[1:][same] - before
    found = (place >= 0) & (place < n) & (following >= place)
    return column[found], place[found]
