"""Overfit one batch: a check of data, labels, model and learning rate before a long run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sed.errors import SedError, UsageError
from sed.models.devices import choose_device
from train.config.augment import MixingConfig, SpectrogramConfig, WaveformConfig
from train.config.recipe import load_recipe
from train.config.train import TrainConfig
from train.data.check import check_files, raise_if_any
from train.data.clips import Clip
from train.data.folds import assign_folds
from train.data.split import split_by_fold
from train.data.tables import read_table
from train.loop.dataset import Example
from train.loop.distributed import Distributed
from train.loop.initial import build_model, check_backbone
from train.loop.optimizer import train_mode
from train.loop.trainer import Trainer

MAX_STEPS = 200
MAX_LOSS_RATIO = 0.1  # of last to first loss, for a batch that is overfitted


@dataclass(frozen=True)
class OverfitResult:
    """Result of overfitting one batch."""

    n_clips: int
    n_steps: int
    first_loss: float
    last_loss: float
    accuracy: float  # on that batch

    @property
    def passed(self) -> bool:
        """Whether every clip is classified correctly and the loss has fallen to a tenth."""
        return self.accuracy == 1.0 and self.last_loss <= MAX_LOSS_RATIO * self.first_loss

    def __str__(self) -> str:
        numbers = (
            f"one batch of {self.n_clips} clips: loss {self.first_loss:.4f} to "
            f"{self.last_loss:.4f} in {self.n_steps} steps, {self.accuracy:.0%} of it correct"
        )
        if self.passed:
            return f"{numbers}. It can be overfitted: data, model and loss fit together."
        return (
            f"{numbers}. It could NOT be overfitted: check the labels, listen to the clips, try "
            "another learning_rate, and make sure that the initial weights fit the front end."
        )


def overfit_one_batch(
    data: str | os.PathLike[str],
    fold: int = 0,
    *,
    recipe: str | os.PathLike[str] = "default",
    init_weights: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    table_format: str = "auto",
    device: str = "auto",
    on_step: Callable[[int, int, float], None] | None = None,
) -> OverfitResult:
    """Train on one batch without augmentation, dropout or smoothing; write nothing.

    Parameters
    ----------
    data, fold, recipe, init_weights, seed, overrides, table_format, device
        See `train.run.train.train`.
    on_step
        Called after each step with the number of steps done, the number in all, and the loss.

    Raises
    ------
    UsageError, TableError, CheckpointError, SedError
        As `train` does.
    """
    recipe_config = load_recipe(recipe, overrides=overrides, init_weights=init_weights, seed=seed)
    check_backbone(recipe_config)
    config = _plain(recipe_config)
    clips = read_table(data, table_format=table_format)
    folds = assign_folds(clips, config.data, seed=config.seed)
    all_data = split_by_fold(clips, folds, fold, config)
    few = _varied(all_data.train, config.optim.batch_size, config.seed)
    raise_if_any(check_files(few, config.log_mel.sample_rate), len(few))
    batch_data = dataclasses.replace(all_data, train=few, val=few)
    model, _ = build_model(config, batch_data.labels)
    try:
        trainer = Trainer(model, batch_data, config, choose_device(device), Distributed())
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error
    with closing(trainer):
        batch = next(iter(trainer.train_loader))
        if isinstance(batch, SedError):
            raise batch
        return _overfit(trainer, Example(*(part.to(trainer.device) for part in batch)), on_step)


def _overfit(
    trainer: Trainer, batch: Example, on_step: Callable[[int, int, float], None] | None
) -> OverfitResult:
    config = trainer.config
    train_mode(trainer.model, trainer.frozen, batch_norm=config.optim.batch_norm)
    losses: list[float] = []
    accuracy = 0.0
    for step in range(MAX_STEPS):
        trainer.optimizer.zero_grad(set_to_none=True)
        loss: Tensor = trainer.step(batch, np.random.default_rng(config.seed))
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
        losses.append(float(loss.item()))
        if on_step is not None:
            on_step(step + 1, MAX_STEPS, losses[-1])
        if losses[-1] <= MAX_LOSS_RATIO * losses[0] or step + 1 == MAX_STEPS:
            accuracy = _accuracy(trainer, batch)
            if accuracy == 1.0:
                break
    return OverfitResult(len(batch.samples), len(losses), losses[0], losses[-1], accuracy)


def _plain(config: TrainConfig) -> TrainConfig:
    """Return a config without anything that makes overfitting harder."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, target_positive=1.0, target_secondary=0.0, target_negative=0.0
        ),
        waveform=WaveformConfig(shift="none", gain_db=0.0),
        mixing=MixingConfig(mixup_probability=0.0),
        spectrogram=SpectrogramConfig(spec_augment_probability=0.0),
        model=dataclasses.replace(config.model, dropout=0.0),
        optim=dataclasses.replace(
            config.optim,
            ema_decay=0.0,
            weight_decay=0.0,
            sampling="all",
            schedule="constant",
            warmup_ratio=0.0,
            n_workers=0,
        ),
        loss=dataclasses.replace(config.loss, label_smoothing=0.0, distill_embeddings=""),
    )


def _varied(clips: Sequence[Clip], n: int, seed: int) -> list[Clip]:
    """Return some clips, of as many classes as possible."""
    order = np.random.default_rng(seed).permutation(len(clips))
    n_seen: dict[tuple[str, ...], int] = {}
    rounds = []
    for i in order:
        n_before = n_seen.get(clips[i].labels, 0)
        n_seen[clips[i].labels] = n_before + 1
        rounds.append((n_before, int(i)))
    return [clips[i] for _, i in sorted(rounds, key=lambda t: t[0])[:n]]


@torch.inference_mode()
def _accuracy(trainer: Trainer, batch: Example) -> float:
    """Return the share of clips whose labels are all ranked above all others."""
    output = trainer.model.eval()(batch.samples)
    train_mode(trainer.model, trainer.frozen, batch_norm=trainer.config.optim.batch_norm)
    positive = (batch.targets > 0.5).cpu().numpy()
    ranked = np.argsort(-output.clip_probs.float().cpu().numpy(), axis=1)
    correct = [
        set(ranked[i, : row.sum()]) == set(np.flatnonzero(row)) for i, row in enumerate(positive)
    ]
    return float(np.mean(correct))
