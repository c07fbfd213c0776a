"""The training loop, top to bottom: data, model, epochs, validation, checkpoint."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sed.errors import UsageError
from sed.models.checkpoint import save_checkpoint
from sed.models.devices import choose_device
from sed.models.metrics import clip_metrics
from sed.text import printable
from train.config import TrainConfig, load_recipe
from train.data.soft import read_soft_labels
from train.data.tables import read_table
from train.data.task import Task, make_task, with_pseudo_labels
from train.loop.distributed import World, joined_world, own_device
from train.loop.initial import initial_model
from train.loop.trainer import Row, Trainer
from train.run.directory import (
    begin_run,
    check_same_run,
    folds_of_run,
    save_folds_of_run,
    write_history,
    write_run_report,
)


@dataclass(frozen=True)
class Progress:
    """Told what happens; each of them may be anything that takes these arguments."""

    on_start: Callable[[str], None] = lambda _: None  # what is trained on what
    on_checked: Callable[[int, int], None] = lambda *_: None  # files looked into, files in all
    on_step: Callable[[int, int, float], None] = lambda *_: None  # step, steps in all, loss
    on_epoch: Callable[[Row], None] = lambda _: None  # the new row of the history


def train(
    data: str | os.PathLike[str],
    fold: int = 0,
    *,
    recipe: str | os.PathLike[str] = "default",
    epochs: int | None = None,
    out: str | os.PathLike[str] | None = None,
    initial: str | None = None,
    seed: int | None = None,
    settings: Sequence[str] = (),
    soft: str | os.PathLike[str] | None = None,
    table_format: str = "auto",
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Train a model with one fold held out for judging; return the checkpoint of the best epoch.

    Under ``torchrun`` all its processes train one model together.

    Parameters
    ----------
    data
        A table of clips, a folder that holds one, a folder per class, or what `prepare` made.
    fold
        Which fold is held out, counted from 0; official folds count in the order of their names.
    recipe
        Name or TOML file of a recipe.
    epochs, initial, seed
        In place of the recipe's.
    out
        The run directory; ``runs/<recipe>-fold<N>`` if not given.
    settings
        Further changes to the recipe, as ``learning.batch_size=64``.
    soft
        A table of pseudo-labels to learn from beside the clips, as `predict` writes it.
    table_format
        What kind of table it is, if its columns leave doubt; see `read_table`.
    resume
        Go on from the state in the run directory, if there is one.
    device
        auto, cpu, cuda or cuda:N.
    progress
        Told what happens.

    Raises
    ------
    UsageError
        If there is no such recipe, setting, fold or device, or the run to resume was another one.
    TableError
        If rows of the table are faulty, or nothing can be learnt from it.
    CheckpointError
        If the initial weights do not fit.
    SedError
        If the loss is no number; the batch is saved and named.
    """
    config = load_recipe(recipe, settings=settings, epochs=epochs, initial=initial, seed=seed)
    run = Path(out) if out is not None else Path("runs") / f"{Path(recipe).stem}-fold{fold}"
    where = choose_device(own_device(device))
    clips = read_table(data, format=table_format)
    with joined_world(where) as world:
        folds = folds_of_run(run, clips, config) if world.is_first else []
        folds = world.gathered(folds)[0]
        task = make_task(clips, folds, fold, config)
        if world.is_first:
            save_folds_of_run(run, clips, folds, config)
        if soft is not None:
            pseudo = read_soft_labels(soft, least=config.data.soft_least)
            task = with_pseudo_labels(task, pseudo, config)
        _run(task, run, config, where, world, resume=resume, progress=progress or Progress())
    return run / "best.safetensors"


def _run(
    task: Task,
    run: Path,
    config: TrainConfig,
    device: torch.device,
    world: World,
    *,
    resume: bool,
    progress: Progress,
) -> None:
    """Train, as one of the processes; the first one of them writes and speaks."""
    goes_on = world.gathered((run / "state.safetensors").is_file())[0]
    if goes_on and not resume:
        raise UsageError(
            f"{printable(str(run))} holds a run: add --resume to go on with it, train into another "
            "folder with --out, or delete it."
        )
    model, told = initial_model(config, task.labels)
    try:
        trainer = Trainer(model, task, config, device, world)
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error
    about = dataclasses.asdict(config) | {
        "fold": task.fold,
        "processes": world.size,
        "clips": task.digest,
    }
    if goes_on:
        check_same_run(run, about)
        trainer.load(run / "state.safetensors")
        done = trainer.position.epoch
        told = f"; goes on in epoch {done + 1}" if done < config.learning.epochs else "; is done"
    if world.is_first:
        progress.on_start(f"{task.description}; {trainer.description}{told}")
    if not goes_on:
        begin_run(run, task, config, about, model, world, progress.on_checked)
    position = trainer.position
    while position.epoch < config.learning.epochs and not trainer.has_stalled:
        began = time.perf_counter()
        first_batch = position.batch
        loss, waiting = trainer.learn(run, progress.on_step)
        seconds = time.perf_counter() - began
        predictions = trainer.predict()
        row = {
            "epoch": position.epoch + 1,
            "loss": loss,
            **clip_metrics(predictions.targets, predictions.clip_probs),
            "learning_rate": trainer.rate.now,
            "seconds": seconds,
            "clips_per_second": trainer.clips_in(first_batch) / seconds,
            "waiting": waiting / seconds,
        }
        is_better = trainer.note(row)
        if world.is_first:
            checkpoint = trainer.checkpoint(predictions, row)
            if is_better:
                save_checkpoint(checkpoint, run / "best.safetensors")
            save_checkpoint(checkpoint, run / "last.safetensors")
            write_history(run, position.history)
            trainer.save(run / "state.safetensors")
            progress.on_epoch(row)
    write_run_report(run, task, trainer)
