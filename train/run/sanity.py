"""Can one batch be learnt by heart? If not, something is wrong with data, model or rate."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sed.errors import SedError, UsageError
from sed.models.devices import choose_device
from train.config import MixingConfig, PictureConfig, TrainConfig, WaveformConfig, load_recipe
from train.data.check import find_faults, refuse_faults
from train.data.clips import Clip
from train.data.folds import assign_folds
from train.data.tables import read_table
from train.data.task import make_task
from train.loop.dataset import Sample
from train.loop.distributed import World
from train.loop.initial import initial_model
from train.loop.optimizer import set_to_train
from train.loop.trainer import Trainer

MOST_STEPS = 200
LEARNT = 0.1  # of the first loss that may be left


@dataclass(frozen=True)
class Sanity:
    """How learning one batch by heart went."""

    n_clips: int
    n_steps: int
    first_loss: float
    last_loss: float
    accuracy: float  # on that batch

    @property
    def could(self) -> bool:
        """Whether every clip is told right, and little of the loss is left."""
        return self.accuracy == 1.0 and self.last_loss <= LEARNT * self.first_loss

    def __str__(self) -> str:
        told = (
            f"one batch of {self.n_clips} clips: loss {self.first_loss:.4f} to "
            f"{self.last_loss:.4f} in {self.n_steps} steps, {self.accuracy:.0%} of it right"
        )
        if self.could:
            return f"{told}. It can be overfitted: data, model and loss go together."
        return (
            f"{told}. It could NOT be overfitted: look at the labels, listen to the clips, try "
            "another learning_rate, and make sure that the initial weights fit the front end."
        )


def check_sanity(
    data: str | os.PathLike[str],
    fold: int = 0,
    *,
    recipe: str | os.PathLike[str] = "default",
    initial: str | None = None,
    seed: int | None = None,
    settings: Sequence[str] = (),
    table_format: str = "auto",
    device: str = "auto",
    on_step: Callable[[int, int, float], None] = lambda *_: None,
) -> Sanity:
    """Learn one batch by heart, without augmentation, dropout or smoothing; write nothing.

    The arguments are those of `train`.
    """
    recipe_config = load_recipe(recipe, settings=settings, initial=initial, seed=seed)
    config = _plain(recipe_config)
    clips = read_table(data, format=table_format)
    task = make_task(clips, assign_folds(clips, config.data, seed=config.seed), fold, config)
    few = _varied(task.learnt, config.learning.batch_size, config.seed)
    refuse_faults(find_faults(few, config.log_mel.sample_rate), len(few))
    task = dataclasses.replace(task, learnt=few, judged=few)
    try:
        trainer = Trainer(
            initial_model(config, task.labels)[0], task, config, choose_device(device), World()
        )
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error
    batch = next(iter(trainer.learning_from))
    if isinstance(batch, SedError):
        raise batch
    batch = Sample(*(part.to(trainer.device) for part in batch))
    set_to_train(trainer.model, trainer.frozen, batch_norm=config.learning.batch_norm)
    losses: list[float] = []
    right = 0.0
    for step in range(MOST_STEPS):
        trainer.optimizer.zero_grad(set_to_none=True)
        loss: Tensor = trainer.step(batch, np.random.default_rng(config.seed))
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
        losses.append(float(loss.item()))
        on_step(step + 1, MOST_STEPS, losses[-1])
        if losses[-1] <= LEARNT * losses[0] or step + 1 == MOST_STEPS:
            right = _right(trainer, batch)
            if right == 1.0:
                break
    return Sanity(len(batch.samples), len(losses), losses[0], losses[-1], right)


def _plain(config: TrainConfig) -> TrainConfig:
    """Return a config without all that makes learning by heart harder."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, present=1.0, secondary=0.0, absent=0.0),
        waveform=WaveformConfig(shift="none", gain_db=0.0),
        mixing=MixingConfig(mixup_probability=0.0),
        picture=PictureConfig(spec_augment_probability=0.0),
        model=dataclasses.replace(config.model, dropout=0.0),
        learning=dataclasses.replace(
            config.learning,
            label_smoothing=0.0,
            ema_decay=0.0,
            weight_decay=0.0,
            distil="",
            sampling="all",
            schedule="constant",
            warm_up=0.0,
            n_workers=0,
        ),
    )


def _varied(clips: Sequence[Clip], n: int, seed: int) -> list[Clip]:
    """Return some clips, of as many classes as possible."""
    order = np.random.default_rng(seed).permutation(len(clips))
    seen: dict[tuple[str, ...], int] = {}
    turns = []
    for i in order:
        turn = seen.get(clips[i].labels, 0)
        seen[clips[i].labels] = turn + 1
        turns.append((turn, int(i)))
    return [clips[i] for _, i in sorted(turns, key=lambda t: t[0])[:n]]


@torch.inference_mode()
def _right(trainer: Trainer, batch: Sample) -> float:
    """Return the share of clips whose labels are all ranked above all others."""
    output = trainer.model.eval()(batch.samples)
    set_to_train(trainer.model, trainer.frozen, batch_norm=trainer.config.learning.batch_norm)
    present = (batch.targets > 0.5).cpu().numpy()
    ranked = np.argsort(-output.clip_probs.float().cpu().numpy(), axis=1)
    right = [
        set(ranked[i, : there.sum()]) == set(np.flatnonzero(there))
        for i, there in enumerate(present)
    ]
    return float(np.mean(right))
