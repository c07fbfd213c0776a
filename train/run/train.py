"""Train a model: data, model, epochs, validation, checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sed.errors import UsageError
from sed.models.checkpoint import save_checkpoint
from sed.models.devices import choose_device
from sed.models.metrics import clip_metrics
from sed.text import pluralize, printable
from train.config.recipe import load_recipe
from train.config.train import TrainConfig
from train.data.pseudo_labels import read_pseudo_labels
from train.data.split import TrainingData, add_pseudo_labels, split_by_fold
from train.data.tables import read_table
from train.distill.classes import read_classes
from train.distill.mapping import map_labels
from train.loop.distributed import Distributed, init_distributed, local_device
from train.loop.initial import build_model, check_backbone
from train.loop.sampler import lost_workers
from train.loop.state import EpochMetrics
from train.loop.trainer import Trainer
from train.run.directory import (
    FORMAT_VERSION,
    STATE,
    CurvePlot,
    check_same_run,
    create_run,
    load_or_make_folds,
    save_run_folds,
    write_history,
    write_run_report,
)
from train.run.start import check_monitor, event_metrics, locked_run, refuse_finished_model

_logger = logging.getLogger("sed.train")


@dataclass(frozen=True)
class TrainCallbacks:
    """Functions that `train` calls as it proceeds."""

    on_start: Callable[[str], None] = lambda _: None  # description of data, device and weights
    on_file_checked: Callable[[int, int], None] = lambda *_: None  # files done, files in all
    on_step: Callable[[int, int, float], None] = lambda *_: None  # steps done, in all, loss
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None  # the new row of history.csv


def load_checked_recipe(
    name: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    init_weights: str | None = None,
    seed: int | None = None,
) -> TrainConfig:
    """Return a recipe whose backbone exists and keeps time; see `load_recipe`.

    Raises
    ------
    UsageError
        If there is no such recipe, setting or backbone, or the backbone does not keep time.
    """
    config = load_recipe(
        name, overrides=overrides, epochs=epochs, init_weights=init_weights, seed=seed
    )
    check_backbone(config)
    return config


def train(
    data: str | os.PathLike[str],
    fold: int = 0,
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
) -> Path:
    """Train a model with one fold held out for validation; return the best epoch's checkpoint.

    Under ``torchrun`` all its processes train one model together.

    Parameters
    ----------
    data
        A table of clips, a folder that holds one, a folder per class, or the output of `prepare`.
    fold
        The fold held out for validation, counted from 0. A fold is one of the parts that the clips
        are divided into; official folds count in the order of their names.
    recipe
        Name or TOML file of a recipe.
    epochs, init_weights, seed
        In place of the recipe's.
    output
        The run directory; ``runs/<recipe>-fold<N>`` if not given.
    overrides
        Further changes to the recipe, as ``optim.batch_size=64``.
    pseudo_labels
        A table of pseudo-labels to train on too, as `predict` writes it.
    table_format
        Format of the table, if its columns are ambiguous; see `read_table`.
    resume
        Continue from the state in the run directory, if there is one.
    device
        auto, cpu, cuda or cuda:N.
    callbacks
        Called as training proceeds.

    Returns
    -------
    Path
        ``best.safetensors`` in the run directory.

    Raises
    ------
    UsageError
        If there is no such recipe, setting, fold or device, the backbone is unknown or does not
        keep time, or the run directory is of other data or settings.
    TableError
        If rows of the table are faulty, or its clips cannot be trained on.
    CheckpointError
        If the initial weights do not fit.
    SedError
        If the loss is not finite; its batch is saved and named.
    """
    config = load_checked_recipe(
        recipe, overrides=overrides, epochs=epochs, init_weights=init_weights, seed=seed
    )
    run = Path(output) if output is not None else Path("runs") / f"{Path(recipe).stem}-fold{fold}"
    torch_device = choose_device(local_device(device))
    clips = read_table(data, table_format=table_format)
    _logger.info("%s: %s", printable(os.fspath(data)), pluralize(len(clips), "clip"))
    with init_distributed(torch_device) as world:
        folds = load_or_make_folds(run, data, clips, config) if world.is_first else []
        folds = world.all_gather(folds)[0]
        if config.data.label_map:
            clips = map_labels(clips, config.data.label_map)
        classes = [c.name for c in read_classes()] if config.data.classes else []
        training_data = split_by_fold(clips, folds, fold, config, classes=classes)
        check_monitor(config.checkpoint.monitor, training_data.val)
        if pseudo_labels is not None:
            min_prob = config.data.pseudo_label_min_prob
            pseudo = read_pseudo_labels(pseudo_labels, min_prob=min_prob)
            training_data = add_pseudo_labels(training_data, pseudo, config)
        with locked_run(run, world):
            _run(
                training_data,
                run,
                config,
                torch_device,
                world,
                resume=resume,
                save_folds=partial(save_run_folds, run, data, clips, folds, config),
                callbacks=callbacks or TrainCallbacks(),
            )
    return run / "best.safetensors"


def _run(
    data: TrainingData,
    run: Path,
    config: TrainConfig,
    device: torch.device,
    world: Distributed,
    *,
    resume: bool,
    save_folds: Callable[[], None],
    callbacks: TrainCallbacks,
) -> None:
    """Train in this process; the first of several processes writes files and prints."""
    has_state = world.all_gather(os.path.isfile(run / STATE))[0]
    if has_state and not resume:
        raise UsageError(
            f"{printable(str(run))} holds a run: add --resume to continue it, train into another "
            "folder with --output, or delete it."
        )
    if not has_state:
        refuse_finished_model(run, world)
    facts = _run_facts(data, config, world)
    if has_state:
        check_same_run(run, facts)
    model, note = build_model(config, data.labels)
    try:
        trainer = Trainer(model, data, config, device, world)
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error
    progress = trainer.progress
    if has_state:
        trainer.load(run / STATE)
        progress = trainer.progress
        is_done = progress.epoch >= config.optim.epochs
        note = "; already finished" if is_done else f"; resumes in epoch {progress.epoch + 1}"
    if world.is_first:
        callbacks.on_start(f"{data.description}; {trainer.description}{note}")
    if not has_state:
        create_run(run, data, config, facts, model, world, callbacks.on_file_checked)
    # Not before the files are checked: the clips of a refused run may be corrected.
    if world.is_first:
        save_folds()
    with closing(trainer), lost_workers():
        _run_epochs(trainer, run, callbacks)
        write_run_report(run, trainer)


def _run_facts(data: TrainingData, config: TrainConfig, world: Distributed) -> dict[str, Any]:
    """Return the settings and the fingerprint of the clips, for config.json."""
    return dataclasses.asdict(config) | {
        "format_version": FORMAT_VERSION,
        "fold": data.fold,
        "n_processes": world.size,
        "clips": data.fingerprint,
    }


def _run_epochs(trainer: Trainer, run: Path, callbacks: TrainCallbacks) -> None:
    """Train until the last epoch, or until there is no improvement."""
    curves = CurvePlot(run)
    try:
        while trainer.progress.epoch < trainer.config.optim.epochs and not trainer.has_stalled:
            _run_epoch(trainer, run, curves, callbacks)
    finally:  # also of a run that is stopped
        if trainer.world.is_first:
            curves.finish(trainer.progress.history)


def _run_epoch(trainer: Trainer, run: Path, curves: CurvePlot, callbacks: TrainCallbacks) -> None:
    """Train and validate one epoch, and write its checkpoints, history and state."""
    progress = trainer.progress
    first_batch, start = progress.batch, time.perf_counter()
    loss, wait_seconds = trainer.train_epoch(run, callbacks.on_step)
    seconds = time.perf_counter() - start
    if trainer.world.is_first and not os.path.exists(run / STATE):
        trainer.save(run / STATE)  # a best checkpoint never stands without a state
    model = trainer.kept_model()
    validation = trainer.predict(model)
    labelled = trainer.data.labelled
    metrics = {
        "epoch": progress.epoch + 1,
        "loss": loss,
        **clip_metrics(*(part[:, labelled] for part in validation.predictions)),
        **event_metrics(trainer, validation),
        "learning_rate": trainer.schedule.learning_rate,
        "seconds": seconds,
        "clips_per_second": trainer.n_clips_from(first_batch) / seconds,
        "data_wait_fraction": wait_seconds / seconds,
    }
    is_better = trainer.log_epoch(metrics)
    if trainer.world.is_first:
        checkpoint = trainer.checkpoint(model, validation, metrics)
        if is_better:
            save_checkpoint(checkpoint, run / "best.safetensors")
        save_checkpoint(checkpoint, run / "last.safetensors")
        write_history(run, progress.history)
        curves.update(progress.history)
        trainer.save(run / STATE)
        callbacks.on_epoch(metrics)
