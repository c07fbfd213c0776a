"""What a run directory holds, from the first look at the clips to the last report.

``config.json``, ``folds.csv`` (and how they were made: ``folds.json``), ``history.csv`` (and the
same for TensorBoard), ``curves.png``, the checkpoints of the best and the last epoch,
``state.safetensors`` to go on from, and at the end a report on the fold held out. All are whole at
any time.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sed.errors import OutputError, UsageError
from sed.files import written_whole
from sed.models.checkpoint import load_checkpoint
from sed.models.network import SedModel
from sed.text import printable
from train.augment.waveform import sound_files
from train.config import TrainConfig
from train.data.check import find_faults, refuse_faults
from train.data.clips import Clip
from train.data.folds import assign_folds, load_folds, save_folds
from train.data.task import Task
from train.evaluate.plots import plot_curves
from train.evaluate.report import write_json, write_report
from train.loop.distributed import World
from train.loop.trainer import Row, Trainer

_OF_A_RUN = ("best.json", "best.safetensors", "last.json", "last.safetensors", "history.csv",
             "curves.png", "state.safetensors", "report.json", "per_class.csv",
             "predictions.csv", "confusion.png")  # fmt: skip
_FREE = {"learning.n_workers", "learning.save_every_steps"}  # the weights do not hang on these


def begin_run(
    run: Path,
    task: Task,
    config: TrainConfig,
    about: dict[str, Any],
    model: SedModel,
    world: World,
    on_checked: Callable[[int, int], None],
) -> None:
    """Look into all files, each process into its share, and lay out the run directory."""
    paths = sound_files(config.waveform.background) if config.waveform.background else ()
    clips = [*task.learnt, *task.judged, *(Clip(str(path), (), "") for path in paths)]
    # All clips of a file go to one process.
    place = {path: i for i, path in enumerate(dict.fromkeys(clip.path for clip in clips))}
    own = [clip for clip in clips if place[clip.path] % world.size == world.rank]
    faults = find_faults(own, config.log_mel.sample_rate, on_checked)
    refuse_faults([fault for part in world.gathered(faults) for fault in part], len(place))
    if world.is_first:
        check_space(run, model, averages=config.learning.ema_decay > 0)
        for name in _OF_A_RUN:  # of a run that broke off early: they would pass for this one's
            (run / name).unlink(missing_ok=True)
        shutil.rmtree(run / "tensorboard", ignore_errors=True)
        write_json(run / "config.json", about)
    world.wait()
    if not all(world.gathered((run / "config.json").is_file())):
        raise UsageError(
            f"{printable(str(run))} is not the same folder for all processes: give --out a place "
            "that all machines share"
        )


def check_same_run(run: Path, about: dict[str, Any]) -> None:
    """Refuse to go on with another recipe or other clips than the run began with."""
    path = run / "config.json"
    try:
        begun = _flat(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{printable(str(path))}: cannot be read ({error}). Begin anew."
        ) from error
    now = _flat(json.loads(json.dumps(about)))
    changed = sorted(
        key for key in (now.keys() | begun.keys()) - _FREE if now.get(key) != begun.get(key)
    )
    if changed:
        differences = ", ".join(
            f"{key}: {begun.get(key)!r} before, {now.get(key)!r} now" for key in changed
        )
        raise UsageError(
            f"{printable(str(run))} was begun with other settings ({differences}). Resume with the "
            "same, or train into another folder with --out, from these weights if you like: "
            "--initial RUN/last.safetensors."
        )


def _flat(about: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of all tables, named with their table."""
    return {
        f"{name}.{key}" if key else name: value
        for name, values in about.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }


def write_history(run: Path, history: Sequence[Row]) -> None:
    """Write the figures of all epochs: as CSV, as a picture, and the newest for TensorBoard."""
    from tensorboardX import SummaryWriter

    with written_whole(run / "history.csv") as part:
        pd.DataFrame(history).to_csv(part, index=False)
    plot_curves(history, run / "curves.png")
    epoch = int(history[-1]["epoch"])
    with SummaryWriter(str(run / "tensorboard"), purge_step=epoch) as board:
        for name, value in history[-1].items():
            if name != "epoch":
                board.add_scalar(name, value, epoch)


def write_run_report(run: Path, task: Task, trainer: Trainer) -> None:
    """Write what the best epoch makes of the fold held out, clip by clip and class by class."""
    trainer.world.wait()
    best = load_checkpoint(run / "best.safetensors")
    trainer.judged_model.load_state_dict(best.model.state_dict())
    predictions = trainer.predict()
    if trainer.world.is_first:
        write_report(
            run,
            task.labels,
            predictions.targets,
            predictions.clip_probs,
            files=[clip.path for clip in task.judged],
            begins=[clip.begin_seconds for clip in task.judged],
        )


def folds_of_run(run: Path, clips: Sequence[Clip], config: TrainConfig) -> list[int]:
    """Return the folds that the run directory has, if they were made in the same way, or make them.

    Raises
    ------
    UsageError
        If they were made with other settings.
    """
    path = run / "folds.csv"
    if not (path.is_file() and (run / "folds.json").is_file()):
        return assign_folds(clips, config.data, seed=config.seed)
    if json.loads((run / "folds.json").read_text("utf-8")) != _fold_settings(config):
        raise UsageError(
            f"{printable(str(path))} was made with another seed or other [data] in the recipe. "
            "Delete it, or train into another folder with --out."
        )
    return load_folds(path, clips)


def save_folds_of_run(
    run: Path, clips: Sequence[Clip], folds: Sequence[int], config: TrainConfig
) -> None:
    """Write the folds and how they were made."""
    write_json(run / "folds.json", _fold_settings(config))
    save_folds(run / "folds.csv", clips, folds)


def _fold_settings(config: TrainConfig) -> dict[str, Any]:
    settings = dataclasses.asdict(config.data) | {"seed": config.seed}
    return json.loads(json.dumps(settings))  # type: ignore[no-any-return]


def check_space(run: Path, model: SedModel, *, averages: bool) -> None:
    """Make sure that the checkpoints of a run will fit on the disk.

    Best, last, and the state twice while it is written: with the moments of the optimizer it is
    three times the weights, four with their average.

    Raises
    ------
    OutputError
        If they will not.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    needed = (2 + 2 * (3 + averages)) * weights
    run.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(run).free) < needed:
        reason = f"the run needs {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free"
        raise OutputError(run, OSError(errno.ENOSPC, reason))
