"""From a batch of clips to its loss: what several processes, or the compiler, wrap as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.errors import TableError
from sed.models.head import SedOutput
from sed.models.losses import LOSSES, frame_bce
from sed.models.network import SedModel
from sed.text import near, printable
from train.augment.images import PIPELINES, apply
from train.config import TrainConfig
from train.data.clips import Clip, bare_name
from train.data.task import Task
from train.loop.dataset import Sample
from train.loop.mixer import Mixed, Mixer


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
        _check_picture(config)
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
        self.forward_features: Callable[[Tensor], Tensor] = model.forward_features
        if learning.compile:
            self.forward_features = torch.compile(model.forward_features)

    def forward(self, batch: Sample, generator: np.random.Generator) -> Tensor:
        """Return the mean loss of a batch."""
        teacher = self.teacher[batch.number.cpu()].to(batch.samples.device)
        mixed = self.mixer(batch, teacher, generator)
        picture = self.model.prepare_input(mixed.columns)
        if name := self.config.picture.albumentations:
            picture = apply(name, picture, generator)
        with torch.autocast(
            picture.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            features = self.forward_features(picture)
            output = self.model.forward_head(features)
        output = SedOutput(*(part.float() for part in output))
        losses = self._clip_losses(output, features.float(), mixed)
        return torch.mean(losses * mixed.weight[:, 0])

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


def _check_picture(config: TrainConfig) -> None:
    """Refuse now what would be refused in the first batch.

    Raises
    ------
    ValueError
        If there is no such pipeline, or stripes may be wider than the picture.
    """
    picture, log_mel = config.picture, config.log_mel
    if picture.albumentations and picture.albumentations not in PIPELINES:
        raise ValueError(
            f"unknown albumentations {picture.albumentations!r}. "
            f"{near(picture.albumentations, PIPELINES)}"
        )
    n_columns = round(config.data.window_seconds * log_mel.sample_rate / log_mel.hop_length)
    for name, n_stripes, widest, size in (
        ("time_stripe_columns", picture.n_time_stripes, picture.time_stripe_columns, n_columns),
        ("mel_stripe_bands", picture.n_mel_stripes, picture.mel_stripe_bands, log_mel.n_mels),
    ):
        if picture.spec_augment_probability and n_stripes and widest > size:
            raise ValueError(f"expected {name} up to {size}, the size of the picture, got {widest}")


def class_weights(clips: Sequence[Clip], labels: Sequence[str], kind: str) -> Tensor:
    """Return the weight of each class: ones, or by the inverse of its clips; their mean is one."""
    if kind == "none":
        return torch.ones(len(labels))
    counts = Counter(label for clip in clips for label in clip.labels)
    weights = torch.tensor([1.0 / max(1, counts[label]) for label in labels])
    return weights / weights.mean()


def teacher_features(path: str, clips: Sequence[Clip]) -> Tensor:
    """Return a teacher's embedding of each clip, standardised, shape (clips, features).

    The NPZ holds ``filename`` and ``embedding``; names are compared without folders and endings.

    Raises
    ------
    TableError
        If there is no such file, or it lacks clips.
    """
    name = printable(path)
    try:
        with np.load(path) as archive:
            named = zip(archive["filename"], archive["embedding"], strict=True)
            rows = {bare_name(str(name)): embedding for name, embedding in named}
    except (OSError, KeyError, ValueError) as error:
        raise TableError(
            f"{name}: expected an NPZ with filename and embedding ({error}). Check distil."
        ) from error
    lacking = [clip.path for clip in clips if bare_name(clip.path) not in rows]
    if lacking:
        raise TableError(
            f"{name}: has no embedding of {len(lacking)} clips, the first {printable(lacking[0])}. "
            "Make it from the same table, or leave out distil."
        )
    features = np.stack([rows[bare_name(clip.path)] for clip in clips]).astype(np.float32)
    spread = features.std(axis=0)
    return torch.from_numpy((features - features.mean(axis=0)) / np.maximum(spread, 1e-3))
