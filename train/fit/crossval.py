"""Cross-validate heads for classes, with groups kept together; fit their thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed.models.metrics import average_precision, fit_thresholds
from sed.types import Floats
from train.fit.heads import Rows, fit_head, predict_clips

N_FOLDS = 5
# Of the highest frames of clips without a class whose own clips cannot be held out.
NEGATIVE_QUANTILE = 0.995


@dataclass(frozen=True)
class CrossValidation:
    """Probabilities of clips by heads that were fitted without them, each (clips, classes).

    They are NaN for clips of classes that have one group only: without it there is nothing to fit.
    """

    targets: NDArray[np.float32]
    clip_probs: Floats
    highest: Floats  # of the frames of a clip

    def average_precision(self) -> NDArray[np.float64]:
        """Return the average precision of each class, (classes,).

        It is NaN where no clip with the class, or none without it, was held out.
        """
        found = np.full(self.targets.shape[1], np.nan)
        for c in np.flatnonzero(self._has_negatives()):
            there = ~np.isnan(self.clip_probs[:, c])
            targets, probs = self.targets[there, c : c + 1], self.clip_probs[there, c : c + 1]
            found[c] = average_precision(targets, probs)[0]
        return found

    def thresholds(self) -> NDArray[np.float64]:
        """Return the threshold of each class for frames, (classes,)."""
        there = ~np.isnan(self.highest)
        held_out = np.where(there, self.targets, 0.0)
        fitted = fit_thresholds(held_out, np.where(there, self.highest, 0.0))
        for c in np.flatnonzero(held_out.sum(0) == 0):
            own = self.highest[there[:, c], c]
            likely = float(np.quantile(own, NEGATIVE_QUANTILE)) if len(own) else 0.5
            fitted[c] = np.clip(likely, 0.5, 0.95)
        # Clips of a class alone would lower its threshold without end.
        return np.where(self._has_negatives(), fitted, np.maximum(fitted, 0.5))

    def _has_negatives(self) -> NDArray[np.bool_]:
        """Return whether a clip without a class was held out, (classes,)."""
        there: NDArray[np.bool_] = (~np.isnan(self.clip_probs) & (self.targets == 0)).any(0)
        return there


def group_folds(
    groups: Sequence[str], strata: Sequence[object], n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Return a fold of each row; rows of a group are in one, and strata are spread over folds."""
    generator = np.random.default_rng(seed)
    stratum = dict(zip(groups, map(str, strata), strict=True))
    order = sorted(stratum)
    generator.shuffle(order)
    order.sort(key=lambda group: stratum[group])
    fold_of = {group: i % n_folds for i, group in enumerate(order)}
    return np.array([fold_of[group] for group in groups])


def cross_validate(kind: str, rows: Rows, *, seed: int = 0) -> CrossValidation:
    """Fit a head five times, each time without a fifth of the groups, and predict that.

    Parameters
    ----------
    kind
        Of the head.
    rows
        The clips.
    seed
        Of the folds, and of what is random in fitting.
    """
    n_classes = rows.targets.shape[1]
    groups = np.asarray(rows.groups)
    n_groups = [len(set(groups[rows.targets[:, c] > 0])) for c in range(n_classes)]
    lonely = np.array([n < 2 for n in n_groups])
    always = (rows.targets[:, lonely] > 0).any(1)
    strata = [tuple(np.flatnonzero(row)) for row in rows.targets]
    common = [n for n in n_groups if n >= 2]
    n_folds = max(2, min(N_FOLDS, *common)) if common else N_FOLDS
    folds = group_folds(rows.groups, strata, n_folds, seed)
    clip_probs = np.full(rows.targets.shape, np.nan, np.float32)
    highest = clip_probs.copy()
    for fold in range(n_folds):
        held_out = (folds == fold) & ~always
        train = rows.take(np.flatnonzero(~held_out))
        known = (train.targets > 0).any(0) & (train.targets == 0).any(0)
        if not (held_out.any() and known.any()):
            continue
        part = Rows(train.frames, train.targets[:, known], train.groups)
        head = fit_head(kind, part, seed=seed)
        probs, top = predict_clips(
            head, [rows.frames[i] for i in np.flatnonzero(held_out).tolist()]
        )
        clip_probs[np.ix_(held_out, known)], highest[np.ix_(held_out, known)] = probs, top
    return CrossValidation(rows.targets, clip_probs, highest)
