"""Polyphonic sound detection score: the area under the mean ROC curve of the classes.

Bilen et al., *A framework for the robust evaluation of sound event detection*, ICASSP 2020. The
curves are those of `psds_eval`: steps between operating points, which never descend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.scoring.intersection import Curve, IntersectionConfig
from sed.events.scoring.reference import Ints, Reals, Reference
from sed.text import near

CROSS_MEANS = ("all", "other")


@dataclass(frozen=True)
class PsdsConfig:
    """Parameters of a polyphonic sound detection score.

    Attributes
    ----------
    dtc, gtc, cttc
        See `sed.events.scoring.intersection`.
    alpha_ct
        Weight of cross-triggers, 0 to 1.
    alpha_st
        Cost of the differences between classes, 0 or more.
    max_efpr
        Effective false positives per hour up to which the area counts.
    cross_mean
        What the sum of a class's cross-trigger rates is divided by: the number of the ``other``
        classes, as in the paper, `psds_eval` 0.5 and `sed_scores_eval`; or of ``all`` classes,
        which gives the published figures of the baseline of DCASE's task 4.
    """

    dtc: float = 0.7
    gtc: float = 0.7
    cttc: float = 0.3
    alpha_ct: float = 0.0
    alpha_st: float = 1.0
    max_efpr: float = 100.0
    cross_mean: Literal["all", "other"] = "all"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not 0 <= self.alpha_ct <= 1:
            raise UsageError(f"expected an alpha_ct of 0 to 1, got {self.alpha_ct:g}")
        if not (0 <= self.alpha_st < float("inf") and 0 < self.max_efpr < float("inf")):
            raise UsageError("expected an alpha_st of 0 or more and a max_efpr above 0")
        if self.cross_mean not in CROSS_MEANS:
            raise UsageError(
                f"unknown mean {self.cross_mean!r}. {near(self.cross_mean, CROSS_MEANS)}"
            )

    @property
    def intersection(self) -> IntersectionConfig:
        """The tolerances."""
        return IntersectionConfig(self.dtc, self.gtc, self.cttc)


# Of DCASE's task 4: exact times; and rough times, but classes that are not confused.
SCENARIO_1 = PsdsConfig()
SCENARIO_2 = PsdsConfig(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5)


@dataclass(frozen=True)
class PsdRoc:
    """The curve of the polyphonic sound detection score.

    Attributes
    ----------
    efpr
        Effective false positives per hour at which some class has an operating point, ascending
        from 0; shape (points,). They include `max_efpr`.
    tpr
        Share of the reference events found from there on, of each class, shape (classes, points);
        NaN for a class without reference events.
    etpr
        Effective share of all classes: their mean less `alpha_st` times their standard deviation,
        at least 0; shape (points,).
    score
        Area under `etpr` up to `max_efpr`, 0 to 1.
    """

    efpr: Reals
    tpr: Reals
    etpr: Reals
    score: float


@dataclass(frozen=True)
class OperatingPoints:
    """Rates of one class at its operating points, shape (points,)."""

    tpr: Reals
    efpr: Reals


def operating_points(
    reference: Reference,
    label: int,
    n_found: Ints,
    n_false: Ints,
    n_cross: Ints,
    config: PsdsConfig,
) -> OperatingPoints:
    """Return the rates of a class from its counts; NaN if it has no reference events.

    Parameters
    ----------
    reference
        What is true.
    label
        Number of the class.
    n_found, n_false
        Reference events found and false detections, shape (points,).
    n_cross
        Cross-triggers of each class, shape (points, classes).
    config
        Says how cross-triggers count.
    """
    truth = reference.events
    n_true = int((truth.lasts & (truth.label == label)).sum())
    if not n_true:
        return OperatingPoints(np.full(1, np.nan), np.zeros(1))
    efpr = n_false / reference.hours
    seconds = np.bincount(truth.label, truth.offset - truth.onset, len(reference.labels))
    # What has no length triggers nothing.
    others = [c for c in range(reference.n_true_labels) if c != label and seconds[c]]
    if config.alpha_ct and others:
        rates = n_cross[:, others] / (seconds[others] / 3600)
        n_means = len(others) + (config.cross_mean == "all")
        efpr = efpr + config.alpha_ct * rates.sum(axis=1) / n_means
    return OperatingPoints(n_found / n_true, efpr)


def psd_roc(classes: Sequence[OperatingPoints], config: PsdsConfig) -> PsdRoc:
    """Return the curve and the score of the operating points of each class."""
    kept = [_best_steps(points, config.max_efpr) for points in classes]
    efpr = np.unique(np.concatenate([[0.0, config.max_efpr], *(points.efpr for points in kept)]))
    tpr = np.stack([_at(points, efpr) for points in kept]) if kept else np.empty((0, len(efpr)))
    known = tpr[~np.isnan(tpr).any(axis=1)]
    if len(known):
        etpr = np.maximum(0.0, known.mean(axis=0) - config.alpha_st * known.std(axis=0))
    else:
        etpr = np.zeros(len(efpr))
    score = float(np.sum(np.diff(efpr) * etpr[:-1])) / config.max_efpr
    return PsdRoc(efpr, tpr, etpr, score)


def roc_of_curves(reference: Reference, curves: Sequence[Curve], config: PsdsConfig) -> PsdRoc:
    """Return the curve of counts at all thresholds, as `Intersections.curves` gives them."""
    return psd_roc(
        [
            operating_points(reference, c, curve.n_found, curve.n_false, curve.n_cross, config)
            for c, curve in enumerate(curves)
        ],
        config,
    )


def _best_steps(points: OperatingPoints, max_efpr: float) -> OperatingPoints:
    """Return the points at which a class finds more than with fewer false positives."""
    if np.isnan(points.tpr).any():
        return OperatingPoints(np.full(1, np.nan), np.zeros(1))
    order = np.lexsort((-points.tpr, points.efpr))
    order = order[points.efpr[order] <= max_efpr]
    tpr, efpr = points.tpr[order], points.efpr[order]
    best = np.maximum.accumulate(tpr)
    is_step = np.diff(best, prepend=0.0) > 0
    return OperatingPoints(tpr[is_step], efpr[is_step])


def _at(points: OperatingPoints, efpr: NDArray[np.float64]) -> Reals:
    """Return the share that a class finds at each number of false positives."""
    if np.isnan(points.tpr).any():
        return np.full(len(efpr), np.nan)
    steps = np.concatenate([[0.0], points.tpr])
    found: Reals = steps[np.searchsorted(points.efpr, efpr, "right")]
    return found
