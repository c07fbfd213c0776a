"""How many events of a truth were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sed.events.tracker import Event


@dataclass(frozen=True)
class EventScore:
    """How the events found compare with the true ones."""

    n_true: int
    n_found: int
    n_matched: int

    @property
    def recall(self) -> float:
        """Share of the true events that were found."""
        return self.n_matched / self.n_true if self.n_true else float("nan")

    @property
    def n_false(self) -> int:
        """Events found that match no true one."""
        return self.n_found - self.n_matched

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.n_true + self.n_found
        return 2 * self.n_matched / total if total else float("nan")


def match_events(
    truth: Sequence[Event], found: Sequence[Event], *, onset_tolerance: float = 1.0
) -> EventScore:
    """Match events one to one: same label, onsets at most ``onset_tolerance`` seconds apart.

    The nearest pairs are taken first. A second event on an already matched truth is a false one.
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
