"""Create and check a run directory, and write its history and report.

``config.json``, ``folds.csv`` (and how they were made, of which data: ``folds.json``),
``history.csv`` (and the same for TensorBoard), ``curves.png``, the checkpoints of the best and the
last epoch, ``state.safetensors`` to resume from, and at the end a report on the validation clips.
Each file is written whole.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sed.errors import OutputError, UsageError
from sed.files import parse_json, written_whole
from sed.models.checkpoint import load_checkpoint
from sed.models.network import SedModel
from sed.text import pluralize, printable
from train.augment.noise import background_files
from train.config.train import TrainConfig
from train.data.check import check_files, raise_if_any
from train.data.clips import Clip, fingerprint_of
from train.data.folds import assign_folds, load_folds, save_folds
from train.data.split import TrainingData
from train.evaluate.plots import plot_curves
from train.evaluate.report import write_json, write_report
from train.loop.distributed import Distributed
from train.loop.state import EpochMetrics
from train.loop.trainer import Trainer

FORMAT_VERSION = 2  # of config.json and folds.json
STATE = "state.safetensors"

_PLOT_PAUSE_SECONDS = 10.0

_logger = logging.getLogger("sed.train")

_RUN_FILES = ("best.json", "best.safetensors", "last.json", "last.safetensors", "history.csv",
              "curves.png", STATE, "report.json", "per_class.csv",
              "predictions.csv", "confusion.png")  # fmt: skip
# Settings that may change when a run is resumed, since the weights do not depend on them.
_CHANGEABLE = {"optim.n_workers", "checkpoint.save_every_steps"}


def create_run(
    run: Path,
    data: TrainingData,
    config: TrainConfig,
    facts: dict[str, Any],
    model: SedModel,
    world: Distributed,
    on_file_checked: Callable[[int, int], None],
) -> None:
    """Check all audio files, each process a share of them, and set up the run directory.

    Parameters
    ----------
    run
        The directory; files of an earlier run in it are removed.
    data, config
        Clips and settings of the run.
    facts
        What to write to config.json.
    model
        The model, for the size of its checkpoints.
    world
        The processes that train together.
    on_file_checked
        Called after each file with the number of files done and in all.

    Raises
    ------
    TableError
        If files cannot be used for training.
    OutputError
        If the disk is too small.
    UsageError
        If the directory is not the same for all processes.
    """
    paths = background_files(config.waveform.background) if config.waveform.background else ()
    clips = [*data.train, *data.val, *(Clip(str(path), (), "") for path in paths)]
    # All clips of a file are checked by one process.
    number = {path: i for i, path in enumerate(dict.fromkeys(clip.path for clip in clips))}
    own = [clip for clip in clips if number[clip.path] % world.size == world.rank]
    errors = check_files(own, config.log_mel.sample_rate, on_file_checked)
    raise_if_any([error for part in world.all_gather(errors) for error in part], len(number))
    if world.is_first:
        check_space(run, model, with_ema=config.optim.ema_decay > 0)
        for name in _RUN_FILES:  # of an earlier run that was stopped
            (run / name).unlink(missing_ok=True)
        shutil.rmtree(run / "tensorboard", ignore_errors=True)
        write_json(run / "config.json", facts)
    world.wait()
    if not all(world.all_gather((run / "config.json").is_file())):
        raise UsageError(
            f"{printable(str(run))} is not the same folder for all processes: give --output a "
            "place that all machines share"
        )


def check_same_run(run: Path, facts: dict[str, Any]) -> None:
    """Refuse to resume a run with other settings or other clips.

    Raises
    ------
    UsageError
        If any differ, or config.json is unreadable or of another format version.
    """
    path = run / "config.json"
    before = _flat(_read_facts(path, "Train into another folder with --output."))
    now = _flat(json.loads(json.dumps(facts)))
    changed = sorted(
        key for key in (now.keys() | before.keys()) - _CHANGEABLE if now.get(key) != before.get(key)
    )
    if changed:
        differences = ", ".join(
            f"{key}: {before.get(key)!r} before, {now.get(key)!r} now" for key in changed
        )
        raise UsageError(
            f"{printable(str(run))} was started with other settings ({differences}). Resume with "
            "the same, or train into another folder with --output, from these weights with "
            "--init-weights RUN/last.safetensors."
        )


def _read_facts(path: Path, remedy: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of config.json or folds.json, in which some keys are required."""
    try:
        facts = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{printable(str(path))}: cannot be read ({error}). {remedy}") from error
    if not isinstance(facts, dict):
        raise UsageError(f"{printable(str(path))}: is not a JSON object. {remedy}")
    version = facts.get("format_version", 1)
    if version != FORMAT_VERSION:
        raise UsageError(
            f"{printable(str(path))}: run of format version {version}, expected {FORMAT_VERSION}. "
            "Delete it, or train into another folder with --output."
        )
    if missing := [key for key in keys if key not in facts]:
        raise UsageError(f"{printable(str(path))}: lacks {', '.join(missing)}. {remedy}")
    return facts


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of all tables, named with their table."""
    return {
        f"{name}.{key}" if key else name: value
        for name, values in facts.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }


class CurvePlot:
    """Draws curves.png of a run, at most every ten seconds, since it takes a third of a second.

    Parameters
    ----------
    run
        The run directory.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / "curves.png"
        self._next = time.monotonic() + _PLOT_PAUSE_SECONDS
        self._is_drawn = False  # a run that was killed may have older curves

    def update(self, history: Sequence[EpochMetrics]) -> None:
        """Draw the curves if it is time."""
        self._is_drawn = False
        if time.monotonic() >= self._next:
            self.finish(history)
            self._next = time.monotonic() + _PLOT_PAUSE_SECONDS

    def finish(self, history: Sequence[EpochMetrics]) -> None:
        """Draw the curves if the last epoch is not in them."""
        if history and not self._is_drawn:
            plot_curves(history, self._path)
            self._is_drawn = True


def write_history(run: Path, history: Sequence[EpochMetrics]) -> None:
    """Write the metrics of all epochs as CSV, and the last for TensorBoard."""
    from tensorboardX import SummaryWriter

    with written_whole(run / "history.csv") as part:
        pd.DataFrame(history).to_csv(part, index=False)
    epoch = int(history[-1]["epoch"])
    with SummaryWriter(str(run / "tensorboard"), purge_step=epoch) as board:
        for name, value in history[-1].items():
            if name != "epoch":
                board.add_scalar(name, value, epoch)


def write_run_report(run: Path, trainer: Trainer) -> None:
    """Write a report on the best epoch's predictions for the validation clips."""
    trainer.world.wait()
    best = load_checkpoint(run / "best.safetensors")
    predictions = trainer.predict(best.model.to(trainer.device)).predictions
    if trainer.world.is_first:
        clips = trainer.data.val
        write_report(
            run,
            trainer.data.labels,
            predictions,
            files=[clip.path for clip in clips],
            starts=[clip.start_seconds for clip in clips],
        )


def load_or_make_folds(
    run: Path, data: str | os.PathLike[str], clips: Sequence[Clip], config: TrainConfig
) -> list[int]:
    """Return the folds in the run directory, or make them if it has none.

    Parameters
    ----------
    run
        The run directory.
    data, clips
        Path of the data, and the clips in it.
    config
        How folds are made.

    Raises
    ------
    UsageError
        If they were made for other data, or with other settings, or folds.json is damaged.
    TableError
        If folds.csv is damaged.
    """
    path = run / "folds.csv"
    if not (path.is_file() and (run / "folds.json").is_file()):
        folds = assign_folds(clips, config.data, seed=config.seed)
        n_folds = len({fold for fold in folds if fold >= 0})
        _logger.info("%s, from the table or seed %d", pluralize(n_folds, "fold"), config.seed)
        return folds
    now = _fold_facts(data, clips, config)
    remedy = "Delete it to make the folds again, or train into another folder with --output."
    before = _read_facts(run / "folds.json", remedy, tuple(now))
    if before["fingerprint"] != now["fingerprint"]:
        raise UsageError(
            f"{printable(str(run))} is a run of other data: {printable(str(before['data']))} "
            f"before ({before['n_clips']} clips), {printable(now['data'])} now "
            f"({now['n_clips']} clips). "
            "Give that data, delete the run, or train into another folder with --output."
        )
    if before["settings"] != now["settings"]:
        raise UsageError(
            f"{printable(str(path))} was made with another seed or other [data] in the recipe. "
            "Delete it, or train into another folder with --output."
        )
    _logger.info("%s: the folds of this run are kept", printable(str(path)))
    return load_folds(path, clips)


def save_run_folds(
    run: Path,
    data: str | os.PathLike[str],
    clips: Sequence[Clip],
    folds: Sequence[int],
    config: TrainConfig,
) -> None:
    """Write the folds, and the data and settings that they were made from.

    Parameters
    ----------
    run
        The run directory.
    data, clips, folds
        Path of the data, the clips in it, and the fold of each.
    config
        How they were made.
    """
    write_json(run / "folds.json", _fold_facts(data, clips, config))
    save_folds(run / "folds.csv", clips, folds)


def _fold_facts(
    data: str | os.PathLike[str], clips: Sequence[Clip], config: TrainConfig
) -> dict[str, Any]:
    settings = dataclasses.asdict(config.data) | {"seed": config.seed}
    return {
        "format_version": FORMAT_VERSION,
        "data": os.path.abspath(data),
        "n_clips": len(clips),
        "fingerprint": fingerprint_of(clips),
        "settings": json.loads(json.dumps(settings)),
    }


def check_space(run: Path, model: SedModel, *, with_ema: bool) -> None:
    """Check that the checkpoints of a run will fit on the disk.

    These are the best, the last, and the state twice while it is written. With the moments of the
    optimizer, the state is three times the weights, or four times with their average.

    Parameters
    ----------
    run
        The run directory; it is created.
    model
        The model.
    with_ema
        Whether an average of the weights is kept.

    Raises
    ------
    OutputError
        If they will not fit.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    needed = (2 + 2 * (3 + with_ema)) * weights
    run.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(run).free) < needed:
        reason = f"the run needs {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free"
        raise OutputError(run, OSError(errno.ENOSPC, reason))
