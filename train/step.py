"""From a batch of clips to its loss: what several processes, or the compiler, wrap as one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.devices import choose_precision
from sed.errors import UsageError
from sed.losses import LOSSES, frame_bce
from sed.model import SedModel, SedOutput
from train.config import TrainConfig
from train.dataset import Sample
from train.mixing import Mixed, Mixer
from train.pipelines import apply
from train.setup import Task, class_weights, teacher_features


class TrainingStep(nn.Module):
    """Mixes a batch, shows it to the model, and returns the loss.

    Parameters
    ----------
    model
        What learns.
    task
        What is learnt: for the weights of classes and the teacher's embeddings.
    config
        Augmentation and loss.
    precision
        Of the network; the front end and the losses are in fp32.
    """

    class_weights: Tensor

    def __init__(
        self, model: SedModel, task: Task, config: TrainConfig, precision: torch.dtype
    ) -> None:
        super().__init__()
        learning = config.learning
        self.config = config
        self.model = model
        self.mixer = Mixer(config, model)
        self.precision = precision
        weights = class_weights(task.learnt, task.labels, learning.class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.teacher = torch.zeros(len(task.learnt), 0)  # no buffer: DDP would send it round
        self.extra = nn.Module()  # learns along and is left behind
        if learning.distil:
            self.teacher = teacher_features(learning.distil, task.learnt)
            self.extra = nn.Linear(model.n_features, self.teacher.shape[1])
        self.features_of: Callable[[Tensor], Tensor] = model.features_of
        if learning.compile:
            self.features_of = torch.compile(model.features_of)

    def forward(self, batch: Sample, generator: np.random.Generator) -> Tensor:
        """Return the mean loss of a batch."""
        teacher = self.teacher[batch.number.cpu()].to(batch.samples.device)
        mixed = self.mixer(batch, teacher, generator)
        picture = self.model.picture(mixed.columns)
        if name := self.config.picture.albumentations:
            picture = apply(name, picture, generator)
        with torch.autocast(
            picture.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            features = self.features_of(picture)
            output = self.model.look_along(features)
        output = SedOutput(*(part.float() for part in output))
        return (self._clip_losses(output, features.float(), mixed) * batch.weight).mean()

    def _clip_losses(self, output: SedOutput, features: Tensor, mixed: Mixed) -> Tensor:
        """Return the loss of each clip, shape (batch,)."""
        learning = self.config.learning
        targets = mixed.targets
        if learning.label_smoothing:
            even = 1.0 / targets.shape[-1]
            targets = torch.lerp(targets, torch.full_like(targets, even), learning.label_smoothing)
        losses = LOSSES[learning.loss](
            output,
            targets,
            self.class_weights,
            alpha=learning.focal_alpha,
            gamma=learning.focal_gamma,
        )
        if learning.frame_weight:
            frames = frame_bce(output, mixed.frame_targets, self.class_weights)
            losses = losses + learning.frame_weight * frames
        if learning.distil:
            seen = self.extra(features.mean(dim=1))
            distance = F.mse_loss(seen, mixed.teacher, reduction="none").mean(-1)
            losses = losses + learning.distil_weight * distance
        return losses


def training_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of the network in training; ``auto`` is bf16 where that is fast.

    Raises
    ------
    UsageError
        If fp16 is asked for on a CPU.
    """
    if name != "fp16":
        return choose_precision(name, device)
    if device.type != "cuda":
        raise UsageError(f"precision fp16 needs a GPU, and this is {device}: take bf16 or fp32")
    return torch.float16
