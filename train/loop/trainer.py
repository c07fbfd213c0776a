"""Train a model epoch by epoch, validate it, and save and load its state."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sed.events.hierarchy import read_hierarchy
from sed.events.tracker import TrackerConfig
from sed.models.checkpoint import Checkpoint
from sed.models.devices import choose_precision
from sed.models.metrics import fit_thresholds
from sed.models.network import SedModel
from sed.signals import GracefulExit, sigterm_as_interrupt
from train.config.train import TrainConfig
from train.data.split import TrainingData
from train.distill.classes import class_hierarchy, names_and_ids
from train.loop.bad_batch import not_finite
from train.loop.dataset import STEP, ClipDataset, Example
from train.loop.distributed import Distributed
from train.loop.optimizer import (
    EMA,
    averaged,
    create_optimizer,
    freeze_pointwise,
    freeze_stages,
    sync_batch_norms,
    train_mode,
)
from train.loop.sampler import EpochBatchSampler, TimedLoader, create_loader, stop_workers
from train.loop.schedule import LRSchedule
from train.loop.state import (
    EpochMetrics,
    ResumableState,
    TrainState,
    load_state,
    resume_errors,
    save_state,
)
from train.loop.step import TrainingStep
from train.loop.validation import Validation, predict_validation

OnStep = Callable[[int, int, float], None]  # steps done, steps in all, loss


class Trainer:
    """A model, its optimizer and loaders, and the progress of its run.

    Parameters
    ----------
    model
        The initial model.
    data
        Training and validation clips.
    config
        The recipe.
    device
        Where to train.
    world
        The processes that train together.

    Raises
    ------
    ValueError
        If the model, the optimizer or the schedule do not support the settings.
    TableError
        If a teacher's embeddings cannot be read.
    """

    def __init__(
        self,
        model: SedModel,
        data: TrainingData,
        config: TrainConfig,
        device: torch.device,
        world: Distributed,
    ) -> None:
        optim = config.optim
        self.config, self.data, self.device, self.world = config, data, device, world
        of_audioset = config.data.classes == "audioset"
        own = read_hierarchy(config.data.hierarchy, data.labels)
        self.hierarchy = own or (class_hierarchy() if of_audioset else None)
        self.audioset = names_and_ids() if of_audioset else {}
        self.progress = TrainState()
        self.precision = choose_precision(optim.precision, device)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.initial = copy.deepcopy(model) if config.checkpoint.init_share else None
        if world.size > 1 and device.type == "cuda" and optim.batch_norm == "train":
            self.model = sync_batch_norms(self.model)
        self.frozen = freeze_stages(self.model, optim.frozen_stages)
        if optim.pointwise == "frozen":
            freeze_pointwise(self.model)
        self.step = TrainingStep(self.model, data, config, self.precision).to(device)
        self.optimizer = create_optimizer(self.model, self.step.distill_head, optim)
        self.ema = EMA(self.model, optim.ema_decay) if optim.ema_decay else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.network: nn.Module = self.step
        if world.size > 1:
            ids = [device.index] if device.type == "cuda" else None
            # Some backbones have classifier layers that frames do not pass through.
            self.network = DistributedDataParallel(self.step, ids, find_unused_parameters=True)
        self._create_loaders()
        self.n_steps = optim.epochs * len(self.batches)
        self.schedule = LRSchedule(self.optimizer, optim, self.n_steps)

    def _create_loaders(self) -> None:
        config, data, world = self.config, self.data, self.world
        size, seed, sampling = config.optim.batch_size, config.seed, config.optim.sampling
        ranks = {"rank": world.rank, "world_size": world.size}
        self.batches = EpochBatchSampler(data.train, size, seed, sampling=sampling, **ranks)
        val_batches = EpochBatchSampler(data.val, size, seed, sampling="in order", **ranks)
        columns = Checkpoint(self.model, data.labels, config.data.window_seconds).window_columns
        edges = self.model.frame_edges(columns) * config.log_mel.hop_length
        facts = data.labels, config, edges, data.labelled
        train_set = ClipDataset(data.train, *facts, training=True)
        self.train_loader = create_loader(train_set, self.batches, device=self.device)
        val_set = ClipDataset(data.val, *facts, training=False)
        self.val_loader = create_loader(val_set, val_batches, device=self.device)

    def close(self) -> None:
        """End the worker processes of both loaders."""
        stop_workers(self.train_loader, self.val_loader)

    @property
    def description(self) -> str:
        """Device, precision and number of processes, on one line."""
        processes = f", {self.world.size} processes" if self.world.size > 1 else ""
        return f"{self.device}, {str(self.precision).removeprefix('torch.')} autocast{processes}"

    def kept_model(self) -> SedModel:
        """Return the model that is validated and kept: averaged over time and with the initial."""
        trained = self.ema.model if self.ema else self.model
        if self.initial is None:
            return trained
        return averaged(trained, self.initial, self.config.checkpoint.init_share)

    @property
    def has_stalled(self) -> bool:
        """Whether the monitored metric has not improved for `patience` epochs."""
        patience, progress = self.config.checkpoint.patience, self.progress
        return bool(patience) and progress.epoch - progress.best_epoch >= patience

    # ------------------------------------------------------------------------------------ training

    def train_epoch(self, run: Path, on_step: OnStep) -> tuple[float, float]:
        """Train for the rest of the epoch; return its mean loss, and seconds waited for data.

        All randomness of a step follows from the seed and the position of the step.

        Parameters
        ----------
        run
            The run directory, for the state and for a batch whose loss is not finite.
        on_step
            Called after each step.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C or SIGTERM, once the step is done and the state saved.
        SedError
            If the loss is not finite, or a clip cannot be read.
        """
        progress = self.progress
        train_mode(self.model, self.frozen, batch_norm=self.config.optim.batch_norm)
        self.batches.epoch, self.batches.first_batch = progress.epoch, progress.batch
        loader = TimedLoader(self.train_loader)
        with sigterm_as_interrupt(), GracefulExit() as stop:
            self._train_batches(run, on_step, loader, stop)
        losses = self.world.all_gather(progress.losses)
        return float(np.mean(losses)), loader.wait_seconds

    def _train_batches(
        self, run: Path, on_step: OnStep, loader: TimedLoader, stop: GracefulExit
    ) -> None:
        progress = self.progress
        every = self.config.checkpoint.save_every_steps
        for batch in loader:
            step = progress.epoch * len(self.batches) + progress.batch
            if progress.batch % self.config.optim.grad_accum_steps == 0:
                self.schedule.before_step(step)
            progress.losses.append(self._train_batch(batch, step, run))
            progress.batch += 1
            on_step(step + 1, self.n_steps, progress.losses[-1])
            if not self._updates_after(progress.batch - 1):
                continue
            is_due = every and progress.batch % every == 0
            if self.world.is_first and (stop.requested or is_due):
                self.save(run / "state.safetensors")
            if stop.requested:
                raise KeyboardInterrupt

    def _train_batch(self, batch: Example, step: int, run: Path) -> float:
        optim, position = self.config.optim, self.progress.batch
        joint_position = position * self.world.size + self.world.rank
        generator = np.random.default_rng(
            (self.config.seed, STEP, self.progress.epoch, joint_position)
        )
        torch.manual_seed(int(generator.integers(1 << 62)))  # of dropout and SpecAugment
        updates = self._updates_after(position)
        batch = Example(*(part.to(self.device, non_blocking=True) for part in batch))
        first_summed = position - position % optim.grad_accum_steps
        n_summed = min(optim.grad_accum_steps, len(self.batches) - first_summed)
        with nullcontext() if updates else self._without_sync():
            loss = self.network(batch, generator)
            value = float(loss.item())
            if not math.isfinite(value):
                files = [self.data.train[int(i)].path for i in batch.clip_index]
                raise not_finite(batch, files, value, step, run)
            self.scaler.scale(loss / n_summed).backward()
        if updates:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.step.parameters(), optim.grad_clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.ema:
                self.ema.update(self.model, step)
        return value

    def _updates_after(self, position: int) -> bool:
        """Return whether the weights are updated after a batch of the epoch."""
        is_last_summed = (position + 1) % self.config.optim.grad_accum_steps == 0
        return is_last_summed or position + 1 == len(self.batches)

    def _without_sync(self) -> Any:
        network = self.network
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    # ---------------------------------------------------------------------------------- validation

    def predict(self, model: SedModel) -> Validation:
        """Predict the validation clips in fp32 with a model."""
        data = self.data.val, self.device, self.world
        return predict_validation(model, self.val_loader, *data)

    def log_epoch(self, metrics: EpochMetrics) -> bool:
        """Finish an epoch with its metrics; return whether it is the best so far."""
        progress, value = self.progress, metrics[self.config.checkpoint.monitor]
        self.schedule.after_epoch(progress.epoch, value)
        progress.history.append(metrics)
        progress.epoch, progress.batch, progress.losses = progress.epoch + 1, 0, []
        is_better = value > progress.best or math.isnan(progress.best) or progress.best_epoch == 0
        if is_better:
            progress.best, progress.best_epoch = value, progress.epoch
        return is_better

    def n_clips_from(self, first_batch: int) -> int:
        """Return how many clips all processes process in an epoch from a batch on."""
        joint_size = self.config.optim.batch_size * self.world.size
        return min(len(self.data.train), (len(self.batches) - first_batch) * joint_size)

    def checkpoint(
        self,
        model: SedModel,
        validation: Validation,
        metrics: EpochMetrics,
    ) -> Checkpoint:
        """Return a model with its metrics, and thresholds fitted on the validation clips.

        Parameters
        ----------
        model
            The model, as `kept_model` returned it.
        validation
            What `predict` returned for it.
        metrics
            Of the epoch.
        """
        facts = {"fold": self.data.fold, "n_clips": len(self.data.val), **metrics}
        return Checkpoint(
            model,
            self.data.labels,
            self.config.data.window_seconds,
            self.tracker_config(validation),
            metrics={"validation": facts},
            data={
                "n_clips": len(self.data.train),
                "licences": sorted({c.licence for c in self.data.train if c.licence}),
                "pad_mode": self.config.data.pad_mode,
            },
            hierarchy=self.hierarchy,
            audioset=self.audioset,
        )

    def tracker_config(self, validation: Validation) -> TrackerConfig:
        """Return the post-processing with thresholds fitted on the validation clips."""
        config = self.config.post_processing
        targets = validation.predictions.targets
        return config.tracker(fit_thresholds(targets, validation.frame_max, beta=config.f_beta))

    # --------------------------------------------------------------------------------------- state

    def save(self, path: Path) -> None:
        """Write the state to resume from."""
        save_state(path, self._state())

    def load(self, path: Path) -> None:
        """Resume from a state.

        Raises
        ------
        CheckpointError
            If it is damaged, or of another model.
        """
        state = self._state()
        with resume_errors(path):
            load_state(path, state)
            self.progress = TrainState(**state.values["progress"])
            self.schedule.load_state_dict(state.values["lr_schedule"])
            self.scaler.load_state_dict(state.values["grad_scaler"])

    def _state(self) -> ResumableState:
        modules: dict[str, nn.Module] = {
            "model": self.model,
            "distill_head": self.step.distill_head,
        }
        if self.ema:
            modules["ema"] = self.ema.model
        values = {
            "progress": dataclasses.asdict(self.progress),
            "lr_schedule": self.schedule.state_dict(),
            "grad_scaler": self.scaler.state_dict(),
        }
        return ResumableState(modules, self.optimizer, values)
