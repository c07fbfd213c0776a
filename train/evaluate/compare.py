"""Compare training runs in a plot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sed.errors import TableError, UsageError
from sed.files import parse_json
from sed.text import near, printable
from train.config.optim import METRIC_NAMES
from train.evaluate.plots import RunCurves, plot_run_curves

HISTORY = "history.csv"


def plot_runs(
    runs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] = "runs.png",
    *,
    metric: str | None = None,
) -> str:
    """Plot the training loss and a metric of runs over their epochs into a PNG file.

    Parameters
    ----------
    runs
        Run directories. One that holds ``fold0``, ``fold1``, … is plotted as mean and spread.
    output
        The file to write.
    metric
        One of `METRIC_NAMES`. If not given, the one that all runs monitor, or padded cmAP (5) if
        they monitor different ones.

    Returns
    -------
    str
        The metric that is plotted.

    Raises
    ------
    UsageError
        If the metric is unknown.
    TableError
        If directories hold no history, or one without the metric; all are listed.
    OutputError
        If the plot cannot be written.
    """
    if metric is not None and metric not in METRIC_NAMES:
        raise UsageError(f"unknown metric {metric!r}. {near(metric, METRIC_NAMES)}")
    if not runs:
        raise UsageError("expected at least one run directory")
    paths = [Path(run) for run in runs]
    folds = [run_folders(path) for path in paths]
    errors = [
        f"{printable(str(path))}: holds no history.csv, nor folders fold0, fold1, … that do"
        for path, its_folds in zip(paths, folds, strict=True)
        if not its_folds
    ]
    metric = metric or _monitored([fold for its_folds in folds for fold in its_folds])
    curves = []
    for path, its_folds in zip(paths, folds, strict=True):
        histories = [_history(fold, metric, errors) for fold in its_folds]
        losses, values = ([list(h[name]) for h in histories] for name in ("loss", metric))
        curves.append(RunCurves(_name(path, paths), losses, values))
    if errors:
        lines = "\n  ".join(errors)
        raise TableError(
            f"these runs cannot be plotted. Give run directories of sed train:\n  {lines}"
        )
    plot_run_curves(curves, METRIC_NAMES[metric], output)
    return metric


def run_folders(run: str | os.PathLike[str], file: str = HISTORY) -> list[Path]:
    """Return the directories of a run that hold a file: itself, or its folds."""
    run = Path(run)
    if (run / file).is_file():
        return [run]
    return sorted(path.parent for path in run.glob(f"fold*/{file}"))


def _monitored(runs: Sequence[Path]) -> str:
    """Return the metric that all runs monitor, or the default if they differ."""
    metrics = set()
    for run in runs:
        try:
            config = parse_json((run / "config.json").read_text("utf-8"))
            metrics.add(config["checkpoint"]["monitor"])
        except (OSError, ValueError, KeyError, TypeError):
            metrics.add("padded_cmap_5")
    metric = metrics.pop() if len(metrics) == 1 else "padded_cmap_5"
    return metric if metric in METRIC_NAMES else "padded_cmap_5"


def _history(run: Path, metric: str, errors: list[str]) -> pd.DataFrame:
    """Return the epochs of a run; if there are none, add an error and return an empty table."""
    path = run / HISTORY
    try:
        history = pd.read_csv(path)
        columns = pd.DataFrame({name: history[name].astype(float) for name in ("loss", metric)})
    except KeyError as error:
        errors.append(f"{printable(str(path))}: has no column {error}")
    except (OSError, ValueError) as error:  # errors of pandas are ValueErrors
        errors.append(f"{printable(str(path))}: cannot be read: {error}")
    else:
        if len(columns):
            return columns
        errors.append(f"{printable(str(path))}: holds no epoch yet")
    return pd.DataFrame({"loss": [], metric: []})


def _name(path: Path, paths: Sequence[Path]) -> str:
    """Return the name of a run, with its parent folder where several have that name."""
    name = path.resolve().name
    several = sum(other.resolve().name == name for other in paths) > 1
    return f"{path.resolve().parent.name}/{name}" if several else name
