"""How right the probabilities and the events are. Arrays are (clips, classes) throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed.events import Event

Floats = NDArray[np.floating]


def average_precision(targets: Floats, scores: Floats) -> NDArray[np.float64]:
    """Return the average precision of each class, shape (classes,); nan without a positive.

    The sum over distinct scores of (recall gained) x (precision there), as scikit-learn's
    ``average_precision_score``; equal scores count as one step.
    """
    positive = np.asarray(targets) > 0.5
    result = np.full(positive.shape[1], np.nan)
    for c in range(positive.shape[1]):
        n_positive = int(positive[:, c].sum())
        if n_positive == 0:
            continue
        order = np.argsort(-scores[:, c], kind="stable")
        ranked = scores[order, c]
        hits = np.cumsum(positive[order, c])
        last_of_step = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        hits = hits[last_of_step]
        recall = np.diff(hits, prepend=0) / n_positive
        result[c] = float(np.sum(recall * hits / (last_of_step + 1)))
    return result


def padded_cmap(targets: Floats, scores: Floats, *, padding: int = 5) -> float:
    """Return the padded class-mean average precision of BirdCLEF 2023.

    Each class gets ``padding`` extra rows that are positive with score one, which keeps classes
    with few or no positives from ruling the mean.
    """
    rows = np.ones((padding, np.shape(targets)[1]))
    return float(np.mean(average_precision(np.vstack([targets, rows]), np.vstack([scores, rows]))))


def accuracy(targets: Floats, scores: Floats) -> float:
    """Return the share of clips whose highest score is on their highest target."""
    return float(np.mean(np.argmax(targets, axis=1) == np.argmax(scores, axis=1)))


def fit_thresholds(
    targets: Floats,
    scores: Floats,
    *,
    beta: float = 0.5,
    prior_weight: float = 8.0,
    lowest: float = 0.05,
    highest: float = 0.95,
) -> NDArray[np.float64]:
    """Return the threshold of each class that serves F-beta best, shape (classes,).

    A fold holds a handful of positives per class, so each class's own best threshold is drawn
    towards the best common one, on the logit scale: ``prior_weight`` says how many positives the
    common one is worth. ``beta`` below one prefers silence to false alarms.
    """
    positive = np.asarray(targets) > 0.5
    common = _best_threshold(positive.ravel(), np.asarray(scores).ravel(), beta)
    fitted = np.empty(positive.shape[1])
    for c in range(positive.shape[1]):
        n = int(positive[:, c].sum())
        own = _best_threshold(positive[:, c], np.asarray(scores)[:, c], beta) if n else common
        pulled = (n * _logit(own) + prior_weight * _logit(common)) / (n + prior_weight)
        fitted[c] = 1 / (1 + np.exp(-pulled))
    return np.clip(fitted, lowest, highest)


def _best_threshold(positive: NDArray[np.bool_], scores: Floats, beta: float) -> float:
    """Return the middle of the gap below the score at which F-beta is highest."""
    if not positive.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    hits = np.cumsum(positive[order])
    found = np.arange(1, len(ranked) + 1)
    f_beta = (1 + beta**2) * hits / (found + beta**2 * positive.sum())
    last_of_step = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    best = last_of_step[np.argmax(f_beta[last_of_step])]
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return float(np.log(p / (1 - p)))


@dataclass(frozen=True)
class EventScore:
    """How the events found compare with the true ones."""

    n_true: int
    n_found: int
    n_matched: int

    @property
    def recall(self) -> float:
        """Share of the true events that were found."""
        return self.n_matched / self.n_true if self.n_true else float("nan")

    @property
    def n_false(self) -> int:
        """Events found that match no true one."""
        return self.n_found - self.n_matched

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.n_true + self.n_found
        return 2 * self.n_matched / total if total else float("nan")


def match_events(
    truth: Sequence[Event], found: Sequence[Event], *, onset_tolerance: float = 1.0
) -> EventScore:
    """Match events one to one: same label, onsets at most ``onset_tolerance`` seconds apart.

    The nearest pairs are taken first. A second event on an already matched truth is a false one.
    """
    pairs = sorted(
        (abs(t.onset - f.onset), i, j)
        for i, t in enumerate(truth)
        for j, f in enumerate(found)
        if t.label == f.label and abs(t.onset - f.onset) <= onset_tolerance
    )
    taken_true: set[int] = set()
    taken_found: set[int] = set()
    for _, i, j in pairs:
        if i not in taken_true and j not in taken_found:
            taken_true.add(i)
            taken_found.add(j)
    return EventScore(len(truth), len(found), len(taken_true))
