"""Intersection-based metrics: a detection is right if it overlaps enough with the reference.

Bilen et al., *A framework for the robust evaluation of sound event detection*, ICASSP 2020, with
the names of `psds_eval`:

- A detection is *relevant* if the share of it that lies in reference events of its class is at
  least `dtc` (detection tolerance criterion); else it is false.
- A reference event is found if relevant detections cover a share of it of at least `gtc` (ground
  truth intersection criterion).
- Events that do not last overlap with nothing, and count nowhere, as in `psds_eval`.
- A false detection is a *cross-trigger* of another class if the share of it that lies in events of
  that class is at least `cttc`.

Each detection has a range of thresholds at which it is there, so that counts at all operating
points are found at once (Ebbers, Serizel and Haeb-Umbach, *Threshold independent evaluation of
sound event detection scores*, ICASSP 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.scoring.overlaps import Pairs, overlapping
from sed.events.scoring.rates import ClassRates, Rates
from sed.events.scoring.reference import Events, Ints, Reals, Reference

# Shares that are exactly at a limit pass, though sums of decimal times are rounded. In
# `sed_scores_eval` this is `time_decimals`; `psds_eval` leaves it to chance.
ROUNDING = 1e-9


@dataclass(frozen=True)
class IntersectionConfig:
    """How much of a detection and of a reference event has to overlap.

    Attributes
    ----------
    dtc
        Share of a detection.
    gtc
        Share of a reference event.
    cttc
        Share of a detection that makes it a cross-trigger.
    """

    dtc: float = 0.5
    gtc: float = 0.5
    cttc: float = 0.3

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("dtc", "gtc", "cttc"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"expected {name} above 0 and up to 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Curve:
    """Counts of one class at its operating points, from the highest threshold down.

    Attributes
    ----------
    threshold
        Shape (points,), strictly descending.
    n_found
        Reference events found (true positives), shape (points,).
    n_false
        Detections that are not relevant (false positives), shape (points,).
    n_cross
        Cross-triggers of each class, shape (points, classes).
    """

    threshold: Reals
    n_found: Ints
    n_false: Ints
    n_cross: Ints


@dataclass(frozen=True)
class Intersections:
    """Detections with what they overlap with.

    Attributes
    ----------
    reference
        What is true.
    label
        Class of each detection, shape (detections,).
    is_relevant
        Whether it meets `dtc`, shape (detections,).
    cover_of, covers, share
        Relevant detections and the reference events of their classes that they overlap with, and
        the share of the event that they cover; shape (pairs,).
    cross_of, crosses
        False detections and the classes that they are cross-triggers of; shape (crosses,).
    is_false
        Whether a detection counts as false, shape (detections,).
    gtc
        See `IntersectionConfig`.
    """

    reference: Reference
    label: Ints
    is_relevant: NDArray[np.bool_]
    cover_of: Ints
    covers: Ints
    share: Reals
    cross_of: Ints
    crosses: Ints
    is_false: NDArray[np.bool_]
    gtc: float

    @classmethod
    def of(
        cls,
        reference: Reference,
        found: Events,
        config: IntersectionConfig | None = None,
        pairs: Pairs | None = None,
    ) -> Intersections:
        """Return detections with what they overlap with.

        Parameters
        ----------
        reference, found
            Reference events and detections.
        config
            Limits.
        pairs
            All pairs of events that overlap, and maybe others, if they are known.
        """
        config = config or IntersectionConfig()
        truth = reference.events
        i, j = pairs or overlapping(found, truth)
        begin = np.maximum(found.onset[i], truth.onset[j])
        seconds = np.minimum(found.offset[i], truth.offset[j]) - begin
        real = seconds > 0
        i, j, seconds = i[real], j[real], seconds[real]
        share = seconds / (found.offset[i] - found.onset[i])
        is_same = found.label[i] == truth.label[j]
        inside = np.bincount(i[is_same], share[is_same], len(found))
        is_relevant = inside >= config.dtc - ROUNDING
        covering = is_same & is_relevant[i]
        length = truth.offset[j] - truth.onset[j]
        n_classes = len(reference.labels)
        other = ~is_same & ~is_relevant[i]
        keys, numbers = np.unique(i[other] * n_classes + truth.label[j[other]], return_inverse=True)
        crossing = keys[np.bincount(numbers, share[other], len(keys)) >= config.cttc - ROUNDING]
        # A detection behind the end of its recording is not in the time that is evaluated.
        is_within = found.onset < reference.durations[found.file]
        return cls(
            reference,
            found.label,
            is_relevant,
            i[covering],
            j[covering],
            (seconds / length)[covering],
            crossing // n_classes,
            crossing % n_classes,
            ~is_relevant & is_within & found.lasts,
            config.gtc,
        )

    def rates(self, kept: NDArray[np.bool_] | None = None) -> ClassRates:
        """Return counts and rates of the classes of the truth.

        As in `psds_eval`, what is found are reference events, and what is false are detections.

        Parameters
        ----------
        kept
            Which detections are there, shape (detections,); all if None.
        """
        n, n_true_labels = len(self.reference.labels), self.reference.n_true_labels
        rows = np.ones(len(self.label), bool) if kept is None else kept
        own = rows[self.cover_of]
        truth = self.reference.events
        covered = np.bincount(self.covers[own], self.share[own], len(truth))
        hit = (covered >= self.gtc - ROUNDING) & (
            np.bincount(self.covers[own], minlength=len(truth)) > 0
        )
        n_hit = np.bincount(truth.label[hit], minlength=n)
        n_false = np.bincount(self.label[rows & self.is_false], minlength=n)
        n_true = np.bincount(truth.label[truth.lasts], minlength=n)
        per_class = {
            self.reference.labels[c]: Rates(
                int(n_true[c]), int(n_hit[c] + n_false[c]), int(n_hit[c])
            )
            for c in range(n_true_labels)
        }
        micro = Rates(
            int(n_true.sum()), int(n_hit.sum() + n_false[:n_true_labels].sum()), int(n_hit.sum())
        )
        return ClassRates(micro, per_class)

    def curves(self, first: Reals, last: Reals) -> list[Curve]:
        """Return the counts of each class of the truth at all thresholds.

        Parameters
        ----------
        first, last
            A detection is there at thresholds above `first` and up to `last`; shape (detections,).
        """
        n_classes = len(self.reference.labels)
        hit_label, hit_at, hit_step = self._hit_steps(first, last)
        cross_label = self.label[self.cross_of]
        curves = []
        for c in range(self.reference.n_true_labels):
            own = hit_label == c
            false = np.flatnonzero(self.is_false & (self.label == c))
            crosses = np.flatnonzero(cross_label == c)
            crossing = self.cross_of[crosses]
            every = [hit_at[own], last[false], first[false]]
            points = np.unique(np.concatenate(every))[::-1]
            points = points[np.isfinite(points)]
            n_cross = np.zeros((len(points), n_classes), np.int64)
            for k in np.unique(self.crosses[crosses]).tolist():
                rows = crossing[self.crosses[crosses] == k]
                n_cross[:, k] = _steps(points, last[rows], first[rows])
            n_found = _sums(points, hit_at[own], hit_step[own])
            n_false = _steps(points, last[false], first[false])
            curves.append(Curve(points, n_found, n_false, n_cross))
        return curves

    def _hit_steps(self, first: Reals, last: Reals) -> tuple[Ints, Reals, Ints]:
        """Return where reference events become found (+1) or lost (-1) as the threshold falls.

        Returns
        -------
        Class, threshold and step, each of the shape (steps,).
        """
        truth = self.reference.events
        event = np.concatenate([self.covers, self.covers])
        at = np.concatenate([last[self.cover_of], first[self.cover_of]])
        change = np.concatenate([self.share, -self.share])
        real = np.isfinite(at)
        event, at, change = event[real], at[real], change[real]
        order = np.lexsort((-at, event))
        event, at, change = event[order], at[order], change[order]
        ends = np.flatnonzero((np.diff(event, append=-1) != 0) | (np.diff(at, append=-1) != 0))
        sums = np.cumsum(change)
        starts = np.flatnonzero(np.diff(event, prepend=-1) != 0)
        before = np.repeat(sums[starts] - change[starts], np.diff(starts, append=len(event)))
        # What one event sums up may not carry the rounding of all the others before it.
        rounding = max(ROUNDING, 1e-12 * float(np.abs(sums).max(initial=0.0)))
        is_hit = (sums - before)[ends] >= self.gtc - rounding
        event, at = event[ends], at[ends]
        was_hit = np.concatenate([[False], is_hit[:-1]])
        was_hit[np.diff(event, prepend=-1) != 0] = False
        changed = is_hit != was_hit
        step = np.where(is_hit, 1, -1)[changed]
        return truth.label[event[changed]], at[changed], step


def _steps(points: Reals, begins: Reals, ends: Reals) -> Ints:
    """Return how many ranges, above their ends and up to their begins, hold each point."""
    n_begun = len(begins) - np.searchsorted(np.sort(begins), points, "left")
    n_ended = len(ends) - np.searchsorted(np.sort(ends), points, "left")
    counts: Ints = (n_begun - n_ended).astype(np.int64)
    return counts


def _sums(points: Reals, at: Reals, steps: Ints) -> Ints:
    """Return the sum of the steps at or above each point."""
    order = np.argsort(-at, kind="stable")
    sums = np.concatenate([[0], np.cumsum(steps[order])])
    found: Ints = sums[np.searchsorted(-at[order], -points, "right")]
    return found
