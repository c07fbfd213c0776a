"""Search for good parameters of a head with Optuna. Only this module imports `optuna`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sed.errors import MissingExtraError

Params = dict[str, float | int | str]

# Of each parameter: its lowest and highest value, and whether it is searched logarithmically.
SPACES: dict[str, dict[str, tuple[float, float, bool]]] = {
    "trees": {
        "n_trees": (50, 500, True),
        "learning_rate": (0.01, 0.2, True),
        "num_leaves": (4, 63, True),
        "min_data_in_leaf": (3, 40, True),
        "feature_fraction": (0.02, 0.5, True),
        "bagging_fraction": (0.5, 1.0, False),
        "lambda_l2": (1e-3, 100.0, True),
    },
    "linear": {"alpha": (1e-2, 1e5, True)},
    "knn": {"n_neighbors": (1, 50, True)},
    "mlp": {"hidden": (8, 256, True), "alpha": (1e-5, 10.0, True)},
}
INTEGERS = {"n_trees", "num_leaves", "min_data_in_leaf", "n_neighbors", "hidden"}


def search(
    head: str,
    loss: Callable[[Params], float],
    defaults: Mapping[str, float | int | str],
    n_trials: int,
    *,
    seed: int = 0,
    on_trial: Callable[[int, int, float], None] | None = None,
) -> tuple[Params, int]:
    """Return the parameters with the lowest loss, and the number of trials that were made.

    The first trial has the defaults. Ctrl-C ends the search with the best so far; before the first
    trial is over it raises `KeyboardInterrupt`.

    Parameters
    ----------
    head
        Of `SPACES`.
    loss
        Of parameters.
    defaults
        Parameters to start from.
    n_trials
        How many to try.
    seed
        Of the sampler (TPE: Bergstra et al., 2011).
    on_trial
        Called with the trials made, all, and the lowest loss.

    Raises
    ------
    MissingExtraError
        If Optuna is not installed.
    """
    optuna = _import_optuna()
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, min(10, n_trials // 3)))
    study = optuna.create_study(direction="minimize", sampler=sampler)
    space = SPACES[head]
    study.enqueue_trial({name: defaults[name] for name in space})

    def objective(trial: Any) -> float:
        params: Params = {}
        for name, (low, high, is_log) in space.items():
            if name in INTEGERS:
                params[name] = trial.suggest_int(name, int(low), int(high), log=is_log)
            else:
                params[name] = trial.suggest_float(name, low, high, log=is_log)
        return loss(params)

    def report(study: Any, trial: Any) -> None:
        if on_trial is not None:
            on_trial(trial.number + 1, n_trials, float(study.best_value))

    try:
        study.optimize(objective, n_trials=n_trials, callbacks=[report])
    except KeyboardInterrupt:
        if not any(trial.state.name == "COMPLETE" for trial in study.trials):
            raise
    n_made = sum(trial.state.name == "COMPLETE" for trial in study.trials)
    return dict(study.best_params), n_made


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("--search", "fit") from error
    # Its warnings are the tracebacks of trials that Ctrl-C ended.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
