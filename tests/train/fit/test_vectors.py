import warnings

import numpy as np
import pytest

from sed.errors import CheckpointError, UsageError
from train.fit.search import search
from train.fit.vectors import fit_vectors, regression_metrics

TREES = pytest.mark.parametrize("kind", ["linear", "knn", "mlp", "trees"])


def needs(kind):
    if kind == "trees":
        pytest.importorskip("lightgbm")


def rows(n=120, seed=0):
    """Return vectors, of which the first number is the target but for a little noise."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, 6))
    y = 2.0 * x[:, :1] + 5.0 + 0.05 * generator.standard_normal((n, 1))
    return x, y, [str(i // 2) for i in range(n)]


@TREES
def test_numbers_are_predicted_better_than_by_their_mean_twice_alike(kind):
    needs(kind)
    x, y, groups = rows()
    first, second = (fit_vectors(kind, x, y, groups) for _ in range(2))
    metrics = first.metrics
    assert metrics == second.metrics
    assert np.array_equal(first.head.predict(x), second.head.predict(x))
    assert metrics["rmse"] < {"linear": 0.4, "knn": 0.8}.get(kind, 0.6) * metrics["rmse_of_mean"]
    # Groups of two are on one side.
    assert np.array_equal(first.held_out[::2], first.held_out[1::2])
    assert 0.2 < first.held_out.mean() < 0.4


def test_the_metrics_are_those_of_scikit_learn():
    from scipy.stats import spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    generator = np.random.default_rng(1)
    truth, found = generator.standard_normal((2, 50)).round(1)
    metrics = regression_metrics(truth, found, mean=0.5)
    assert metrics["rmse"] == pytest.approx(root_mean_squared_error(truth, found))
    assert metrics["mae"] == pytest.approx(mean_absolute_error(truth, found))
    assert metrics["r2"] == pytest.approx(r2_score(truth, found))
    assert metrics["spearman"] == pytest.approx(spearmanr(truth, found).statistic)
    assert metrics["rmse_of_mean"] == pytest.approx(np.sqrt(np.mean((truth - 0.5) ** 2)))


def test_trees_give_probabilities_of_classes():
    pytest.importorskip("lightgbm")
    x, y, groups = rows()
    classes = (y > y.mean()).astype(float)
    fitted = fit_vectors("trees", x, np.hstack([classes, 1 - classes]), groups, binary=True)
    assert fitted.metrics["average_precision"] > 0.95
    assert fitted.head.predict(x).shape == (120, 2)
    assert ((fitted.head.predict(x) >= 0) & (fitted.head.predict(x) <= 1)).all()


def test_a_class_that_no_clip_held_out_has_gives_no_warning():
    pytest.importorskip("lightgbm")
    x, _, groups = rows()
    rare = (np.arange(120) < 2).astype(float)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit_vectors("trees", x, rare, groups, binary=True)
    # The only group with the class is on the other side.
    assert not fitted.held_out[:2].any()
    assert "average_precision" not in fitted.metrics
    assert fitted.metrics["cv_average_precision"] > 0


def test_text_that_is_not_of_lightgbm_is_refused():
    pytest.importorskip("lightgbm")
    from train.fit.trees import Trees

    for text in ("", "tree", "tree\nversion=v4\nend of parameters\n"):
        with pytest.raises(CheckpointError, match="Copy them again"):
            Trees([text])


def test_too_few_groups_are_refused():
    x, y, _ = rows()
    with pytest.raises(UsageError, match="at least 10 groups of clips to hold some out, got 3"):
        fit_vectors("linear", x, y, [str(i % 3) for i in range(120)])


def test_a_search_finds_better_parameters_and_the_same_ones_twice():
    pytest.importorskip("optuna")
    defaults = {"alpha": 30.0}
    seen = []

    def loss(params):
        return abs(np.log10(params["alpha"]) - 3.0)

    found, n_made = search("linear", loss, defaults, 12, on_trial=lambda *row: seen.append(row))
    assert n_made == 12
    assert loss(found) < loss(defaults)
    assert [row[0] for row in seen] == list(range(1, 13))
    assert search("linear", loss, defaults, 12)[0] == found


def test_ctrl_c_keeps_the_best_so_far_without_a_traceback():
    optuna = pytest.importorskip("optuna")
    n_calls = 0

    def loss(params):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 4:
            raise KeyboardInterrupt
        return params["alpha"]

    found, n_made = search("linear", loss, {"alpha": 30.0}, 12)
    assert n_made == 3
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    assert found["alpha"] <= 30.0
    n_calls = 3
    with pytest.raises(KeyboardInterrupt):
        search("linear", loss, {"alpha": 30.0}, 12)
