"""Rates of counts, as `sed_eval` defines them; NaN where a rate is not defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rates:
    """Counts of events or segments, and their rates.

    Mesaros, Heittola and Virtanen, *Metrics for polyphonic sound event detection*, Applied Sciences
    6(6), 2016. A class with reference events and no detection has a precision of 0.

    Attributes
    ----------
    n_true, n_found, n_matched
        Of the reference, of the detections, and of both.
    n_substituted
        Detections that take the place of a reference of another class.
    """

    n_true: int
    n_found: int
    n_matched: int
    n_substituted: int = 0

    @property
    def precision(self) -> float:
        """Share of the detections that are right."""
        if not self.n_found:
            return 0.0 if self.n_true else float("nan")
        return self.n_matched / self.n_found

    @property
    def recall(self) -> float:
        """Share of the reference that was detected."""
        return self.n_matched / self.n_true if self.n_true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN if there is no reference."""
        if not self.n_true:
            return float("nan")
        return 2 * self.n_matched / (self.n_true + self.n_found)

    @property
    def substitution_rate(self) -> float:
        """Substitutions per reference."""
        return self._per_true(self.n_substituted)

    @property
    def deletion_rate(self) -> float:
        """Missed, per reference."""
        return self._per_true(self.n_true - self.n_matched - self.n_substituted)

    @property
    def insertion_rate(self) -> float:
        """False detections per reference."""
        return self._per_true(self.n_found - self.n_matched - self.n_substituted)

    @property
    def error_rate(self) -> float:
        """Substitutions, deletions and insertions per reference; may exceed 1."""
        return self.substitution_rate + self.deletion_rate + self.insertion_rate

    def as_dict(self) -> dict[str, float | int | None]:
        """Return counts and rates by their names; None for a rate that is not defined."""
        names = ("precision", "recall", "f1")
        rates = {name: _defined(getattr(self, name)) for name in names}
        return {"n_true": self.n_true, "n_found": self.n_found, "n_matched": self.n_matched} | rates

    def errors(self) -> dict[str, float | None]:
        """Return the error rate and its parts."""
        parts = ("substitution_rate", "deletion_rate", "insertion_rate")
        return {
            "error_rate": _defined(self.error_rate),
            **{name.removesuffix("_rate"): _defined(getattr(self, name)) for name in parts},
        }

    def _per_true(self, n: int) -> float:
        return n / self.n_true if self.n_true else float("nan")


@dataclass(frozen=True)
class ClassRates:
    """Rates of all classes together (micro), of each, and their means (macro).

    Attributes
    ----------
    micro
        Of all classes together.
    classes
        Of each class, by its name.
    """

    micro: Rates
    classes: dict[str, Rates]

    def macro(self, name: str) -> float:
        """Return the mean of a rate over the classes in which it is defined."""
        return mean([getattr(rates, name) for rates in self.classes.values()])

    def as_dict(self) -> dict[str, object]:
        """Return F1, precision and recall: micro, macro and per class."""
        macro = {name: _defined(self.macro(name)) for name in ("precision", "recall", "f1")}
        classes = {label: rates.as_dict() for label, rates in self.classes.items()}
        return {"micro": self.micro.as_dict(), "macro": macro, "classes": classes}

    def errors(self) -> dict[str, object]:
        """Return error rates: micro, macro and per class."""
        names = ("error_rate", "substitution_rate", "deletion_rate", "insertion_rate")
        macro = {
            name.removesuffix("_rate") if i else name: _defined(self.macro(name))
            for i, name in enumerate(names)
        }
        classes = {label: rates.errors() for label, rates in self.classes.items()}
        return {"micro": self.micro.errors(), "macro": macro, "classes": classes}


def mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
