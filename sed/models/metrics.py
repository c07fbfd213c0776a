"""Compute metrics of clip probabilities. Targets and scores have shape (clips, classes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def average_precision(targets: FloatArray, scores: FloatArray) -> NDArray[np.float64]:
    """Return the average precision of each class, shape (classes,); NaN without a positive.

    ``AP = Σ_n (R_n - R_{n-1}) · P_n`` over the distinct scores, with recall R and precision P, as
    scikit-learn's ``average_precision_score``.
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


def padded_cmap(targets: FloatArray, scores: FloatArray, *, padding: int = 5) -> float:
    """Return the padded class-mean average precision of BirdCLEF 2023.

    Each class gets `padding` further rows that are positive with score one, so that classes with
    few positives do not dominate the mean.

    Parameters
    ----------
    targets, scores
        Shape (clips, classes); targets above 0.5 are positive.
    padding
        Rows added to each class.
    """
    rows = np.ones((padding, np.shape(targets)[1]))
    return float(np.mean(average_precision(np.vstack([targets, rows]), np.vstack([scores, rows]))))


def roc_auc(targets: FloatArray, scores: FloatArray) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each class, shape (classes,).

    The fraction of pairs of a positive and a negative in which the positive has the higher score,
    ties counting half, as scikit-learn's ``roc_auc_score``; NaN for a class without both.
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


def map_at(targets: FloatArray, scores: FloatArray, k: int = 3) -> float:
    """Return the mean average precision at `k` of FSDKaggle2018 (MAP@3 there).

    For a clip of one label, 1 / rank of the label, or zero if the rank is above `k`. For a clip of
    several labels, the sum of the precisions at their ranks, divided by the number of labels, `k`
    at most. Equal scores rank in the order of the classes. Clips without a label are left out; NaN
    if there are no others.

    Parameters
    ----------
    targets, scores
        Shape (clips, classes); targets above 0.5 are labels.
    k
        Number of highest scores that count.
    """
    targets, scores = _labelled(targets, scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(targets > 0.5, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    most = np.minimum((targets > 0.5).sum(axis=1), k)
    return _mean((precision * hits).sum(axis=1) / most)


def accuracy(targets: FloatArray, scores: FloatArray) -> float:
    """Return the fraction of clips whose highest score is that of their highest target.

    Clips without a label are left out. NaN if there are no others, or if clips have several labels,
    of which one alone cannot be right.
    """
    if has_several_labels(targets):
        return float("nan")
    truth, predicted = _decisions(targets, scores)
    return _mean(truth == predicted)


def has_several_labels(targets: FloatArray) -> bool:
    """Return whether some clip has more than one label."""
    return bool(((np.asarray(targets) > 0.5).sum(axis=1) > 1).any())


def clip_metrics(targets: FloatArray, scores: FloatArray) -> dict[str, float]:
    """Return the metrics of a model by their names; NaN where one is not defined.

    Means over classes leave out classes without a positive, and for ``auc`` also classes without a
    negative.
    """
    return {
        "accuracy": accuracy(targets, scores),
        "padded_cmap_5": padded_cmap(targets, scores, padding=5),
        "padded_cmap_3": padded_cmap(targets, scores, padding=3),
        "map": _mean(average_precision(targets, scores)),
        "map_at_3": map_at(targets, scores, 3),
        "auc": _mean(roc_auc(targets, scores)),
    }


def confusion_matrix(targets: FloatArray, scores: FloatArray) -> NDArray[np.int64]:
    """Return the number of clips by class, shape (true classes, predicted classes).

    The predicted class has the highest score. Of several labels of a clip the first class is the
    true one. Clips without a label are left out.
    """
    n_classes = np.shape(targets)[1]
    truth, predicted = _decisions(targets, scores)
    counts = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


@dataclass(frozen=True)
class DecisionReport:
    """Precision, recall and F1 of one class per clip; arrays of shape (classes,).

    They are NaN for classes that are neither true nor predicted.
    """

    precision: NDArray[np.float64]
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


def decision_report(targets: FloatArray, scores: FloatArray) -> DecisionReport:
    """Return precision, recall and F1 of the class with the highest score.

    As scikit-learn's ``precision_recall_fscore_support`` with ``zero_division=0``: a class that
    is true or predicted somewhere but never right has zeros. All are NaN if clips have several
    labels.
    """
    if has_several_labels(targets):
        unknown = np.full(np.shape(targets)[1], np.nan)
        return DecisionReport(unknown, unknown, unknown, (np.asarray(targets) > 0.5).sum(axis=0))
    confusion = confusion_matrix(targets, scores)
    right = np.diagonal(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    seen = support + predicted > 0

    def share(of: NDArray[np.int64], factor: float = 1.0) -> NDArray[np.float64]:
        return np.where(seen, factor * right / np.maximum(of, 1), np.nan)

    return DecisionReport(
        share(predicted), share(support), share(support + predicted, 2.0), support
    )


def _labelled(targets: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the rows that have a label."""
    targets, scores = np.asarray(targets), np.asarray(scores)
    there = (targets > 0.5).any(axis=1)
    return targets[there], scores[there]


def _decisions(
    targets: FloatArray, scores: FloatArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the true and the predicted class of each clip that has a label."""
    targets, scores = _labelled(targets, scores)
    return np.argmax(targets, axis=1), np.argmax(scores, axis=1)


def _mean(values: NDArray[Any]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    return float(np.mean(values)) if len(values) else float("nan")


def fit_thresholds(
    targets: FloatArray,
    scores: FloatArray,
    *,
    beta: float = 0.5,
    prior_weight: float = 8.0,
    lowest: float = 0.05,
    highest: float = 0.95,
) -> NDArray[np.float64]:
    """Return the threshold of each class that maximises F-beta, shape (classes,).

    A fold has few positives per class. So the best threshold t_c of a class with n_c positives is
    combined with the best common threshold t, with weight w = `prior_weight`::

        logit(threshold_c) = (n_c · logit(t_c) + w · logit(t)) / (n_c + w)

    Parameters
    ----------
    targets, scores
        Shape (clips, classes); targets above 0.5 are positive.
    beta
        Weight of recall against precision; below 1 it favours few false alarms.
    prior_weight
        Number of positives that the common threshold counts as.
    lowest, highest
        Bounds of the thresholds.
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


def _best_threshold(positive: NDArray[np.bool_], scores: FloatArray, beta: float) -> float:
    """Return the midpoint between the score with the highest F-beta and the next lower one."""
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
