"""Segment-based metrics: which classes are active in each second.

Mesaros, Heittola and Virtanen, *Metrics for polyphonic sound event detection*, Applied Sciences
6(6), 2016, with the definitions of `sed_eval`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.scoring.rates import ClassRates, Rates
from sed.events.scoring.reference import Events, Ints, Reference

LEAST_SECONDS = 0.001  # of a segment, since memory is taken for each


def segment_rates(reference: Reference, found: Events, segment_seconds: float = 1.0) -> ClassRates:
    """Return counts and rates of segments.

    A class is active in each segment that one of its events reaches into. Where a segment has
    fewer detected classes right than it could, the others are substitutions.

    Parameters
    ----------
    reference, found
        Reference events and detections.
    segment_seconds
        Length of a segment (`time_resolution` of `sed_eval`).

    Raises
    ------
    UsageError
        If the length is below `LEAST_SECONDS`.
    """
    if not LEAST_SECONDS <= segment_seconds < float("inf"):
        raise UsageError(f"expected segments of {LEAST_SECONDS} s or more, got {segment_seconds:g}")
    n_classes = len(reference.labels)
    last = max((float(e.offset.max()) for e in (reference.events, found) if len(e)), default=0.0)
    n_segments = int(np.ceil(last / segment_seconds)) + 1
    true, detected = (
        _active(events, segment_seconds, n_segments, n_classes)
        for events in (reference.events, found)
    )
    both = true[_positions(detected, true)[1]]
    n_true, n_found, n_both = (
        np.bincount(keys % n_classes, minlength=n_classes) for keys in (true, detected, both)
    )
    segments, n_in_true = _counted(true // n_classes)
    others, n_in_found = _counted(detected // n_classes)
    place, is_common = _positions(others, segments)
    n_possible = np.minimum(n_in_true[is_common], n_in_found[place[is_common]]).sum()
    n_substituted = int(n_possible) - len(both)
    micro = Rates(len(true), len(detected), len(both), n_substituted)
    classes = {
        label: Rates(int(n_true[c]), int(n_found[c]), int(n_both[c]))
        for c, label in enumerate(reference.labels)
    }
    return ClassRates(micro, classes)


def _active(events: Events, seconds: float, n_segments: int, n_classes: int) -> Ints:
    """Return a number for each class that is active in a segment, sorted, each once."""
    first = np.floor(events.onset / seconds).astype(np.int64)
    last = np.ceil(events.offset / seconds).astype(np.int64)
    n = np.maximum(0, last - first)
    row = np.repeat(np.arange(len(events)), n)
    segment = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
    keys = (events.file[row] * n_segments + segment) * n_classes + events.label[row]
    return _counted(np.sort(keys))[0]


def _counted(ordered: Ints) -> tuple[Ints, Ints]:
    """Return sorted numbers once, and how often each occurs; `numpy.unique` is much slower."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _positions(ordered: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return where numbers are among sorted ones, and which are there at all."""
    place = np.searchsorted(ordered, wanted)
    is_there = place < len(ordered)
    is_there[is_there] = ordered[place[is_there]] == wanted[is_there]
    return place, is_there
