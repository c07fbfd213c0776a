"""Compare detected with true events, with the relations of a model's classes.

A true event is *found* if a detection has its class, or a class under it (a bark is a dog), and its
onset within the tolerance. It is *found by kind* if a detection of the same kind, such as animal,
is there. Each event and each detection counts once. A detection that finds nothing is *false*,
except where it is as right as can be: a class above the true one (animal), a class beside it that
is under it too, while the event lasts; and a class that fits the background or describes the place.
A second detection of the class that found an event is false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.quality.figures.vocabulary import Vocabulary
from sed.events.tracker import Event

MARGIN_SECONDS = 1.0  # around an event, where a related class is not false


@dataclass
class Tally:
    """Counts over several recordings."""

    n_true: int = 0
    n_detected: int = 0  # without the detections that are neither right nor false
    n_found: int = 0
    n_found_by_kind: int = 0
    onset_errors: list[float] = field(default_factory=list)  # of the events found, with sign
    false: list[str] = field(default_factory=list)  # labels
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
    """

    def __init__(self, vocabulary: Vocabulary, ambient: set[str]) -> None:
        self.vocabulary = vocabulary
        self.ambient = ambient | vocabulary.environment()
        self._under: dict[str, set[str]] = {}
        self._branch: dict[str, set[str]] = {}
        self._kind: dict[str, set[str]] = {}

    def _relate(self, label: str) -> None:
        """Fill the tables of classes related to one."""
        if label in self._under:
            return
        words = self.vocabulary
        self._under[label] = {name for name in words.labels if words.is_under(name, label)}
        self._branch[label] = {name for name in words.labels if words.in_branch(name, label)}
        kinds = words.kinds(label)
        self._kind[label] = self._branch[label] | {
            name for name in words.labels if kinds & words.kinds(name)
        }

    def compare(
        self,
        truth: Sequence[Event],
        detected: Sequence[Event],
        seconds: float,
        onset_tolerance: float = 1.0,
    ) -> Tally:
        """Return the counts for one recording; the truth has ESC-50's categories."""
        events = []
        for event in truth:
            label = self.vocabulary.label("esc50", event.label)
            if label is not None:
                self._relate(label)
                events.append((event, label))
        tally = Tally(n_true=len(events), seconds=seconds)
        found = matched(events, detected, self._under, onset_tolerance)
        by_kind = matched(events, detected, self._kind, onset_tolerance)
        tally.n_found, tally.n_found_by_kind = len(found), len(by_kind)
        tally.onset_errors = [detected[j].onset - events[i][0].onset for i, j in found.items()]
        tally.missed = [event.label for i, (event, _) in enumerate(events) if i not in found]
        used = set(found.values())
        finders = {i: detected[j].label for i, j in found.items()}
        for j, event in enumerate(detected):
            if j not in used and not self._is_excused(event, events, finders):
                tally.false.append(event.label)
        tally.n_detected = len(used) + len(tally.false)
        return tally

    def _is_excused(
        self,
        event: Event,
        events: Sequence[tuple[Event, str]],
        finders: dict[int, str],
    ) -> bool:
        """Return whether a detection that finds nothing is not false either."""
        if event.label in self.ambient:
            return True
        return any(
            event.label in self._branch[label]
            and event.label not in (label, finders.get(i))
            and event.onset < true.offset + MARGIN_SECONDS
            and event.offset > true.onset - MARGIN_SECONDS
            for i, (true, label) in enumerate(events)
        )


def matched(
    events: Sequence[tuple[Event, str]],
    detected: Sequence[Event],
    accepted: dict[str, set[str]],
    onset_tolerance: float,
) -> dict[int, int]:
    """Return the detection of each event that has one; the nearest pairs are matched first."""
    pairs = sorted(
        (abs(true.onset - found.onset), i, j)
        for i, (true, label) in enumerate(events)
        for j, found in enumerate(detected)
        if abs(true.onset - found.onset) <= onset_tolerance and found.label in accepted[label]
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
        result.n_detected += tally.n_detected
        result.n_found += tally.n_found
        result.n_found_by_kind += tally.n_found_by_kind
        result.onset_errors += tally.onset_errors
        result.false += tally.false
        result.missed += tally.missed
        result.seconds += tally.seconds
    return result
