"""Fit one vector per clip to a number, or to classes with trees, and measure it on held-out clips.

Three tenths of the groups are held out. Parameters are chosen by five-fold cross-validation on the
rest; the final head is fitted to all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.models.metrics import average_precision
from train.fit.crossval import N_FOLDS, group_folds
from train.fit.estimators import DEFAULTS, Arrays, fit_arrays, predict_arrays
from train.fit.search import Params, search
from train.fit.trees import DEFAULTS as TREE_DEFAULTS
from train.fit.trees import Trees, fit_trees

VECTOR_HEADS = ("linear", "knn", "mlp", "trees")
AUTO_HEADS = ("linear", "knn", "trees")
HELD_OUT = 0.3
MIN_GROUPS = 10

Matrix = NDArray[np.float64]
OnTrial = Callable[[int, int, float], None]


@dataclass(frozen=True)
class VectorHead:
    """A head on vectors: arrays, or trees as text, one for each output."""

    kind: str
    arrays: Arrays = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    @property
    def n_features(self) -> int:
        """Length of the vectors."""
        return Trees(self.texts).n_features if self.kind == "trees" else len(self.arrays["mean"])

    def predict(self, x: Matrix) -> Matrix:
        """Return (rows, outputs) for (rows, n_features)."""
        if self.kind == "trees":
            return Trees(self.texts).predict(x)
        return predict_arrays(self.kind, self.arrays, x)[:, None]


@dataclass(frozen=True)
class FittedVectors:
    """A head, and how well heads of its kind predict held-out rows."""

    head: VectorHead
    params: Params
    metrics: dict[str, float | int]
    held_out: NDArray[np.bool_]  # (rows,)


def fit_vectors(
    kind: str,
    x: Matrix,
    y: Matrix,
    groups: Sequence[str],
    *,
    binary: bool = False,
    n_trials: int = 0,
    seed: int = 0,
    on_trial: OnTrial | None = None,
) -> FittedVectors:
    """Fit a head, choose its parameters, and measure it.

    Parameters
    ----------
    kind
        Of `VECTOR_HEADS`; ``auto`` chooses by cross-validation.
    x
        (rows, n_features).
    y
        (rows, outputs): numbers, or zeros and ones.
    groups
        Of each row.
    binary
        Whether the outputs are probabilities of classes.
    n_trials
        Trials of a search for parameters; 0 for the defaults.
    seed
        Of everything that is random.
    on_trial
        Called with the trials made, all, and the lowest loss.

    Raises
    ------
    UsageError
        If there are too few groups.
    MissingExtraError
        If a package is not installed.
    """
    if len({*groups}) < MIN_GROUPS:
        raise UsageError(
            f"expected at least {MIN_GROUPS} groups of clips to hold some out, got {len({*groups})}"
        )
    strata = [tuple(row) for row in y] if binary else _quantiles(y[:, 0])
    tenths = group_folds(groups, strata, 10, seed)
    held_out = tenths < round(10 * HELD_OUT)
    rest = np.flatnonzero(~held_out)
    numbers = rest.tolist()
    kept = [groups[i] for i in numbers], [strata[i] for i in numbers]
    folds = group_folds(*kept, N_FOLDS, seed + 1)

    def loss(kind: str, params: Params) -> float:
        predictions = np.zeros((len(rest), y.shape[1]))
        for fold in range(N_FOLDS):
            inner, outer = rest[folds != fold], np.flatnonzero(folds == fold)
            head = _fit(kind, x[inner], y[inner], params, binary=binary, seed=seed)
            predictions[outer] = head.predict(x[rest[outer]])
        if binary:
            return 1.0 - _mean_precision(y[rest], predictions)
        return rmse(y[rest, 0], predictions[:, 0])

    if kind == "auto":
        losses = {one: loss(one, defaults_of(one)) for one in AUTO_HEADS}
        kind = min(losses, key=lambda one: losses[one])
    params, n_made = defaults_of(kind), 0
    if n_trials:
        params, n_made = search(
            kind, lambda p: loss(kind, p), params, n_trials, seed=seed, on_trial=on_trial
        )
    metrics: dict[str, float | int] = {"trials": n_made}
    name = "average_precision" if binary else "rmse"
    lowest = loss(kind, params)
    metrics[f"cv_{name}"] = 1.0 - lowest if binary else lowest
    head = _fit(kind, x[rest], y[rest], params, binary=binary, seed=seed)
    predictions = head.predict(x[held_out])
    if binary:
        metrics[name] = _mean_precision(y[held_out], predictions)
    else:
        metrics |= regression_metrics(y[held_out, 0], predictions[:, 0], mean=float(y[rest].mean()))
    metrics |= {"n_held_out": int(held_out.sum()), "n_rows": len(x)}
    # JSON has no NaN.
    metrics = {name: value for name, value in metrics.items() if np.isfinite(value)}
    final = _fit(kind, x, y, params, binary=binary, seed=seed)
    return FittedVectors(final, params, metrics, held_out)


def defaults_of(kind: str) -> Params:
    """Return the parameters of a head that are used without a search."""
    return dict(TREE_DEFAULTS if kind == "trees" else DEFAULTS[kind])


def rmse(truth: Matrix, predictions: Matrix) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((truth - predictions) ** 2)))


def regression_metrics(truth: Matrix, predictions: Matrix, *, mean: float) -> dict[str, float]:
    """Return RMSE, MAE, R², Spearman's correlation, and the RMSE of predicting a mean.

    Parameters
    ----------
    truth, predictions
        (rows,).
    mean
        Of the rows that were fitted to.
    """
    spread = float(np.sum((truth - truth.mean()) ** 2))
    ranks = [pd.Series(values).rank().to_numpy() for values in (truth, predictions)]
    varies = all(np.ptp(rank) > 0 for rank in ranks)
    return {
        "rmse": rmse(truth, predictions),
        "mae": float(np.mean(np.abs(truth - predictions))),
        "r2": 1.0 - float(np.sum((truth - predictions) ** 2)) / spread if spread else np.nan,
        "spearman": float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if varies else np.nan,
        "rmse_of_mean": rmse(truth, np.full_like(truth, mean)),
    }


def _fit(kind: str, x: Matrix, y: Matrix, params: Params, *, binary: bool, seed: int) -> VectorHead:
    if kind == "trees":
        columns = [fit_trees(x, column, params, binary=binary, seed=seed) for column in y.T]
        return VectorHead(kind, texts=tuple(columns))
    return VectorHead(kind, fit_arrays(kind, x, y[:, 0], params, seed=seed))


def _mean_precision(targets: Matrix, predictions: Matrix) -> float:
    """Return the mean average precision of the classes that are there; NaN if none is."""
    found = average_precision(targets, predictions)
    there = ~np.isnan(found)
    return float(found[there].mean()) if there.any() else np.nan


def _quantiles(values: Matrix, n: int = 5) -> list[int]:
    """Return which fifth of the values each is in."""
    edges = np.quantile(values, np.arange(1, n) / n)
    return [int(i) for i in np.searchsorted(edges, values)]
