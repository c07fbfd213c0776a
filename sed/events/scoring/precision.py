"""Estimate precision by score from what was reviewed, and the threshold for a wanted precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_BINS = 10  # of scores, from 0 to 1
Z = 1.959963984540054  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class PrecisionBin:
    """The precision of events whose scores are in a range.

    Attributes
    ----------
    low, high
        The range; its upper end belongs to the next.
    n_events
        Events in it.
    n_reviewed
        Those with a verdict.
    n_right
        Those that are right.
    interval
        Wilson's interval of 95 % for the share that is right.
    """

    low: float
    high: float
    n_events: int
    n_reviewed: int
    n_right: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Threshold:
    """A threshold and the precision of the events at or above it.

    Attributes
    ----------
    value
        The threshold.
    precision
        Estimate of the precision.
    interval
        Its interval of 95 %.
    n_reviewed
        Reviewed events at or above it, which this rests on.
    n_events
        All events at or above it.
    """

    value: float
    precision: float
    interval: tuple[float, float]
    n_reviewed: int
    n_events: int


def wilson_interval(n_right: float, n: float) -> tuple[float, float]:
    """Return the interval of 95 % for a proportion (Wilson 1927, "Probable inference").

    >>> low, high = wilson_interval(8, 10)
    >>> f"{low:.4f} {high:.4f}"
    '0.4902 0.9433'
    """
    if n <= 0:
        return 0.0, 1.0
    share = n_right / n
    centre = share + Z * Z / (2 * n)
    half = Z * float(np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)))
    scale = 1 + Z * Z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def precision_bins(
    score: NDArray[np.float64], reviewed: NDArray[np.bool_], right: NDArray[np.bool_]
) -> list[PrecisionBin]:
    """Return the precision in `N_BINS` ranges of scores.

    Parameters
    ----------
    score, reviewed, right
        Of each event: its score, whether it has a verdict, and whether that is right.
    """
    bins = _bins(score)
    counts = [np.bincount(bins[of], minlength=N_BINS) for of in (..., reviewed, reviewed & right)]
    return [
        PrecisionBin(i / N_BINS, (i + 1) / N_BINS, n, n_reviewed, k, wilson_interval(k, n_reviewed))
        for i, (n, n_reviewed, k) in enumerate(zip(*(c.tolist() for c in counts), strict=True))
    ]


def thresholds_for(
    wanted: float,
    score: NDArray[np.float64],
    reviewed: NDArray[np.bool_],
    right: NDArray[np.bool_],
) -> tuple[Threshold | None, Threshold | None]:
    """Return the smallest thresholds with a wanted precision, each None if there is none.

    Reviewers look at some scores more than at others, so each reviewed event counts for as many as
    there are in its range of scores per reviewed one (post-stratification; Cochran 1977, *Sampling
    techniques*, 5A.9). The interval is Wilson's with the effective number of events (Kish 1965,
    *Survey sampling*). Ranges without any reviewed event say nothing, and count for nothing.

    Parameters
    ----------
    wanted
        The precision, 0 to 1.
    score, reviewed, right
        As of `precision_bins`.

    Returns
    -------
    sure
        The smallest threshold whose lower bound of the interval reaches it.
    estimated
        The smallest whose estimate does.
    """
    bins = _bins(score)
    n_events, n_reviewed = (np.bincount(bins[of], minlength=N_BINS) for of in (..., reviewed))
    rows = np.flatnonzero(reviewed)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    scores = score[rows]
    weight = n_events[bins[rows]] / n_reviewed[bins[rows]]
    total, squares = np.cumsum(weight), np.cumsum(weight**2)
    estimate = np.cumsum(weight * right[rows]) / np.maximum(total, 1e-12)
    effective = total**2 / np.maximum(squares, 1e-12)
    # Events of the same score are above a threshold together.
    is_last = np.append(scores[1:] != scores[:-1], True)[: len(rows)]
    above = np.sort(score)
    sure: Threshold | None = None
    estimated: Threshold | None = None
    for i in np.flatnonzero(is_last & (estimate >= wanted)).tolist():
        interval = wilson_interval(float(estimate[i] * effective[i]), float(effective[i]))
        n = len(above) - int(np.searchsorted(above, scores[i]))
        estimated = Threshold(float(scores[i]), float(estimate[i]), interval, i + 1, n)
        if interval[0] >= wanted:
            sure = estimated
    return sure, estimated


def _bins(score: NDArray[np.float64]) -> NDArray[np.int64]:
    # Scores that are no probabilities, such as decibels, are in the first range or the last.
    return np.clip(np.nan_to_num(score) * N_BINS + 1e-9, 0, N_BINS - 1).astype(np.int64)
