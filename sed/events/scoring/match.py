"""Count the reference events that were detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sed.events.tracker import Event


@dataclass(frozen=True)
class EventScore:
    """Counts of matched events, with recall and F1."""

    n_true: int  # reference events
    n_found: int  # detected events
    n_matched: int  # pairs of both

    @property
    def recall(self) -> float:
        """Fraction of the reference events that were detected; NaN without any."""
        return self.n_matched / self.n_true if self.n_true else float("nan")

    @property
    def n_false(self) -> int:
        """Detected events without a matching reference event."""
        return self.n_found - self.n_matched

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN without events."""
        total = self.n_true + self.n_found
        return 2 * self.n_matched / total if total else float("nan")


def match_events(
    truth: Sequence[Event], found: Sequence[Event], *, onset_tolerance: float = 1.0
) -> EventScore:
    """Match detected with reference events, one to one.

    The nearest pairs are matched first. A second detection of a matched event is a false one.

    Parameters
    ----------
    truth
        Reference events.
    found
        Detected events.
    onset_tolerance
        Largest difference of the onsets of a pair in seconds; labels must be equal.
    """
    pairs = sorted(
        (abs(t.onset - f.onset), i, j)
        for i, t in enumerate(truth)
        for j, f in enumerate(found)
        if t.label == f.label and abs(t.onset - f.onset) <= onset_tolerance
    )
    taken_true: set[int] = set()
    taken_found: set[int] = set()
    for _, i, j in pairs:
        if i not in taken_true and j not in taken_found:
            taken_true.add(i)
            taken_found.add(j)
    return EventScore(len(truth), len(found), len(taken_true))
