"""Fit vectors: logistic and ridge regression, nearest neighbours, a network with a hidden layer.

What is fitted is plain arrays, from which NumPy predicts: nothing needs to be unpickled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.errors import MissingExtraError

Matrix = NDArray[np.float64]
Arrays = dict[str, NDArray[np.float64]]
Params = Mapping[str, float | int | str]

# Values that are used without a search.
DEFAULTS: dict[str, dict[str, float | int | str]] = {
    "linear": {"alpha": 30.0},
    "knn": {"n_neighbors": 8},
    "mlp": {"hidden": 64, "alpha": 1e-2},
}
MLP_ITERATIONS = 300
MAX_ITERATIONS = 1_000  # of a logistic regression
SMALLEST_STD_SHARE = 0.3  # of the mean standard deviation of all features


def fit_arrays(head: str, x: Matrix, y: Matrix, params: Params, *, seed: int = 0) -> Arrays:
    """Return the arrays of a head that is fitted to vectors.

    Parameters
    ----------
    head
        ``linear``, ``knn`` or ``mlp``.
    x
        (rows, n_features).
    y
        (rows,).
    params
        As in `DEFAULTS`.
    seed
        Of the initial weights of ``mlp``.

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.
    """
    mean, std = x.mean(axis=0), x.std(axis=0)
    # A feature that hardly varies here may vary a lot elsewhere, and would outweigh all others.
    inverse = 1.0 / np.maximum(std, SMALLEST_STD_SHARE * max(std.mean(), 1e-9))
    arrays: Arrays = {"mean": mean, "inverse_std": inverse}
    z = (x - mean) * inverse
    return arrays | _FITS[head](z, y, params, seed)


def predict_arrays(head: str, arrays: Mapping[str, Matrix], x: Matrix) -> Matrix:
    """Return the numbers, (rows,), that a head of `fit_arrays` predicts for (rows, n_features)."""
    z = (x - arrays["mean"]) * arrays["inverse_std"]
    if head == "linear":
        return z @ arrays["weight"] + arrays["bias"]
    if head == "knn":
        return _nearest_mean(z, arrays)
    hidden = np.maximum(z @ arrays["hidden_weight"] + arrays["hidden_bias"], 0.0)
    values: Matrix = hidden @ arrays["weight"] * arrays["scale"] + arrays["bias"]
    return values


def fit_logistic(
    x: NDArray[np.floating[Any]], targets: NDArray[np.bool_], weight_decay: float
) -> tuple[Matrix, Matrix]:
    """Return the weights and biases of a logistic regression for each class.

    The rows of a class, and those without it, weigh half each.

    Parameters
    ----------
    x
        (rows, n_features).
    targets
        Which rows are of a class, (rows, classes); each class needs rows of both kinds.
    weight_decay
        Factor of half the squared length of the weights, beside the mean loss of both halves.

    Returns
    -------
    tuple
        (classes, n_features) and (classes,).

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("fitting classes", "fit") from error
    # L-BFGS needs fewer steps if the features are not small.
    scale = 1.0 / max(float(np.abs(x).max()), 1e-12)
    weights, biases = [], []
    for is_class in targets.T:
        share = np.where(is_class, 0.5 / is_class.sum(), 0.5 / (~is_class).sum())
        regression = LogisticRegression(C=1.0 / (weight_decay * scale**2), max_iter=MAX_ITERATIONS)
        regression.fit(scale * x, is_class, sample_weight=share)
        weights.append(scale * regression.coef_[0])
        biases.append(float(regression.intercept_[0]))
    return np.stack(weights), np.array(biases)


def _fit_linear(z: Matrix, y: Matrix, params: Params, seed: int) -> Arrays:
    try:
        from sklearn.linear_model import Ridge
    except ImportError as error:
        raise MissingExtraError("fitting numbers", "fit") from error
    ridge = Ridge(alpha=float(params["alpha"]), solver="cholesky").fit(z, y)
    return {"weight": ridge.coef_.ravel(), "bias": np.atleast_1d(float(ridge.intercept_))}


def _fit_mlp(z: Matrix, y: Matrix, params: Params, seed: int) -> Arrays:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor
    except ImportError as error:
        raise MissingExtraError("fitting numbers", "fit") from error
    scale = max(float(y.std()), 1e-9)
    network = MLPRegressor(
        hidden_layer_sizes=(int(params["hidden"]),),
        alpha=float(params["alpha"]),
        max_iter=MLP_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(z, (y - y.mean()) / scale)
    (hidden, weight), (hidden_bias, bias) = network.coefs_, network.intercepts_
    return {
        "hidden_weight": hidden,
        "hidden_bias": hidden_bias,
        "weight": weight.ravel(),
        "scale": np.atleast_1d(scale),
        "bias": np.atleast_1d(float(bias[0]) * scale + float(y.mean())),
    }


def _fit_neighbors(z: Matrix, y: Matrix, params: Params, seed: int) -> Arrays:
    n_neighbors = min(int(params["n_neighbors"]), len(z))
    return {"examples": z, "values": y, "n_neighbors": np.array([float(n_neighbors)])}


def _nearest_mean(z: Matrix, arrays: Mapping[str, Matrix]) -> Matrix:
    """Return the mean value of the nearest examples, by cosine, of each row."""
    examples, values = arrays["examples"], arrays["values"]
    if len(examples) != len(values):
        raise ValueError(f"{len(examples)} examples and {len(values)} values")
    cosines = _unit(z) @ _unit(examples).T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : int(arrays["n_neighbors"][0])]
    means: Matrix = values[nearest].mean(axis=1)
    return means


def _unit(z: Matrix) -> Matrix:
    unit: Matrix = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return unit


_FITS: dict[str, Callable[[Matrix, Matrix, Params, int], Arrays]] = {
    "linear": _fit_linear,
    "knn": _fit_neighbors,
    "mlp": _fit_mlp,
}
