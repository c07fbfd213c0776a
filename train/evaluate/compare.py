"""Runs beside one another: what `sed plot` draws."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sed.errors import TableError, UsageError
from sed.text import near, printable
from train.evaluate.plots import RunCurves, plot_runs

METRICS = {
    "cmap5": "padded cmAP (5)",
    "cmap3": "padded cmAP (3)",
    "map": "mAP",
    "accuracy": "accuracy",
    "map3": "MAP@3",
    "auc": "macro AUC",
}


def compare_runs(
    runs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] = "runs.png",
    *,
    metric: str | None = None,
) -> str:
    """Draw the training loss and a metric of runs over their epochs into a PNG.

    Parameters
    ----------
    runs
        Run directories. One that holds ``fold0``, ``fold1``, … is drawn as their mean and spread.
    output
        Where to.
    metric
        Of `METRICS`; what all runs were judged by if not given, and padded cmAP (5) if they were
        judged by different ones.

    Returns
    -------
    The metric.

    Raises
    ------
    UsageError
        If the metric is unknown.
    TableError
        If directories hold no history, or none of the metric; all are listed.
    OutputError
        If the picture cannot be written.
    """
    if metric is not None and metric not in METRICS:
        raise UsageError(f"unknown metric {metric!r}. {near(metric, METRICS)}")
    if not runs:
        raise UsageError("expected at least one run directory")
    paths = [Path(run) for run in runs]
    folds = [_folds(path) for path in paths]
    faults = [
        f"{printable(str(path))}: holds no history.csv, nor folders fold0, fold1, … that do"
        for path, its_folds in zip(paths, folds, strict=True)
        if not its_folds
    ]
    metric = metric or _judge([fold for its_folds in folds for fold in its_folds])
    curves = []
    for path, its_folds in zip(paths, folds, strict=True):
        histories = [_history(fold, metric, faults) for fold in its_folds]
        losses, values = ([list(h[name]) for h in histories] for name in ("loss", metric))
        curves.append(RunCurves(_name(path, paths), losses, values))
    if faults:
        told = "\n  ".join(faults)
        raise TableError(f"these runs cannot be drawn. Give directories of sed train:\n  {told}")
    plot_runs(curves, METRICS[metric], output)
    return metric


def _folds(run: Path) -> list[Path]:
    """Return the directories of a run that hold a history: itself, or its folds."""
    if (run / "history.csv").is_file():
        return [run]
    return sorted(path.parent for path in run.glob("fold*/history.csv"))


def _judge(runs: Sequence[Path]) -> str:
    """Return what all runs were judged by, or the usual metric if they do not agree."""
    judges = set()
    for run in runs:
        try:
            config = json.loads((run / "config.json").read_text("utf-8"))
            judges.add(config["learning"]["judge"])
        except (OSError, ValueError, KeyError, TypeError):
            judges.add("cmap5")
    judge = judges.pop() if len(judges) == 1 else "cmap5"
    return judge if judge in METRICS else "cmap5"


def _history(run: Path, metric: str, faults: list[str]) -> pd.DataFrame:
    """Return the epochs of a run; if there are none, note it and return an empty one."""
    path = run / "history.csv"
    try:
        history = pd.read_csv(path)
        numbers = pd.DataFrame({name: history[name].astype(float) for name in ("loss", metric)})
    except KeyError as error:
        faults.append(f"{printable(str(path))}: has no column {error}")
    except (OSError, ValueError) as error:  # those of pandas are ValueErrors
        faults.append(f"{printable(str(path))}: cannot be read: {error}")
    else:
        if len(numbers):
            return numbers
        faults.append(f"{printable(str(path))}: holds no epoch yet")
    return pd.DataFrame({"loss": [], metric: []})


def _name(path: Path, paths: Sequence[Path]) -> str:
    """Return the name of a run, with its folder where several have that name."""
    name = path.resolve().name
    several = sum(other.resolve().name == name for other in paths) > 1
    return f"{path.resolve().parent.name}/{name}" if several else name
