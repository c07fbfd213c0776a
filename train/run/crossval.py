"""One run for each fold, and what they come to together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sed.files import written_whole
from sed.models.devices import choose_device
from train.config import load_recipe
from train.data.folds import assign_folds
from train.data.tables import read_table
from train.loop.distributed import joined_world, own_device
from train.run.train import Progress, train

FIGURES = ("accuracy", "cmap5", "cmap3", "map", "map3", "auc")


@dataclass(frozen=True)
class FoldResults:
    """What the best epochs of all folds reached."""

    folds: pd.DataFrame  # a row per fold: fold, epoch, the figures, seconds_per_epoch
    path: Path  # of the table that was written

    @property
    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation over the folds of each figure."""
        return {
            name: (float(self.folds[name].mean()), float(self.folds[name].std(ddof=1)))
            for name in FIGURES
        }


def train_all_folds(
    data: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] = "default",
    out: str | os.PathLike[str] | None = None,
    on_fold: Callable[[int, int], None] = lambda *_: None,
    progress: Progress | None = None,
    **arguments: Any,
) -> FoldResults:
    """Train with each fold held out in turn; the arguments are those of `train`.

    The runs lie in ``fold0``, ``fold1``, … of the run directory, beside ``folds_summary.csv``: a
    row per fold, then mean and standard deviation. On resume, what is done is not done again.
    """
    folder = Path(out) if out is not None else Path("runs") / f"{Path(recipe).stem}-all"
    given = {k: arguments.get(k) for k in ("epochs", "initial", "seed")}
    config = load_recipe(recipe, settings=arguments.get("settings", ()), **given)
    clips = read_table(data, format=arguments.get("table_format", "auto"))
    folds = sorted({f for f in assign_folds(clips, config.data, seed=config.seed) if f >= 0})
    rows = []
    with joined_world(choose_device(own_device(arguments.get("device", "auto")))) as world:
        for i, fold in enumerate(folds):
            on_fold(i + 1, len(folds))
            run = folder / f"fold{fold}"
            train(data, fold, recipe=recipe, out=run, progress=progress, **arguments)
            world.wait()
            rows.append(_row(run, fold, config.learning.judge))
            table = pd.DataFrame(rows)
            if world.is_first:
                with written_whole(folder / "folds_summary.csv") as part:
                    _with_summary(table).to_csv(part, index=False)
    return FoldResults(table, folder / "folds_summary.csv")


def _row(run: Path, fold: int, judge: str) -> dict[str, float | str]:
    """Return the figures of the best epoch of a run."""
    history = pd.read_csv(run / "history.csv")
    best = history.iloc[int(history[judge].to_numpy().argmax())]
    return {
        "fold": str(fold),
        "epoch": int(best["epoch"]),
        **{name: float(best[name]) for name in FIGURES},
        "seconds_per_epoch": float(history["seconds"].median()),
    }


def _with_summary(table: pd.DataFrame) -> pd.DataFrame:
    figures = table[[*FIGURES, "seconds_per_epoch"]]
    mean = {"fold": "mean", **figures.mean().to_dict()}
    spread = {"fold": "std", **figures.std(ddof=1).to_dict()}
    return pd.concat([table, pd.DataFrame([mean, spread])], ignore_index=True)
