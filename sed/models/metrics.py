"""How right the probabilities and the events are. Arrays are (clips, classes) throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def roc_auc(targets: Floats, scores: Floats) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each class, shape (classes,).

    The share of pairs of a positive and a negative in which the positive scores higher, ties
    counting half, as scikit-learn's ``roc_auc_score``; nan for a class without both kinds.
    """
    positive = np.asarray(targets) > 0.5
    result = np.full(positive.shape[1], np.nan)
    for c in range(positive.shape[1]):
        n_positive = int(positive[:, c].sum())
        n_negative = len(positive) - n_positive
        if n_positive and n_negative:
            _, step, n_equal = np.unique(scores[:, c], return_inverse=True, return_counts=True)
            ranks = (np.cumsum(n_equal) - (n_equal - 1) / 2)[step]  # equal scores share their mean
            above = ranks[positive[:, c]].sum() - n_positive * (n_positive + 1) / 2
            result[c] = above / (n_positive * n_negative)
    return result


def map_at(targets: Floats, scores: Floats, k: int = 3) -> float:
    """Return the mean average precision at `k` of FSDKaggle2018 (MAP@3 there).

    For a clip of one label, one over the rank of the label among the `k` highest scores, or zero
    if it is not among them. Clips of several labels get the sum of the precisions at the ranks of
    their labels, over the most labels that could be among `k`. Equal scores rank in the order of
    the classes. Clips without a label are left out; nan if that leaves none.
    """
    targets, scores = _labelled(targets, scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(targets > 0.5, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    most = np.minimum((targets > 0.5).sum(axis=1), k)
    return _mean((precision * hits).sum(axis=1) / most)


def accuracy(targets: Floats, scores: Floats) -> float:
    """Return the share of clips whose highest score is on their highest target.

    Clips without a label are left out; nan if that leaves none.
    """
    truth, predicted = _decisions(targets, scores)
    return _mean(truth == predicted)


def clip_metrics(targets: Floats, scores: Floats) -> dict[str, float]:
    """Return the figures that a model is judged by; nan where there is nothing to judge by.

    Means over classes leave out those that have no value: for ``map`` classes without a positive,
    for ``auc`` also those without a negative.
    """
    return {
        "accuracy": accuracy(targets, scores),
        "cmap5": padded_cmap(targets, scores, padding=5),
        "cmap3": padded_cmap(targets, scores, padding=3),
        "map": _mean(average_precision(targets, scores)),
        "map3": map_at(targets, scores, 3),
        "auc": _mean(roc_auc(targets, scores)),
    }


def confusion_matrix(targets: Floats, scores: Floats) -> NDArray[np.int64]:
    """Return how many clips of each class were taken for which, shape (true, predicted).

    Predicted is the class with the highest score; of several labels the first one in the order of
    the classes counts as true.
    Clips without a label are left out.
    """
    n_classes = np.shape(targets)[1]
    truth, predicted = _decisions(targets, scores)
    counts = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


@dataclass(frozen=True)
class DecisionReport:
    """How right the decisions for one class per clip are; arrays of shape (classes,)."""

    precision: NDArray[np.float64]  # nan for classes neither true nor predicted, as the next two
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]  # clips of the class

    def macro(self) -> dict[str, float]:
        """Return the means over classes."""
        return {name: _mean(getattr(self, name)) for name in ("precision", "recall", "f1")}

    def weighted(self) -> dict[str, float]:
        """Return the means over classes, weighted by their support."""
        there = self.support > 0
        share = self.support[there] / max(1, self.support.sum())
        return {
            name: float(getattr(self, name)[there] @ share) if there.any() else float("nan")
            for name in ("precision", "recall", "f1")
        }


def decision_report(targets: Floats, scores: Floats) -> DecisionReport:
    """Return precision, recall and F1 of the class with the highest score.

    As scikit-learn's ``precision_recall_fscore_support`` with ``zero_division=0``: a class that
    is true or predicted somewhere but never right has zeros.
    """
    confusion = confusion_matrix(targets, scores)
    right = np.diagonal(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    seen = support + predicted > 0

    def share(of: NDArray[np.int64], factor: float = 1.0) -> NDArray[np.float64]:
        return np.where(seen, factor * right / np.maximum(of, 1), np.nan)

    return DecisionReport(
        share(predicted), share(support), share(support + predicted, 2.0), support
    )


def _labelled(targets: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Return the rows that have a label."""
    targets, scores = np.asarray(targets), np.asarray(scores)
    there = (targets > 0.5).any(axis=1)
    return targets[there], scores[there]


def _decisions(targets: Floats, scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the true and the predicted class of each clip that has a label."""
    targets, scores = _labelled(targets, scores)
    return np.argmax(targets, axis=1), np.argmax(scores, axis=1)


def _mean(values: NDArray[Any]) -> float:
    """Return the mean of what is a number; nan if nothing is."""
    values = values[~np.isnan(values)]
    return float(np.mean(values)) if len(values) else float("nan")


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
