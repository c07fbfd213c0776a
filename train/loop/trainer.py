"""A model, what moves it, and how far it has come."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from sed.errors import SedError
from sed.events.tracker import TrackerConfig
from sed.files import written_whole
from sed.models.checkpoint import Checkpoint
from sed.models.devices import choose_precision
from sed.models.losses import frame_maximum
from sed.models.metrics import fit_thresholds
from sed.models.network import SedModel
from sed.signals import GracefulExit, sigterm_as_interrupt
from sed.text import printable
from train.config import TrainConfig
from train.data.task import Task
from train.loop.dataset import STEP, ClipDataset, Sample
from train.loop.distributed import World
from train.loop.optimizer import (
    Average,
    create_optimizer,
    freeze_stages,
    set_to_train,
    with_synchronised_norms,
)
from train.loop.sampler import EpochBatches, clip_loader
from train.loop.schedule import Rate
from train.loop.state import State, load_state, save_state
from train.loop.step import TrainingStep

Batches = DataLoader[Sample | SedError]
Row = dict[str, float]


@dataclass(frozen=True)
class Predictions:
    """What a model said about the clips of a fold, all of shape (clips, classes)."""

    targets: NDArray[np.float32]
    clip_probs: NDArray[np.float32]
    frame_maxima: NDArray[np.float32]  # highest frame probability


@dataclass
class Position:
    """How far a run has come; plain values, kept in its state."""

    epoch: int = 0  # that is being learnt
    batch: int = 0  # of it that comes next
    losses: list[float] = field(default_factory=list)  # of the batches before
    history: list[Row] = field(default_factory=list)  # of the epochs before
    best: float = -math.inf  # figure of the best epoch
    best_epoch: int = 0  # counted from 1; 0: none yet


class Trainer:
    """A model, what moves it, and how far it has come."""

    def __init__(
        self, model: SedModel, task: Task, config: TrainConfig, device: torch.device, world: World
    ) -> None:
        learning = config.learning
        self.config, self.task, self.device, self.world = config, task, device, world
        self.position = Position()
        self.precision = choose_precision(learning.precision, device)
        self.model = model.to(device)
        self.model.to(memory_format=torch.channels_last)
        if world.size > 1 and device.type == "cuda" and learning.batch_norm == "train":
            self.model = with_synchronised_norms(self.model)
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
        edges = model.frame_edges(columns) * config.log_mel.hop_length
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
        with sigterm_as_interrupt(), GracefulExit() as stop:
            self._learn_rest(run, on_step, waited, stop)
        return float(np.mean(self.world.gathered(position.losses))), waited.seconds

    def _learn_rest(
        self,
        run: Path,
        on_step: Callable[[int, int, float], None],
        waited: Waited,
        stop: GracefulExit,
    ) -> None:
        learning, position = self.config.learning, self.position
        for batch in waited.through(self.learning_from):
            step = position.epoch * len(self.batches) + position.batch
            if position.batch % learning.accumulate == 0:
                self.rate.before_step(step)
            position.losses.append(self._learn_batch(batch, step, run))
            position.batch += 1
            on_step(step + 1, self.n_steps, position.losses[-1])
            if not self._moves_after(position.batch - 1):
                continue
            every = learning.save_every_steps
            if self.world.is_first and (stop.requested or (every and position.batch % every == 0)):
                self.save(run / "state.safetensors")
            if stop.requested:
                raise KeyboardInterrupt

    def _learn_batch(self, batch: Sample, step: int, run: Path) -> float:
        learning, place = self.config.learning, self.position.batch
        generator = np.random.default_rng(
            (self.config.seed, STEP, self.position.epoch, place * self.world.size + self.world.rank)
        )
        torch.manual_seed(int(generator.integers(1 << 62)))  # of dropout and SpecAugment
        moves = self._moves_after(place)
        # ------------------------------------------------------------------------ one training step
        batch = Sample(*(part.to(self.device, non_blocking=True) for part in batch))
        first_of_sum = place - place % learning.accumulate
        together = min(learning.accumulate, len(self.batches) - first_of_sum)
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
        for batch in Waited().through(self.judging_by):
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
        is_better = figure > position.best or math.isnan(position.best) or position.best_epoch == 0
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
                onset_threshold=tuple(round(float(t), 4) for t in on),
                offset_threshold=tuple(round(float(t) * events.offset_ratio, 4) for t in on),
                median_filter_frames=events.median_filter_frames,
                min_duration_seconds=events.min_duration_seconds,
                min_gap_seconds=events.min_gap_seconds,
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

    def through(self, batches: Batches) -> Iterator[Sample]:
        """Yield the batches; the clock runs while they are not there.

        Raises
        ------
        SedError
            If a clip cannot be read after all.
        """
        waiting = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(waiting, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            if isinstance(batch, SedError):
                try:
                    raise batch
                finally:
                    # Else the error and this frame hold each other, and with them the workers: the
                    # garbage collector ends those only after ten seconds.
                    del batch, waiting
            yield batch
