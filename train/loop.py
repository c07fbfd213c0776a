"""The training loop, top to bottom: data, model, epochs, validation, checkpoint.

A run directory holds ``config.json``, ``folds.csv`` (and how they were made: ``folds.json``),
``history.csv``, ``curves.png`` and the checkpoint of the best epoch, ``best.safetensors`` with
``best.json``. All are whole after every epoch, so a run can be stopped at any time.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from sed.audio import LOWEST_RATE, read_blocks
from sed.checkpoint import DEFAULT, Checkpoint, save_checkpoint
from sed.devices import choose_device, choose_precision
from sed.errors import CheckpointError, SedError, TableError, UsageError, printable
from sed.events import TrackerConfig
from sed.files import written_whole
from sed.losses import LOSSES, frame_bce, frame_maximum
from sed.metrics import accuracy, average_precision, fit_thresholds, padded_cmap
from sed.model import SedModel
from sed.plots import plot_curves
from train.activity import frame_activity
from train.augment import SpecAugment, add_noise, mixup
from train.config import TrainConfig, load_recipe
from train.dataset import ClipDataset, clip_loader
from train.folds import NEVER, assign_folds, load_folds, save_folds
from train.initial import freeze_batch_norms, load_backbone
from train.table import Clip, read_table

Batches = DataLoader[tuple[Tensor, Tensor]]
Row = dict[str, float]


@dataclass(frozen=True)
class Predictions:
    """What a model said about the clips of a fold, all of shape (clips, classes)."""

    targets: NDArray[np.float32]
    clip_probs: NDArray[np.float32]
    frame_maxima: NDArray[np.float32]  # highest frame probability


@dataclass(frozen=True)
class Progress:
    """Told what happens; each of the three may be anything that takes these arguments."""

    on_start: Callable[[str], None] = lambda _: None  # what is trained on what
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
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Train a model with one fold held out for judging; return the checkpoint of the best epoch.

    Parameters
    ----------
    data
        A table of clips, a folder that holds one, or a folder per class.
    fold
        Which fold is held out, counted from 0; official folds count in the order of their names.
    recipe
        Name or TOML file of a recipe.
    epochs, initial, seed
        In place of the recipe's.
    out
        The run directory; ``runs/<recipe>-fold<N>`` if not given.
    device
        auto, cpu, cuda or cuda:N.
    progress
        Told what happens.

    Raises
    ------
    UsageError
        If there is no such recipe, fold or device.
    TableError
        If rows of the table are faulty.
    CheckpointError
        If the initial weights do not fit.
    """
    config = load_recipe(recipe, epochs=epochs, initial=initial, seed=seed)
    run = Path(out) if out is not None else Path("runs") / f"{Path(recipe).stem}-fold{fold}"
    where = choose_device(device)
    progress = progress or Progress()

    clips = read_table(data)
    folds = _folds_of_run(run, clips, config)
    learnt, judged = split(clips, folds, fold)
    labels = sorted({label for clip in learnt + judged for label in clip.labels})
    torch.manual_seed(config.seed)
    model = _initial_model(config, len(labels)).to(where)
    model.to(memory_format=torch.channels_last)
    check_clips(learnt + judged)
    for name in ("best.json", "best.safetensors", "history.csv", "curves.png"):
        (run / name).unlink(missing_ok=True)  # of an earlier run: they would pass for this one's
    _write_json(run / "config.json", dataclasses.asdict(config) | {"fold": fold})

    trainer = Trainer(model, config, where)
    learning_from = clip_loader(ClipDataset(learnt, labels, config, training=True), device=where)
    judging_by = clip_loader(ClipDataset(judged, labels, config, training=False), device=where)
    progress.on_start(
        f"{len(learnt)} clips to learn from, {len(judged)} of fold {fold}"
        f"{_official_name(judged)} to judge by, {len(labels)} classes; {trainer.description}"
    )

    history: list[Row] = []
    best = -math.inf
    for epoch in range(config.learning.epochs):
        began = time.perf_counter()
        loss = trainer.learn(learning_from, epoch, progress.on_step)
        seconds = time.perf_counter() - began
        predictions = trainer.predict(judging_by)
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            **metrics_of(predictions),
            "learning_rate": trainer.learning_rate,
            "seconds": seconds,
            "clips_per_second": len(learnt) / seconds,
        }
        history.append(row)
        if row["cmap5"] > best:
            best = row["cmap5"]
            checkpoint = _checkpoint(model, labels, config, predictions, row, fold, learnt)
            save_checkpoint(checkpoint, run / "best.safetensors")
        with written_whole(run / "history.csv") as part:
            pd.DataFrame(history).to_csv(part, index=False)
        plot_curves(history, run / "curves.png")
        progress.on_epoch(row)
    return run / "best.safetensors"


class Trainer:
    """A model, its optimiser and its schedule.

    Parameters
    ----------
    model
        Learns in place.
    config
        How.
    device
        Where the model is.
    """

    def __init__(self, model: SedModel, config: TrainConfig, device: torch.device) -> None:
        learning = config.learning
        self.model = model
        self.config = config
        self.device = device
        self.precision = choose_precision(learning.precision, device)
        self.loss = LOSSES[learning.loss]
        self.spec_augment = SpecAugment(config.augment)
        backbone = list(model.backbone.parameters())
        head = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": head, "share": 1.0},
                {"params": backbone, "share": learning.backbone_share},
            ],
            lr=learning.learning_rate,
            weight_decay=learning.weight_decay,
        )

    @property
    def description(self) -> str:
        """Device and precision."""
        return f"{self.device}, {str(self.precision).removeprefix('torch.')} autocast"

    @property
    def learning_rate(self) -> float:
        """The rate of the last step, of the head."""
        return float(self.optimizer.param_groups[0]["lr"])

    def learn(
        self, batches: Batches, epoch: int, on_step: Callable[[int, int, float], None]
    ) -> float:
        """Go through the clips once; return the mean loss.

        All randomness of an epoch follows from the seed and its number.
        """
        learning = self.config.learning
        generator = np.random.default_rng((self.config.seed, epoch, 0))
        torch.manual_seed(int(generator.integers(1 << 62)))
        batches.sampler.epoch = epoch  # type: ignore[attr-defined]
        self.model.train()
        if learning.batch_norm == "frozen":
            freeze_batch_norms(self.model)
        n_steps = learning.epochs * len(batches)
        losses = []
        for batch, (samples, targets) in enumerate(batches):
            step = epoch * len(batches) + batch
            rate = learning.learning_rate * rate_share(
                step / n_steps, learning.schedule, learning.warm_up
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            # ---------------------------------------------------------------- one training step
            samples, targets = samples.to(self.device), targets.to(self.device)
            loss = self._loss(samples, targets, generator)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), learning.clip_norm)
            self.optimizer.step()
            # ----------------------------------------------------------------------------------
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise SedError(
                    f"the loss of step {step + 1} is {losses[-1]}. Lower learning_rate, or set "
                    "precision to fp32; the best epoch so far is kept."
                )
            on_step(step + 1, n_steps, losses[-1])
        return float(np.mean(losses))

    def _loss(self, samples: Tensor, targets: Tensor, generator: np.random.Generator) -> Tensor:
        """Return the loss of a batch, augmented."""
        augment = self.config.augment
        frame_targets = self._frame_targets(samples, targets)
        if generator.random() < augment.mixup_probability:
            samples, (targets, frame_targets) = mixup(
                samples, (targets, frame_targets), augment, generator
            )
        if augment.noise_db:
            samples = add_noise(samples, augment.noise_db)
        columns = self.model.log_mel.centred(samples)
        if generator.random() < augment.spec_augment_probability:
            columns = self.spec_augment(columns)
        with torch.autocast(self.device.type, torch.bfloat16, self.precision == torch.bfloat16):
            output = self.model.classify(columns)
        output = type(output)(*(part.float() for part in output))
        loss = self.loss(output, targets)
        if self.config.learning.frame_weight:
            loss = loss + self.config.learning.frame_weight * frame_bce(output, frame_targets)
        return loss

    def _frame_targets(self, samples: Tensor, targets: Tensor) -> Tensor:
        """Return the labels of each clip where it sounds, shape (batch, frames, classes)."""
        front_end = self.config.front_end
        n_columns = samples.shape[-1] // front_end.hop_samples
        active = frame_activity(
            samples,
            front_end.sample_rate,
            self.model.frame_columns * front_end.hop_samples,
            self.model.n_frames(n_columns),
        )
        return active[:, :, None] * targets[:, None, :]

    @torch.inference_mode()
    def predict(self, batches: Batches) -> Predictions:
        """Return what the model says about the clips, in fp32."""
        self.model.eval()
        parts: list[tuple[Tensor, ...]] = []
        for samples, targets in batches:
            output = self.model(samples.to(self.device))
            maxima = frame_maximum(output).sigmoid()
            parts.append((targets, output.clip_probs.cpu(), maxima.cpu()))
        return Predictions(*(torch.cat(p).numpy() for p in zip(*parts, strict=True)))


def rate_share(progress: float, schedule: str, warm_up: float) -> float:
    """Return the share of the highest learning rate at a progress between 0 and 1.

    Both schedules fall along half a cosine; one-cycle first rises along another
    (Smith & Topin, 2018, arXiv:1708.07120).
    """
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if progress < warm_up:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / warm_up))
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / max(1e-9, 1 - warm_up)))


def metrics_of(predictions: Predictions) -> Row:
    """Return the figures that an epoch is judged by."""
    targets, probs = predictions.targets, predictions.clip_probs
    return {
        "accuracy": accuracy(targets, probs),
        "cmap5": padded_cmap(targets, probs, padding=5),
        "cmap3": padded_cmap(targets, probs, padding=3),
        "map": float(np.nanmean(average_precision(targets, probs))),
    }


def split(clips: Sequence[Clip], folds: Sequence[int], fold: int) -> tuple[list[Clip], list[Clip]]:
    """Return the clips to learn from and those to judge by.

    Raises
    ------
    UsageError
        If there is no such fold.
    TableError
        If nothing is left to learn from, or a class is only in the fold held out.
    """
    there = sorted({f for f in folds if f >= 0})
    if not there:
        raise TableError(
            "no clip is left to learn from or judge by. Check licences and hold_out in the recipe, "
            "and that the table says the licence of its clips."
        )
    if fold not in there:
        raise UsageError(f"no fold {fold}: the folds are {there[0]} to {there[-1]}")
    learnt = [c for c, f in zip(clips, folds, strict=True) if f not in (fold, NEVER)]
    judged = [c for c, f in zip(clips, folds, strict=True) if f == fold]
    lacking = {label for c in judged for label in c.labels} - {
        label for c in learnt for label in c.labels
    }
    if lacking:
        raise TableError(
            f"fold {fold} holds all clips of {', '.join(sorted(lacking))}: nothing to learn them "
            "from. Bring more clips, or make other folds with remake_folds in the recipe."
        )
    return learnt, judged


def _folds_of_run(run: Path, clips: Sequence[Clip], config: TrainConfig) -> list[int]:
    """Return the folds that the run directory has, if they were made in the same way, or make them.

    Raises
    ------
    UsageError
        If they were made with other settings.
    """
    path = run / "folds.csv"
    settings = json.loads(json.dumps(dataclasses.asdict(config.data) | {"seed": config.seed}))
    if path.is_file() and (run / "folds.json").is_file():
        if json.loads((run / "folds.json").read_text("utf-8")) != settings:
            raise UsageError(
                f"{printable(str(path))} was made with another seed or other [data] in the recipe. "
                "Delete it, or train into another folder with --out."
            )
        return load_folds(path, clips)
    _write_json(run / "folds.json", settings)
    folds = assign_folds(clips, config.data, seed=config.seed)
    save_folds(path, clips, folds)
    return folds


def _initial_model(config: TrainConfig, n_classes: int) -> SedModel:
    """Return the model to start from.

    Raises
    ------
    UsageError
        If the backbone does not exist or cannot keep time.
    CheckpointError
        If its weights cannot be had.
    """
    initial = config.learning.initial
    try:
        model = SedModel(config.model, config.front_end, n_classes, pretrained=initial == "timm")
    except ValueError as error:
        raise UsageError(str(error)) from error
    except Exception as error:  # whatever timm's hub and the libraries below it raise
        if initial != "timm":
            raise
        raise CheckpointError(
            f"{config.model.backbone}: timm's weights could not be fetched "
            f"({type(error).__name__}). Check the network, or give --initial a file."
        ) from error
    if initial not in ("none", "timm"):
        load_backbone(model.backbone, DEFAULT if initial == "default" else initial)
    return model


def check_clips(clips: Sequence[Clip]) -> None:
    """Decode all clips once, before hours are spent on some of them.

    Raises
    ------
    TableError
        If any cannot be read whole; all are listed.
    """

    def trouble(clip: Clip) -> str:
        try:
            for _ in read_blocks(clip.path, LOWEST_RATE):
                pass
        except SedError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor() as pool:
        faults = [fault for fault in pool.map(trouble, clips) if fault]
    if faults:
        more = f"\n  … and {len(faults) - 20} more" * (len(faults) > 20)
        raise TableError(
            f"{len(faults)} of {len(clips)} clips cannot be learnt from; mend them, or take them "
            "out of the table:\n  " + "\n  ".join(faults[:20]) + more
        )


def _checkpoint(
    model: SedModel,
    labels: Sequence[str],
    config: TrainConfig,
    predictions: Predictions,
    row: Row,
    fold: int,
    learnt: Sequence[Clip],
) -> Checkpoint:
    """Return the model with thresholds fitted on the fold held out, and what is known of it."""
    events = config.events
    on = fit_thresholds(predictions.targets, predictions.frame_maxima, beta=events.beta)
    return Checkpoint(
        model,
        tuple(labels),
        config.data.window_seconds,
        TrackerConfig(
            on=tuple(round(float(t), 4) for t in on),
            off=tuple(round(float(t) * events.off_share, 4) for t in on),
            median_frames=events.median_frames,
            min_length_seconds=events.min_length_seconds,
            merge_gap_seconds=events.merge_gap_seconds,
        ),
        metrics={"validation": {"fold": fold, "n_clips": len(predictions.targets), **row}},
        data={
            "n_clips": len(learnt),
            "licences": sorted({clip.licence for clip in learnt if clip.licence}),
        },
    )


def _official_name(judged: Sequence[Clip]) -> str:
    names = {clip.fold for clip in judged}
    return f" (official fold {names.pop()})" if len(names) == 1 and names != {""} else ""


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with written_whole(path) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
