"""Boosted trees by LightGBM, in its text format. Only this module imports `lightgbm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.errors import CheckpointError, MissingExtraError

Matrix = NDArray[np.float64]
Params = Mapping[str, float | int | str]

DEFAULTS: dict[str, float | int | str] = {
    "n_trees": 200,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 10,
    "feature_fraction": 0.1,
    "bagging_fraction": 0.8,
    "lambda_l2": 1.0,
}
_END = "end of parameters"


def fit_trees(x: Matrix, y: Matrix, params: Params, *, binary: bool, seed: int = 0) -> str:
    """Return trees as text, the same for the same rows and seed.

    Parameters
    ----------
    x
        (rows, n_features).
    y
        (rows,): numbers, or zeros and ones.
    params
        As in `DEFAULTS`.
    binary
        Whether to predict the probability of a one, instead of the number.
    seed
        Of the rows and features that each tree is grown from.

    Raises
    ------
    MissingExtraError
        If LightGBM is not installed.
    """
    lightgbm = _import_lightgbm()
    settings = {
        "objective": "binary" if binary else "regression",
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        # With several threads sums are added in another order.
        "num_threads": 1,
        "bagging_freq": 1,
        "max_bin": 63,
        # Few rows may fill few bins.
        "min_data_in_bin": 1,
        **{name: value for name, value in params.items() if name != "n_trees"},
    }
    if binary:
        settings["is_unbalance"] = True
    settings["min_data_in_leaf"] = max(1, min(int(params["min_data_in_leaf"]), len(x) // 4))
    data = lightgbm.Dataset(x, label=y, params={"verbosity": -1, "max_bin": 63})
    booster = lightgbm.train(settings, data, num_boost_round=int(params["n_trees"]))
    text: str = booster.model_to_string()
    return text


class Trees:
    """Trees that were read from text.

    Parameters
    ----------
    texts
        One for each output.

    Raises
    ------
    CheckpointError
        If a text is not LightGBM's.
    MissingExtraError
        If LightGBM is not installed.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        lightgbm = _import_lightgbm()
        self._boosters: list[Any] = []
        for text in texts:
            # LightGBM ends the process at some texts that are not its own.
            if not text.startswith("tree\n") or _END not in text:
                raise CheckpointError("trees: not a model of LightGBM. Copy them again.")
            try:
                self._boosters.append(lightgbm.Booster(model_str=text))
            except Exception as error:
                raise CheckpointError(
                    f"trees: LightGBM cannot read them ({error}). Copy them again."
                ) from error

    @property
    def n_features(self) -> int:
        """Length of the vectors that the trees are for."""
        return int(self._boosters[0].num_feature())

    def predict(self, x: Matrix) -> Matrix:
        """Return (rows, outputs) for (rows, n_features)."""
        found = [booster.predict(x, num_threads=1) for booster in self._boosters]
        return np.stack(found, axis=1)


def _import_lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("boosted trees", "fit") from error
    return lightgbm
