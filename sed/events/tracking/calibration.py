"""Make calibrated probabilities of the frame probabilities of a class, with a map that never falls.

J. Platt, *Probabilistic outputs for support vector machines*, 1999; B. Zadrozny and C. Elkan,
*Transforming classifier scores into accurate multiclass probability estimates*, KDD 2002.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sed.text import near, printable
from sed.types import Floats

CLIP = 1e-7  # of probabilities, before the logit
MAX_KNOTS = 10_000
MAX_SLOPE = 1e6


@dataclass(frozen=True)
class Platt:
    """A logistic function of the logit: ``1 / (1 + exp(-(slope · logit(p) + intercept)))``.

    Attributes
    ----------
    slope, intercept
        Of the line; the slope is above 0.
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        """Refuse a map that falls."""
        if not (0 < self.slope <= MAX_SLOPE and abs(self.intercept) <= MAX_SLOPE):
            raise ValueError(
                f"expected a slope above 0 up to {MAX_SLOPE:g} and an intercept within "
                f"±{MAX_SLOPE:g}, got {self.slope:g} and {self.intercept:g}"
            )

    def __call__(self, probs: Floats) -> Floats:
        """Return the calibrated probabilities, of the same shape."""
        clipped = np.clip(probs, CLIP, 1 - CLIP).astype(np.float64)
        line = self.slope * np.log(clipped / (1 - clipped)) + self.intercept
        # Numerator and denominator that cannot overflow.
        small = np.exp(-np.abs(line))
        calibrated: Floats = (np.where(line < 0, small, 1) / (1 + small)).astype(np.float32)
        return calibrated


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between points, and the first and last probability beyond them.

    Attributes
    ----------
    scores
        Probabilities of the model, which rise.
    probabilities
        Calibrated probabilities in [0, 1], which do not fall.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse points that are no map, or one that falls."""
        xs, ys = np.asarray(self.scores, np.float64), np.asarray(self.probabilities, np.float64)
        if not (xs.ndim == ys.ndim == 1 and 1 <= len(xs) == len(ys) <= MAX_KNOTS):
            raise ValueError(f"expected as many scores as probabilities, 1 to {MAX_KNOTS:,}")
        if not (np.all(np.diff(xs) > 0) and np.all(np.diff(ys) >= 0)):
            raise ValueError("expected scores that rise and probabilities that do not fall")
        if not all(np.all((values >= 0) & (values <= 1)) for values in (xs, ys)):
            raise ValueError("expected scores and probabilities from 0 to 1")

    def __call__(self, probs: Floats) -> Floats:
        """Return the calibrated probabilities, of the same shape."""
        calibrated: Floats = np.interp(probs, self.scores, self.probabilities).astype(np.float32)
        return calibrated


Calibration = Platt | Isotonic


def calibrate(probs: Floats, calibrations: Mapping[int, Calibration]) -> Floats:
    """Return frame probabilities with those of some classes calibrated.

    Parameters
    ----------
    probs
        Shape (frames, classes).
    calibrations
        Maps by the number of the class.
    """
    if not calibrations or not len(probs):
        return probs
    calibrated = probs.copy()
    for c, calibration in calibrations.items():
        calibrated[:, c] = calibration(probs[:, c])
    return calibrated


def read_calibration(where: str, table: Any) -> Calibration:
    """Return the calibration in a table of TOML or JSON.

    Parameters
    ----------
    where
        Name of the table, for messages.
    table
        The keys and values of one of the two maps.

    Raises
    ------
    ValueError
        If it is no such table.
    """
    if not isinstance(table, dict):
        raise ValueError(f"expected a table for {where}, got {table!r}")
    keys = {field.name for kind in (Platt, Isotonic) for field in dataclasses.fields(kind)}
    for key in table:
        if key not in keys:
            raise ValueError(
                f"unknown key {printable(key)!r} of {where}. {near(key, sorted(keys))}"
            )
    for kind in (Platt, Isotonic):
        if {field.name for field in dataclasses.fields(kind)} == set(table):
            return _made(kind, where, table)
    raise ValueError(f"expected slope and intercept, or scores and probabilities, for {where}")


def _made(kind: type[Platt] | type[Isotonic], where: str, table: Mapping[str, Any]) -> Calibration:
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in table.items()
    }
    for key, value in values.items():
        numbers = value if kind is Isotonic and isinstance(value, tuple) else (value,)
        if not all(map(is_number, numbers)):
            raise ValueError(f"expected {where}.{key} as numbers, got {str(value)[:40]}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def is_number(value: Any) -> bool:
    """Return whether a value of TOML or JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
