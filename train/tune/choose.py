r"""Choose the setting of each class by cross-validation within cross-validation.

::

    all folds ─┬─ fold k, held out ─────────────────────────▶ what is reported
               └─ the others ─┬─ fold j ─▶ how much a class goes its own way: which variant
                              └─ the others ─▶ the setting of each variant

The variants: the setting of the model; the one that is best for all classes together; the one that
is best for the class itself; and compromises, in which all classes count as so many events of the
class. Few events of a class say little, and the last variant then seldom holds on other recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.text import near
from train.tune.counts import Counts

METRICS = ("event_f1", "segment_f1", "psds1")
WEIGHTS = (np.inf, 16.0, 4.0, 1.0, 0.0)  # of all classes together, in events of the class
MODEL = 0  # number of the setting of the model
SMALLEST_GAIN = 1e-9
NEIGHBOURS = 0.5  # weight of the thresholds next to one: what holds around it holds elsewhere
MAX_EFPR = 100.0  # false events per hour up to which the curve of PSDS counts

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class TargetConfig:
    """What settings are chosen for; one of the three.

    Attributes
    ----------
    maximise
        ``event_f1``, ``segment_f1`` or ``psds1``; F1 of clips where labels have no times.
    max_false_per_hour
        Highest recall with no more false events per hour than this.
    min_precision
        Highest recall with a precision no lower than this.
    """

    maximise: str = "event_f1"
    max_false_per_hour: float | None = None
    min_precision: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.maximise not in METRICS:
            raise UsageError(f"cannot maximise {self.maximise!r}. {near(self.maximise, METRICS)}")
        if self.max_false_per_hour is not None and self.min_precision is not None:
            raise UsageError("give one target: false events per hour, or precision")
        if self.max_false_per_hour is not None and not 0 <= self.max_false_per_hour < np.inf:
            raise UsageError(
                f"expected false events per hour of 0 or more, got {self.max_false_per_hour:g}"
            )
        if self.min_precision is not None and not 0 < self.min_precision <= 1:
            raise UsageError(
                f"expected a precision above 0 and up to 1, got {self.min_precision:g}"
            )

    @property
    def is_limit(self) -> bool:
        """Whether recall is sought within a limit."""
        return self.max_false_per_hour is not None or self.min_precision is not None

    def goals(self, counts: Counts, hours: float) -> Reals:
        """Return how good settings are, shape (settings,): higher is better.

        Within a limit that is the recall, beyond it a negative number, the distance from it.

        Parameters
        ----------
        counts
            Of one fold or one sum.
        hours
            Length of its recordings.
        """
        if not self.is_limit and self.maximise == "psds1":
            return areas(counts, hours)
        n_true = counts.n_true[0]
        n_found, n_false, n_hit = (
            each[:, 0] for each in (counts.n_found, counts.n_false, counts.n_hit)
        )
        recall = n_hit / max(n_true, 1.0)
        if self.max_false_per_hour is not None:
            rate = n_false / max(hours, 1e-9)
            return np.where(rate <= self.max_false_per_hour, recall, self.max_false_per_hour - rate)
        if self.min_precision is not None:
            precision = 1 - n_false / np.maximum(n_found, 1)
            return np.where(precision >= self.min_precision, recall, precision - self.min_precision)
        goals: Reals = 2 * n_hit / np.maximum(n_true + n_found, 1.0)
        return goals


def areas(counts: Counts, hours: float) -> Reals:
    """Return the areas under the curves of settings, up to `MAX_EFPR` false events per hour."""
    shape = -1, counts.n_levels
    tpr = counts.n_hit[:, 0].reshape(shape) / max(counts.n_true[0], 1.0)
    rate = np.minimum(counts.n_false[:, 0].reshape(shape) / max(hours, 1e-9), MAX_EFPR)
    steps = np.diff(rate, axis=1, append=MAX_EFPR)
    under: Reals = (tpr * steps).sum(axis=1) / MAX_EFPR
    return under


@dataclass(frozen=True)
class Choice:
    """What was chosen for one class.

    Attributes
    ----------
    setting
        Its number; `MODEL` for that of the model.
    variant
        Number of the variant: 0 the model's, then those of `WEIGHTS`.
    """

    setting: int
    variant: int


@dataclass(frozen=True)
class HeldOut:
    """What settings find in folds that they were not chosen on.

    Attributes
    ----------
    model, tuned
        Counts of each class, of the setting of the model and of those chosen; one setting, and a
        column per fold.
    """

    model: tuple[Counts, ...]
    tuned: tuple[Counts, ...]


class Chooser:
    """Chooses among settings by their counts in folds.

    Parameters
    ----------
    counts
        Of each class.
    neighbours
        Of the settings of each class, see `train.tune.settings.neighbours`.
    hours
        Length of each fold.
    target
        What settings are chosen for.
    min_events
        A class with fewer labelled events is not tuned by itself, but for a limit.
    """

    def __init__(
        self,
        counts: Sequence[Counts],
        neighbours: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        hours: Reals,
        target: TargetConfig,
        min_events: int,
    ) -> None:
        self._counts, self._neighbours = tuple(counts), tuple(neighbours)
        self._all: Counts = reduce(add, counts)
        self._hours, self._target, self._min_events = hours, target, min_events
        self._n_folds = len(hours)
        # Rates of false events are those of a class.
        is_rate = target.is_limit or target.maximise == "psds1"
        self._n_summed = len(self._counts) if is_rate else 1

    def must_change(self, number: int) -> bool:
        """Return whether the model is beyond the limit on the data of a class."""
        return self._is_beyond(self._counts[number], range(self._n_folds))

    def choose(self) -> list[Choice]:
        """Return the choice of each class from all folds."""
        return self._choose(range(self._n_folds))

    def held_out(self) -> HeldOut:
        """Return what choices find in the fold that they leave out, for each fold."""
        model, tuned = [], []
        chosen = [
            self._choose([f for f in range(self._n_folds) if f != k]) for k in range(self._n_folds)
        ]
        for c, counts in enumerate(self._counts):
            parts = [counts.of(chosen[k][c].setting).total([k]) for k in range(self._n_folds)]
            model.append(counts.of(MODEL))
            n_found, n_false, n_hit = (
                np.concatenate([getattr(part, name) for part in parts], axis=1)
                for name in ("n_found", "n_false", "n_hit")
            )
            tuned.append(Counts(counts.n_true, n_found, n_false, n_hit, counts.n_levels))
        return HeldOut(tuple(model), tuple(tuned))

    def _choose(self, folds: Sequence[int]) -> list[Choice]:
        """Return the choice of each class from some folds."""
        inner = [([f for f in folds if f != k], k) for k in folds] if len(folds) > 1 else []
        best = self._best(folds)
        tried = [self._best(others) for others, _ in inner]
        choices = []
        for c, counts in enumerate(self._counts):
            hours = float(self._hours[list(folds)].sum())
            is_rare = counts.n_true[list(folds)].sum() < self._min_events
            if self._is_beyond(counts, folds):
                choices.append(Choice(int(best[c][0]), 1))
                continue
            n_variants = 2 if is_rare else 1 + len(best[c])
            goals = []
            for variant in range(n_variants):
                parts = [
                    counts.of(MODEL if not variant else tried[i][c][variant - 1]).total([k])
                    for i, (_, k) in enumerate(inner)
                ]
                goals.append(self._target.goals(reduce(add, parts), hours)[0] if parts else 0.0)
            variant = 0
            for other in range(1, n_variants):
                if goals[other] > goals[variant] + SMALLEST_GAIN:
                    variant = other
            setting = MODEL if not variant else int(best[c][variant - 1])
            choices.append(Choice(setting, variant))
        return choices

    def _is_beyond(self, counts: Counts, folds: Sequence[int]) -> bool:
        """Return whether the setting of the model is beyond the limit, so that it cannot stay."""
        total, hours = counts.of(MODEL).total(folds), float(self._hours[list(folds)].sum())
        return self._target.is_limit and bool(self._target.goals(total, hours)[0] < 0)

    def _best(self, folds: Sequence[int]) -> list[list[int]]:
        """Return the best setting of each class and variant in some folds."""
        hours = float(self._hours[list(folds)].sum())
        together = self._target.goals(self._all.total(folds), hours * self._n_summed)
        weights = (0.0,) if self._target.is_limit else WEIGHTS
        best = []
        # Within a limit, neighbours only decide between equal ones.
        beside = 1e-4 if self._target.is_limit else NEIGHBOURS
        for counts, (lower, upper) in zip(self._counts, self._neighbours, strict=True):
            own = counts.total(folds)
            goals, n = self._target.goals(own, hours), own.n_true[0]
            row = []
            for weight in weights:
                # Of equal ones that which is best for all classes.
                share = 1.0 if weight == np.inf else weight / (n + weight) if weight else 1e-6
                mixed = (1 - share) * goals + share * together
                around = (mixed[lower] + mixed[upper]) / 2
                row.append(int(np.argmax((1 - beside) * mixed + beside * around)))
            best.append(row)
        return best
