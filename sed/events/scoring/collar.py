"""Event-based metrics: a detection is right if its onset and its offset are near the reference's.

Mesaros, Heittola and Virtanen, *Metrics for polyphonic sound event detection*, Applied Sciences
6(6), 2016, with the names and the defaults of `sed_eval` and DCASE's task 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.scoring.matching import one_to_one
from sed.events.scoring.overlaps import Pairs, overlapping
from sed.events.scoring.rates import ClassRates, Rates
from sed.events.scoring.reference import Events, Reals, Reference


@dataclass(frozen=True)
class CollarConfig:
    """How near a detection must be to a reference event of its class.

    Attributes
    ----------
    onset_collar
        Largest difference of the onsets in seconds (`t_collar` of `sed_eval`).
    offset_collar
        Largest difference of the offsets in seconds; None if offsets do not matter.
    offset_share
        Or this share of the length of the reference event, whichever is larger
        (`percentage_of_length`).
    """

    onset_collar: float = 0.2
    offset_collar: float | None = 0.2
    offset_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not all(0 <= c < float("inf") for c in (self.onset_collar, self.offset_collar or 0.0)):
            raise UsageError("expected collars of 0 s or more")
        if not 0 <= self.offset_share <= 1:
            raise UsageError(f"expected an offset share of 0 to 1, got {self.offset_share:g}")

    def fits(self, pairs: Pairs, found: Events, truth: Events) -> NDArray[np.bool_]:
        """Return whether the times of each pair fit, shape (pairs,)."""
        i, j = pairs
        is_near = np.abs(_decimal(truth.onset[j]) - _decimal(found.onset[i])) <= self.onset_collar
        if self.offset_collar is None:
            return is_near
        length = truth.offset[j] - truth.onset[j]
        collar = np.maximum(self.offset_collar, self.offset_share * length)
        distance = np.abs(_decimal(truth.offset[j]) - _decimal(found.offset[i]))
        fit: NDArray[np.bool_] = is_near & (distance <= collar)
        return fit


@dataclass(frozen=True)
class CollarPairs:
    """The pairs of detections and reference events whose times fit, of any classes.

    They are found once, and serve any selection of the detections.

    Attributes
    ----------
    reference
        What is true.
    found
        All detections.
    pairs
        Numbers of detections and reference events.
    """

    reference: Reference
    found: Events
    pairs: Pairs

    @classmethod
    def of(
        cls,
        reference: Reference,
        found: Events,
        config: CollarConfig | None = None,
        pairs: Pairs | None = None,
    ) -> CollarPairs:
        """Return the pairs that fit.

        Parameters
        ----------
        reference, found
            Reference events and detections.
        config
            Tolerances.
        pairs
            All pairs of events that are an onset collar apart or less, if they are known.
        """
        config = config or CollarConfig()
        if pairs is None:
            pairs = overlapping(found, reference.events, config.onset_collar)
        return cls(reference, found, pairs.take(config.fits(pairs, found, reference.events)))

    def matches(self, kept: NDArray[np.bool_] | None = None) -> Pairs:
        """Return as many pairs of one class as can be without an event in two of them.

        Parameters
        ----------
        kept
            Which detections are there, shape (detections,); all if None.
        """
        truth, found = self.reference.events, self.found
        pairs = self.pairs.take(found.label[self.pairs.found] == truth.label[self.pairs.true])
        if kept is not None:
            pairs = pairs.take(kept[pairs.found])
        return one_to_one(pairs)

    def rates(self, kept: NDArray[np.bool_] | None = None) -> ClassRates:
        """Return counts and rates; `kept` as for `matches`."""
        truth, found = self.reference.events, self.found
        matched = self.matches(kept)
        is_there = np.ones(len(found), bool) if kept is None else kept
        n = len(self.reference.labels)
        n_true, n_found, n_matched = (
            np.bincount(labels, minlength=n)
            for labels in (truth.label, found.label[is_there], truth.label[matched.true])
        )
        n_substituted = self._n_substituted(matched, is_there)
        micro = Rates(len(truth), int(is_there.sum()), len(matched.true), n_substituted)
        classes = {
            label: Rates(int(n_true[c]), int(n_found[c]), int(n_matched[c]))
            for c, label in enumerate(self.reference.labels)
        }
        return ClassRates(micro, classes)

    def _n_substituted(self, matched: Pairs, is_there: NDArray[np.bool_]) -> int:
        """Return how many detections that are not right fit a missed event of another class.

        In the order of the reference events each takes the first detection that is left, as
        `sed_eval` does.
        """
        free_found, free_true = is_there.copy(), np.ones(len(self.reference.events), bool)
        free_found[matched.found] = False
        free_true[matched.true] = False
        left = self.pairs.take(free_found[self.pairs.found] & free_true[self.pairs.true])
        n, last = 0, -1
        for k in np.lexsort((left.found, left.true)).tolist():
            i, j = int(left.found[k]), int(left.true[k])
            if j != last and free_found[i]:
                free_found[i] = False
                last = j
                n += 1
        return n


def _decimal(seconds: Reals) -> Reals:
    """Return whole milliseconds with the rounding of decimal fractions in the published figures.

    Where times are a collar apart to the last digit, rounding decides in `sed_eval` whether a pair
    counts. The figures that DCASE's task 4 published for its baseline are those of milliseconds
    that are divided by 10 and then by 100; with exact fractions one pair more counts.
    """
    milliseconds = np.rint(seconds * 1000)
    return np.where(milliseconds / 1000 == seconds, milliseconds / 10 / 100, seconds)
