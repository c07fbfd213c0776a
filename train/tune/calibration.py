"""Fit the calibration of the frame probabilities of each class, and measure it on held-out parts.

The expected calibration error is the mean distance of probability and frequency over bins of equal
width (Guo et al., *On calibration of modern neural networks*, ICML 2017).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.tracking.calibration import CLIP, Calibration, Isotonic, Platt, calibrate
from sed.text import near
from sed.types import Floats
from train.tune.labelled import Stretch, TuningData

METHODS = ("platt", "isotonic")
N_BINS = 10
MAX_KNOTS = 200

Flags = NDArray[np.bool_]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """How often a class is there, by its probability; arrays of the shape (bins,).

    Attributes
    ----------
    n, probability, frequency
        Number of frames or clips, mean probability, and share in which the class is there.
    """

    n: Reals
    probability: Reals
    frequency: Reals

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1."""
        return float((self.n * np.abs(self.probability - self.frequency)).sum() / self.n.sum())


@dataclass(frozen=True)
class CalibrationResult:
    """Calibrations, and what they gain on held-out parts.

    Attributes
    ----------
    calibrations
        By the number of the class in the data.
    before, after
        Reliability of all calibrated classes without and with calibration; None without any.
    """

    calibrations: dict[int, Calibration]
    before: Reliability | None = None
    after: Reliability | None = None


def fit_calibrations(
    data: TuningData, folds: NDArray[np.int64], method: str, min_events: int
) -> CalibrationResult:
    """Fit the calibration of each class on all data; measure it by cross-validation.

    Parameters
    ----------
    data
        Labelled frames. Where labels have no times, the highest probability of a clip counts.
    folds
        Fold of each stretch.
    method
        ``platt`` or ``isotonic``.
    min_events
        A class with fewer labelled events is left as it is.

    Raises
    ------
    UsageError
        If the method is unknown.
    """
    if method not in METHODS:
        raise UsageError(f"unknown calibration {method!r}. {near(method, METHODS)}")
    found: dict[int, Calibration] = {}
    before, after, targets = [], [], []
    for c in range(len(data.labels)):
        if sum(int((one.truth.label == c).sum()) for one in data.stretches) < min_events:
            continue
        rows = [_rows(one, c, data) for one in data.stretches]
        probs = np.concatenate([p for p, _ in rows])
        there = np.concatenate([t for _, t in rows])
        fold = np.concatenate(
            [np.full(len(p), folds[i]) for i, (p, _) in enumerate(rows)] or [folds[:0]]
        )
        fitted = _fit(probs, there, method)
        if fitted is None:
            continue
        held_out = probs.copy()
        for k in np.unique(fold):
            own = _fit(probs[fold != k], there[fold != k], method)
            held_out[fold == k] = probs[fold == k] if own is None else own(probs[fold == k])
        found[c] = fitted
        before.append(probs)
        after.append(held_out)
        targets.append(there)
    if not found:
        return CalibrationResult({})
    there = np.concatenate(targets)
    return CalibrationResult(
        found,
        reliability(np.concatenate(before), there),
        reliability(np.concatenate(after), there),
    )


def calibrated(data: TuningData, calibrations: Mapping[int, Calibration]) -> TuningData:
    """Return the data with calibrated frame probabilities."""
    stretches = tuple(
        dataclasses.replace(one, probs=calibrate(one.probs, calibrations)) for one in data.stretches
    )
    return dataclasses.replace(data, stretches=stretches)


def reliability(probs: Floats, there: Flags) -> Reliability:
    """Return how often a class is there in bins of its probability, those with any frame."""
    place = np.minimum((probs * N_BINS).astype(int), N_BINS - 1)
    n = np.bincount(place, minlength=N_BINS).astype(np.float64)
    some = n > 0
    mean, share = (
        np.bincount(place, values.astype(np.float64), N_BINS)[some] / n[some]
        for values in (probs, there)
    )
    return Reliability(n[some], mean, share)


def _rows(one: Stretch, number: int, data: TuningData) -> tuple[Floats, Flags]:
    """Return probabilities of a class and whether it is there, of frames or of one clip."""
    probs = one.probs[:, number]
    own = one.truth.label == number
    if not data.is_strong:
        known = number not in one.unknown
        return probs.max(keepdims=True)[:known], np.array([own.any()])[:known]
    middle = (np.arange(len(probs)) + 0.5) * data.timeline.frame_seconds
    there = np.zeros(len(probs), bool)
    for onset, offset in zip(one.truth.onset[own], one.truth.offset[own], strict=True):
        there |= (middle >= onset) & (middle < offset)
    return probs, there


def _fit(probs: Floats, there: Flags, method: str) -> Calibration | None:
    """Return a calibration; None if there is nothing to fit, or it would fall."""
    if there.all() or not there.any():
        return None
    if method == "platt":
        from sklearn.linear_model import LogisticRegression

        clipped = np.clip(probs, CLIP, 1 - CLIP).astype(np.float64)
        line = LogisticRegression(C=1e3).fit(np.log(clipped / (1 - clipped))[:, None], there)
        slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
        return Platt(slope, intercept) if slope > 0 else None
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probs, there)
    xs = np.asarray(fitted.X_thresholds_, np.float64)
    ys = np.asarray(fitted.y_thresholds_, np.float64)
    if len(xs) > MAX_KNOTS:
        kept = np.unique(np.linspace(0, len(xs) - 1, MAX_KNOTS).astype(int))
        xs, ys = xs[kept], ys[kept]
    return Isotonic(tuple(xs.tolist()), tuple(np.maximum.accumulate(ys).tolist()))
