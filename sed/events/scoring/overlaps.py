"""Find the pairs of events that overlap in time, or begin near each other, in whole arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.events.scoring.reference import Events, Ints

ROUNDING = 1e-6  # seconds
CHUNK = 1 << 18  # events whose pairs are searched for at once


class Pairs(NamedTuple):
    """Numbers of events, one of each kind in a pair; shape (pairs,)."""

    found: Ints
    true: Ints

    @classmethod
    def none(cls) -> Pairs:
        """Return no pairs."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    def take(self, rows: NDArray[np.bool_]) -> Pairs:
        """Return some pairs."""
        return Pairs(self.found[rows], self.true[rows])


def overlapping(found: Events, truth: Events, margin: float = 0.0) -> Pairs:
    """Return all pairs of events of one recording whose times overlap, or are a margin apart.

    Pairs that touch, or that rounding brings beyond the margin, may be there too.

    Time is cut into cells of about the length of an event, and the events in each cell are joined,
    so that a few long events do not pair all others.
    """
    if not len(found) or not len(truth):
        return Pairs.none()
    margin = margin + ROUNDING if margin else 0.0
    cell = float(np.clip(np.median(truth.offset - truth.onset), 1.0, 60.0)) + 2 * margin
    n_cells = int(max(found.offset.max(), truth.offset.max()) / cell) + 3
    true_row, true_cell = _cells(truth.onset, truth.offset, cell)
    keys = truth.file[true_row] * n_cells + true_cell
    order = np.argsort(keys, kind="stable")
    keys, true_row = keys[order], true_row[order]
    # A search for keys in their order is several times faster than one here and there.
    found_keys = found.file * n_cells + (np.maximum(found.onset, 0) / cell).astype(np.int64)
    ordered = np.argsort(found_keys)
    parts = [*_joined(found, ordered, truth, margin, cell, n_cells, keys, true_row)]
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _joined(
    found: Events,
    ordered: NDArray[np.intp],
    truth: Events,
    margin: float,
    cell: float,
    n_cells: int,
    keys: Ints,
    true_row: Ints,
) -> Iterator[Pairs]:
    """Yield the pairs of some found events after the other."""
    for first in range(0, len(ordered), CHUNK):
        rows = ordered[first : first + CHUNK]
        begin = np.maximum(0.0, found.onset[rows] - margin)
        end = found.offset[rows] + margin
        own, own_cell = _cells(begin, end, cell)
        wanted = found.file[rows[own]] * n_cells + own_cell
        low = np.searchsorted(keys, wanted, "left")
        n = np.searchsorted(keys, wanted, "right") - low
        pair_of = np.repeat(np.arange(len(own)), n)
        i = rows[own[pair_of]]
        j = true_row[np.repeat(low - np.cumsum(n) + n, n) + np.arange(len(pair_of))]
        later = np.maximum(begin[own[pair_of]], truth.onset[j])
        # Events that do not last are not within a span without its ends.
        overlap = (begin[own[pair_of]] <= truth.offset[j]) & (truth.onset[j] <= end[own[pair_of]])
        # A pair that shares several cells counts in the first.
        is_first = (later / cell).astype(np.int64) == own_cell[pair_of]
        yield Pairs(i[overlap & is_first], j[overlap & is_first])


def _cells(
    onset: NDArray[np.float64], offset: NDArray[np.float64], cell: float
) -> tuple[Ints, Ints]:
    """Return the number of each event in each cell that it lies in, and of the cell."""
    first = (np.maximum(onset, 0) / cell).astype(np.int64)
    last = np.maximum((np.maximum(offset, 0) / cell).astype(np.int64), first)
    n = last - first + 1
    row = np.repeat(np.arange(len(onset)), n)
    return row, first[row] + np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
