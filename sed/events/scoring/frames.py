"""Turn frame probabilities into the detections of all thresholds.

At a threshold, the detections of a class are the runs of frames at or above it. Each run is there
for a range of thresholds: up to its lowest probability, and above the higher of its two neighbours.
A recording of n frames has at most n such runs, whatever the thresholds (Ebbers, Serizel and
Haeb-Umbach, ICASSP 2022, find the same counts by intermediate statistics).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sed.events.reading.frames import FrameScores
from sed.events.scoring.reference import Events, Ints, Reals


@dataclass(frozen=True)
class Runs:
    """The detections of all thresholds; see `Intersections.curves` for `first` and `last`."""

    events: Events
    first: Reals
    last: Reals


def runs_of(scores: Sequence[FrameScores], files: Sequence[int], labels: Sequence[str]) -> Runs:
    """Return the detections of all thresholds.

    Parameters
    ----------
    scores
        Frame probabilities of each recording.
    files
        Their numbers.
    labels
        The classes of interest; others are left out.
    """
    parts = []
    for one, file in zip(scores, files, strict=True):
        for label, name in enumerate(labels):
            if name in one.labels:
                column = one.probs[:, one.labels.index(name)].astype(np.float64)
                begin, end, first, last = runs(column)
                n = len(begin)
                parts.append(
                    (
                        np.full(n, file, np.int64), np.full(n, label, np.int64),
                        one.edges[begin], one.edges[end], first, last,
                    )
                )  # fmt: skip
    if not parts:
        empty, none = np.empty(0), np.empty(0, np.int64)
        return Runs(Events(none, none, empty, empty, empty), empty, empty)
    file_, label_, onset, offset, first, last = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Runs(Events(file_, label_, onset, offset, last), first, last)


def runs(probs: Reals) -> tuple[Ints, Ints, Reals, Reals]:
    """Return the runs of frames of all thresholds above 0.

    Parameters
    ----------
    probs
        Probabilities of one class, shape (frames,).

    Returns
    -------
    The first frame of each run, the frame behind its last, and the thresholds above which and up to
    which it is there.
    """
    values = probs.tolist()
    n = len(values)
    begin = [0] * n
    # The frames before each that are not higher, as a stack.
    stack: list[int] = []
    for i, value in enumerate(values):
        while stack and values[stack[-1]] >= value:
            stack.pop()
        begin[i] = stack[-1] + 1 if stack else 0
        stack.append(i)
    end = [n] * n
    stack = []
    for i in range(n - 1, -1, -1):
        while stack and values[stack[-1]] >= values[i]:
            stack.pop()
        end[i] = stack[-1] if stack else n
        stack.append(i)
    if not n:
        none = np.empty(0, np.int64)
        return none, none, np.empty(0), np.empty(0)
    spans = np.unique(np.array([begin, end], np.int64), axis=1)
    begins, ends = spans
    padded = np.concatenate([[0.0], np.asarray(probs, np.float64), [0.0]])
    first = np.maximum(padded[begins], padded[ends + 1])
    # Of each run, not of what is between its end and the begin of the next.
    last = np.minimum.reduceat(np.append(probs, np.inf), spans.T.ravel())[::2]
    is_real = last > np.maximum(first, 0.0)
    return begins[is_real], ends[is_real], first[is_real], last[is_real]
