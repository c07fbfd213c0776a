"""The training loop, top to bottom: data, model, epochs, validation, checkpoint.

A run directory holds ``config.json``, ``folds.csv`` (and how they were made: ``folds.json``),
``history.csv`` (and the same for TensorBoard), ``curves.png``, the checkpoints of the best and the
last epoch, ``state.safetensors`` to go on from, and at the end a report on the fold held out. All
are whole at any time, so a run can be killed at any moment and resumed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from sed.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sed.devices import choose_device
from sed.errors import SedError, UsageError, printable
from sed.events import TrackerConfig
from sed.files import written_whole
from sed.losses import frame_maximum
from sed.metrics import clip_metrics, fit_thresholds
from sed.model import SedModel
from sed.plots import plot_curves
from train.config import TrainConfig, load_recipe
from train.dataset import STEP, ClipDataset, EpochBatches, Sample, clip_loader
from train.distributed import World, joined_world, own_device
from train.optimizer import Average, Rate, create_optimizer, freeze_stages, set_to_train
from train.report import write_report
from train.setup import (
    Task,
    check_clips,
    check_space,
    folds_of_run,
    initial_model,
    make_task,
    write_json,
)
from train.soft import read_soft_labels
from train.state import State, load_state, save_state
from train.step import TrainingStep, training_precision
from train.table import read_table

Row = dict[str, float]

_OF_A_RUN = ("best.json", "best.safetensors", "last.json", "last.safetensors", "history.csv",
             "curves.png", "state.safetensors", "report.json", "per_class.csv",
             "predictions.csv", "confusion.png")  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """What a model said about the clips of a fold, all of shape (clips, classes)."""

    targets: NDArray[np.float32]
    clip_probs: NDArray[np.float32]
    frame_maxima: NDArray[np.float32]  # highest frame probability


@dataclass(frozen=True)
class Progress:
    """Told what happens; each of them may be anything that takes these arguments."""

    on_start: Callable[[str], None] = lambda _: None  # what is trained on what
    on_checked: Callable[[int, int], None] = lambda *_: None  # files looked into, files in all
    on_step: Callable[[int, int, float], None] = lambda *_: None  # step, steps in all, loss
    on_epoch: Callable[[Row], None] = lambda _: None  # the new row of the history


@dataclass
class Position:
    """How far a run has come; plain values, kept in its state."""

    epoch: int = 0  # that is being learnt
    batch: int = 0  # of it that comes next
    losses: list[float] = field(default_factory=list)  # of the batches before
    history: list[Row] = field(default_factory=list)  # of the epochs before
    best: float = -math.inf  # figure of the best epoch
    best_epoch: int = 0  # counted from 1; 0: none yet


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
        if soft is not None:
            pseudo = read_soft_labels(soft, least=config.data.soft_least)
            task = dataclasses.replace(task, learnt=task.learnt + pseudo)
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
    model = initial_model(config, task.labels)
    try:
        trainer = Trainer(model, task, config, device, world)
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error
    about = json.loads(
        json.dumps(dataclasses.asdict(config) | {"fold": task.fold, "processes": world.size})
    )
    goes_on = resume and (run / "state.safetensors").is_file()
    if goes_on:
        _check_same_run(run, about)
        trainer.load(run / "state.safetensors")
    if world.is_first:
        begun = f"; goes on in epoch {trainer.position.epoch + 1}" * goes_on
        progress.on_start(f"{task.description}; {trainer.description}{begun}")
    if world.is_first and not goes_on:
        clips, rate = task.learnt + task.judged, config.front_end.sample_rate
        check_clips(clips, rate, progress.on_checked)
        check_space(run, model)
        for name in _OF_A_RUN:  # of an earlier run: they would pass for this one's
            (run / name).unlink(missing_ok=True)
        shutil.rmtree(run / "tensorboard", ignore_errors=True)
        write_json(run / "config.json", about)
    world.wait()
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
            _write_history(run, position.history)
            trainer.save(run / "state.safetensors")
            progress.on_epoch(row)
    _report(run, task, trainer)


class Trainer:
    """A model, what moves it, and how far it has come."""

    def __init__(
        self, model: SedModel, task: Task, config: TrainConfig, device: torch.device, world: World
    ) -> None:
        learning = config.learning
        self.config, self.task, self.device, self.world = config, task, device, world
        self.position = Position()
        self.precision = training_precision(learning.precision, device)
        self.model = model.to(device)
        if learning.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if world.size > 1 and device.type == "cuda" and learning.batch_norm == "train":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(  # type: ignore[no-untyped-call]
                self.model
            )
        self.frozen = freeze_stages(self.model, learning.frozen_stages)
        self.step = TrainingStep(self.model, task, config, self.precision).to(device)
        self.optimizer = create_optimizer(self.model, self.step.extra, learning)
        self.average = Average(self.model, learning.ema_decay) if learning.ema_decay else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.network: nn.Module = self.step
        if world.size > 1:
            ids = [device.index] if device.type == "cuda" else None
            # Some backbones bring layers of their classifier that no frame passes through.
            self.network = DistributedDataParallel(
                self.step, device_ids=ids, find_unused_parameters=True
            )

        self.batches = EpochBatches(
            task.learnt,
            learning.batch_size,
            config.seed,
            sampling=learning.sampling,
            rank=world.rank,
            world_size=world.size,
        )
        judged = EpochBatches(
            task.judged,
            learning.batch_size,
            config.seed,
            sampling="in order",
            rank=world.rank,
            world_size=world.size,
        )
        columns = Checkpoint(model, task.labels, config.data.window_seconds).window_columns
        edges = model.frame_edges(columns) * config.front_end.hop_samples
        learnt_set = ClipDataset(task.learnt, task.labels, config, edges, training=True)
        judged_set = ClipDataset(task.judged, task.labels, config, edges, training=False)
        self.learning_from = clip_loader(learnt_set, self.batches, device=device)
        self.judging_by = clip_loader(judged_set, judged, device=device)
        self.n_steps = learning.epochs * len(self.batches)
        self.rate = Rate(self.optimizer, learning, self.n_steps)

    @property
    def description(self) -> str:
        """Device, precision, and how many processes."""
        together = f", {self.world.size} processes" if self.world.size > 1 else ""
        return f"{self.device}, {str(self.precision).removeprefix('torch.')} autocast{together}"

    @property
    def judged_model(self) -> SedModel:
        """The model that is judged and kept: the average, where there is one."""
        return self.average.model if self.average else self.model

    @property
    def has_stalled(self) -> bool:
        """Whether no epoch has been better for as long as the config has patience."""
        patience, position = self.config.learning.patience, self.position
        return bool(patience) and position.epoch - position.best_epoch >= patience

    # ------------------------------------------------------------------------------------ learning

    def learn(self, run: Path, on_step: Callable[[int, int, float], None]) -> tuple[float, float]:
        """Go through the rest of the epoch; return its mean loss, and seconds of waiting for data.

        All randomness of a step follows from the seed and its place in the run.
        """
        learning, position = self.config.learning, self.position
        set_to_train(self.model, self.frozen, batch_norm=learning.batch_norm)
        self.batches.epoch, self.batches.first_batch = position.epoch, position.batch
        waited = Waited()
        for batch in waited.through(self.learning_from):
            step = position.epoch * len(self.batches) + position.batch
            self.rate.before_step(step)
            position.losses.append(self._learn_batch(batch, step, run))
            position.batch += 1
            on_step(step + 1, self.n_steps, position.losses[-1])
            due = learning.save_every_steps and position.batch % learning.save_every_steps == 0
            if due and self.world.is_first and self._moves_after(position.batch - 1):
                self.save(run / "state.safetensors")
        return float(np.mean(self.world.gathered(position.losses))), waited.seconds

    def _learn_batch(self, batch: Sample, step: int, run: Path) -> float:
        learning, place = self.config.learning, self.position.batch
        generator = np.random.default_rng(
            (self.config.seed, STEP, self.position.epoch, place * self.world.size + self.world.rank)
        )
        torch.manual_seed(int(generator.integers(1 << 62)))  # of dropout and SpecAugment
        moves = self._moves_after(place)
        # ------------------------------------------------------------------------ one training step
        batch = Sample(*(part.to(self.device, non_blocking=True) for part in batch))
        together = place % learning.accumulate + 1 if moves else learning.accumulate
        with nullcontext() if moves else self._unsynchronised():
            loss = self.network(batch, generator)
            value = float(loss.item())
            if not math.isfinite(value):
                raise self._not_finite(batch, value, step, run)
            self.scaler.scale(loss / together).backward()
        if moves:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.step.parameters(), learning.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.average:
                self.average.update(self.model, step)
        # ------------------------------------------------------------------------------------------
        return value

    def _moves_after(self, place: int) -> bool:
        """Return whether the weights move after the batch at a place in the epoch."""
        accumulate = self.config.learning.accumulate
        return (place + 1) % accumulate == 0 or place + 1 == len(self.batches)

    def _unsynchronised(self) -> Any:
        network = self.network
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def _not_finite(self, batch: Sample, value: float, step: int, run: Path) -> SedError:
        """Save a batch whose loss is no number; return the error that names it."""
        files = [self.task.learnt[int(i)].path for i in batch.number]
        path = run / "bad-batch.npz"
        with written_whole(path) as part, open(part, "wb") as file:
            np.savez(
                file,
                samples=batch.samples.cpu(),
                targets=batch.targets.cpu(),
                files=np.array(files),
            )
        names = ", ".join(printable(os.path.basename(f)) for f in files[:8])
        return SedError(
            f"the loss of step {step + 1} is {value}; its batch ({names}"
            f"{', …' if len(files) > 8 else ''}) is saved as {printable(str(path))}. Lower "
            "learning_rate, or set precision to fp32; the epochs so far are kept."
        )

    # ------------------------------------------------------------------------------------- judging

    @torch.inference_mode()
    def predict(self) -> Predictions:
        """Return what the model says about the clips of the fold held out, in fp32."""
        model = self.judged_model.eval()
        parts: list[tuple[NDArray[np.float32], ...]] = []
        for batch in self.judging_by:
            output = model(batch.samples.to(self.device))
            maxima = frame_maximum(output).sigmoid()
            parts.append(
                (batch.targets.numpy(), output.clip_probs.cpu().numpy(), maxima.cpu().numpy())
            )
        gathered = self.world.gathered(parts)
        # Batch by batch, process by process: the order in which the clips were dealt.
        dealt = [share[i] for i in range(len(gathered[0])) for share in gathered if i < len(share)]
        return Predictions(*(np.concatenate(p) for p in zip(*dealt, strict=True)))

    def note(self, row: Row) -> bool:
        """Close an epoch with its figures; return whether it is the best so far."""
        position, figure = self.position, row[self.config.learning.judge]
        self.rate.after_epoch(position.epoch, figure)
        position.history.append(row)
        position.epoch, position.batch, position.losses = position.epoch + 1, 0, []
        is_better = position.best_epoch == 0 or figure > position.best
        if is_better:
            position.best, position.best_epoch = figure, position.epoch
        return is_better

    def clips_in(self, first_batch: int) -> int:
        """Return how many clips all processes see in an epoch from a batch on."""
        together = self.config.learning.batch_size * self.world.size
        return min(len(self.task.learnt), (len(self.batches) - first_batch) * together)

    def checkpoint(self, predictions: Predictions, row: Row) -> Checkpoint:
        """Return the model, with thresholds fitted on the fold held out, and its figures."""
        events = self.config.events
        on = fit_thresholds(predictions.targets, predictions.frame_maxima, beta=events.beta)
        return Checkpoint(
            self.judged_model,
            self.task.labels,
            self.config.data.window_seconds,
            TrackerConfig(
                on=tuple(round(float(t), 4) for t in on),
                off=tuple(round(float(t) * events.off_share, 4) for t in on),
                median_frames=events.median_frames,
                min_length_seconds=events.min_length_seconds,
                merge_gap_seconds=events.merge_gap_seconds,
            ),
            metrics={
                "validation": {"fold": self.task.fold, "n_clips": len(predictions.targets), **row}
            },
            data={
                "n_clips": len(self.task.learnt),
                "licences": sorted({c.licence for c in self.task.learnt if c.licence}),
                "short": self.config.data.short,
            },
        )

    # --------------------------------------------------------------------------------------- state

    def save(self, path: Path) -> None:
        """Write all that is needed to go on."""
        save_state(path, self._state())

    def load(self, path: Path) -> None:
        """Go on from where a state was written."""
        state = self._state()
        load_state(path, state)
        self.position = Position(**state.values["position"])
        self.rate.load_state_dict(state.values["rate"])
        self.scaler.load_state_dict(state.values["scaler"])

    def _state(self) -> State:
        modules: dict[str, nn.Module] = {"model": self.model, "extra": self.step.extra}
        if self.average:
            modules["average"] = self.average.model
        values = {
            "position": dataclasses.asdict(self.position),
            "rate": self.rate.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        return State(modules, self.optimizer, values)


class Waited:
    """How long a loop has waited for what it goes through."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def through(self, batches: DataLoader[Sample]) -> Iterator[Sample]:
        """Yield the batches; the clock runs while they are not there."""
        waiting = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(waiting, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def _check_same_run(run: Path, about: dict[str, Any]) -> None:
    """Refuse to go on with another recipe than the run began with."""
    path = run / "config.json"
    try:
        begun = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{printable(str(path))}: cannot be read ({error}). Begin anew."
        ) from error
    changed = sorted(
        f"{table}.{key}" if isinstance(about[table], dict) else table
        for table in about
        for key in (about[table] if isinstance(about[table], dict) else [""])
        if (about[table][key] if key else about[table])
        != (begun.get(table, {}).get(key) if key else begun.get(table))
    )
    if changed:
        raise UsageError(
            f"{printable(str(run))} was begun with other settings ({', '.join(changed)}). Resume "
            "with the same, or train into another folder with --out."
        )


def _write_history(run: Path, history: Sequence[Row]) -> None:
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


def _report(run: Path, task: Task, trainer: Trainer) -> None:
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
