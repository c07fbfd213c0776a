"""Compare detected with true events, with the relations of a model's classes.

A true event is *found* if a detection has its class, or a class below it (a bark is a dog), and its
onset within the tolerance; *found by kind* if the detection is of the same kind, such as animal.
Each event and each detection counts once. A detection that finds nothing is *false*, unless its
class is one that the true label says nothing about (above it, or alike: see
`train.distill.classes`) while that event lasts, or fits the background, or describes the place. A
second detection of an event is false.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from benchmarks.quality.figures.vocabulary import Vocabulary, read_label_map
from sed.events.tracker import Event

MARGIN_SECONDS = 1.0  # around an event, where a related class is not false


@dataclass(frozen=True)
class Tolerance:
    """How near a detection must be to a true event.

    Attributes
    ----------
    onset
        Largest difference of the onsets in seconds.
    offset, offset_share
        Largest difference of the offsets in seconds, or as a share of the true length, whichever
        is larger; the offsets do not matter if None.
    """

    onset: float
    offset: float | None = None
    offset_share: float = 0.2

    def fits(self, true: Event, found: Event) -> bool:
        """Return whether the times of a detection fit."""
        if abs(true.onset - found.onset) > self.onset:
            return False
        if self.offset is None:
            return True
        longest = max(self.offset, self.offset_share * (true.offset - true.onset))
        return abs(true.offset - found.offset) <= longest


NEAR = Tolerance(1.0)
ONSET = Tolerance(0.5)
COLLAR = Tolerance(0.2, 0.2)  # of DCASE's task 4


@dataclass
class Tally:
    """Counts over several recordings."""

    n_true: int = 0
    n_found: int = 0
    n_found_exactly: int = 0  # with the very class of the category
    n_found_by_kind: int = 0
    onset_errors: list[float] = field(default_factory=list)  # of the events found, with sign
    false: list[str] = field(default_factory=list)  # labels
    n_excused: int = 0  # detections that are neither right nor false
    missed: list[str] = field(default_factory=list)  # categories
    seconds: float = 0.0

    @property
    def found(self) -> float:
        """Share of the true events that were found."""
        return self.n_found / max(1, self.n_true)

    @property
    def found_by_kind(self) -> float:
        """Share of the true events that were found by kind."""
        return self.n_found_by_kind / max(1, self.n_true)

    @property
    def false_per_minute(self) -> float:
        """False detections per minute."""
        return len(self.false) / self.seconds * 60

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.n_found / max(1, self.n_true + self.n_found + len(self.false))

    @property
    def median_onset_error(self) -> float:
        """Median of the absolute onset errors in seconds."""
        return float(np.median(np.abs(self.onset_errors))) if self.onset_errors else float("nan")


class Matcher:
    """Compares the events of a model with those of ESC-50's categories.

    Parameters
    ----------
    vocabulary
        The classes of the model.
    ambient
        Classes that fit the background, and are neither right nor false.

    Attributes
    ----------
    known
        The categories that the model has a class for.
    """

    def __init__(self, vocabulary: Vocabulary, ambient: set[str]) -> None:
        self.vocabulary = vocabulary
        self.ambient = ambient
        self._own, self._right, self._kind, self._related = (
            cache(rule)
            for rule in (
                lambda category: {vocabulary.label("esc50", category)},
                vocabulary.right,
                vocabulary.of_kind,
                vocabulary.related,
            )
        )
        mapped = read_label_map("esc50")
        self.known = {name for name in mapped if vocabulary.right(name)}
        self._categories = cache(vocabulary.categories)

    def compare(
        self,
        truth: Sequence[Event],
        detected: Sequence[Event],
        seconds: float,
        tolerance: Tolerance = NEAR,
    ) -> Tally:
        """Return the counts for one recording; the truth has ESC-50's categories."""
        truth = [event for event in truth if event.label in self.known]
        found = matched(truth, detected, self._right, tolerance)
        tally = Tally(n_true=len(truth), seconds=seconds, n_found=len(found))
        tally.n_found_exactly = len(matched(truth, detected, self._own, tolerance))
        tally.n_found_by_kind = len(matched(truth, detected, self._kind, tolerance))
        tally.onset_errors = [detected[j].onset - truth[i].onset for i, j in found.items()]
        tally.missed = [event.label for i, event in enumerate(truth) if i not in found]
        used = set(found.values())
        rest = [event for j, event in enumerate(detected) if j not in used]
        tally.false = [e.label for e in rest if not self._is_excused(e, truth)]
        tally.n_excused = len(rest) - len(tally.false)
        return tally

    def as_categories(self, detected: Sequence[Event], truth: Sequence[Event]) -> list[Event]:
        """Return the detections with the names of ESC-50's categories that they are right for.

        A class that is right for several is named after the one that is there, or the first.
        Detections that are right for none are left out.
        """
        there = {event.label for event in truth}
        named = []
        for event in detected:
            names = self._categories(event.label)
            if names:
                best = min(names, key=lambda name: (name not in there, name))
                named.append(replace(event, label=best))
        return named

    def _is_excused(self, event: Event, truth: Sequence[Event]) -> bool:
        """Return whether a detection that finds nothing is not false either."""
        return event.label in self.ambient or any(
            event.label in self._related(true.label)
            and event.onset < true.offset + MARGIN_SECONDS
            and event.offset > true.onset - MARGIN_SECONDS
            for true in truth
        )


def matched(
    truth: Sequence[Event],
    detected: Sequence[Event],
    accepted: Callable[[str], set[str]],
    tolerance: Tolerance,
) -> dict[int, int]:
    """Return the detection of each event that has one; the nearest pairs are matched first."""
    order = sorted(range(len(detected)), key=lambda j: detected[j].onset)
    onsets = [detected[j].onset for j in order]
    pairs = sorted(
        (abs(true.onset - detected[j].onset), i, j)
        for i, true in enumerate(truth)
        for j in order[
            bisect_left(onsets, true.onset - tolerance.onset) : bisect_right(
                onsets, true.onset + tolerance.onset
            )
        ]
        if detected[j].label in accepted(true.label) and tolerance.fits(true, detected[j])
    )
    result: dict[int, int] = {}
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in result and j not in used:
            result[i] = j
            used.add(j)
    return result


def total(tallies: Sequence[Tally]) -> Tally:
    """Return the counts of several recordings together."""
    result = Tally()
    for tally in tallies:
        result.n_true += tally.n_true
        result.n_found += tally.n_found
        result.n_found_exactly += tally.n_found_exactly
        result.n_found_by_kind += tally.n_found_by_kind
        result.onset_errors += tally.onset_errors
        result.false += tally.false
        result.n_excused += tally.n_excused
        result.missed += tally.missed
        result.seconds += tally.seconds
    return result
