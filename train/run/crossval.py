"""Train one run per fold, and summarise their metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sed.files import written_whole
from sed.models.devices import choose_device
from train.config.optim import METRIC_NAMES
from train.data.folds import assign_folds
from train.data.tables import read_table
from train.loop.distributed import init_distributed, local_device
from train.run.train import TrainCallbacks, load_checked_recipe, train


@dataclass(frozen=True)
class FoldResults:
    """Metrics of the best epoch of each fold."""

    folds: pd.DataFrame  # a row per fold: fold, epoch, the metrics, seconds_per_epoch
    path: Path  # of the table that was written

    @property
    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each metric over the folds."""
        return {
            name: (float(self.folds[name].mean()), float(self.folds[name].std(ddof=1)))
            for name in METRIC_NAMES
        }


def train_all_folds(
    data: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] = "default",
    epochs: int | None = None,
    output: str | os.PathLike[str] | None = None,
    init_weights: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    pseudo_labels: str | os.PathLike[str] | None = None,
    table_format: str = "auto",
    resume: bool = False,
    device: str = "auto",
    callbacks: TrainCallbacks | None = None,
    on_fold: Callable[[int, int], None] | None = None,
) -> FoldResults:
    """Train with each fold held out in turn; see `train` for the parameters.

    The runs are in ``fold0``, ``fold1``, … of the run directory `output`, ``runs/<recipe>-all`` if
    not given, beside ``folds_summary.csv``: a row per fold, then mean and standard deviation. When
    resuming, finished runs are not trained again.

    Parameters
    ----------
    on_fold
        Called before each run with its number, from 1, and the number of folds.

    Raises
    ------
    UsageError, TableError, CheckpointError, SedError
        As `train` does.
    """
    folder = Path(output) if output is not None else Path("runs") / f"{Path(recipe).stem}-all"
    config = load_checked_recipe(
        recipe, overrides=overrides, epochs=epochs, init_weights=init_weights, seed=seed
    )
    clips = read_table(data, table_format=table_format)
    folds = sorted({f for f in assign_folds(clips, config.data, seed=config.seed) if f >= 0})
    rows = []
    with init_distributed(choose_device(local_device(device))) as world:
        for i, fold in enumerate(folds):
            if on_fold is not None:
                on_fold(i + 1, len(folds))
            run = folder / f"fold{fold}"
            train(
                data,
                fold,
                recipe=recipe,
                epochs=epochs,
                output=run,
                init_weights=init_weights,
                seed=seed,
                overrides=overrides,
                pseudo_labels=pseudo_labels,
                table_format=table_format,
                resume=resume,
                device=device,
                callbacks=callbacks,
            )
            world.wait()
            rows.append(_best_epoch(run, fold, config.checkpoint.monitor))
            table = pd.DataFrame(rows)
            if world.is_first:
                with written_whole(folder / "folds_summary.csv") as part:
                    _with_summary(table).to_csv(part, index=False)
    return FoldResults(table, folder / "folds_summary.csv")


def _best_epoch(run: Path, fold: int, monitor: str) -> dict[str, float | str]:
    """Return the metrics of the best epoch of a run."""
    history = pd.read_csv(run / "history.csv")
    best = history.iloc[int(history[monitor].to_numpy().argmax())]
    return {
        "fold": str(fold),
        "epoch": int(best["epoch"]),
        **{name: float(best.get(name, float("nan"))) for name in METRIC_NAMES},
        "seconds_per_epoch": float(history["seconds"].median()),
    }


def _with_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of folds with rows for mean and standard deviation."""
    metrics = table[[*METRIC_NAMES, "seconds_per_epoch"]]
    mean = {"fold": "mean", **metrics.mean().to_dict()}
    spread = {"fold": "std", **metrics.std(ddof=1).to_dict()}
    return pd.concat([table, pd.DataFrame([mean, spread])], ignore_index=True)
