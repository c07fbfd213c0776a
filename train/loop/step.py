"""Compute the loss of a batch: the module that DDP and the compiler wrap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.errors import TableError
from sed.events.reading.audio_files import stem
from sed.models.heads.attention import SedOutput
from sed.models.losses import LOSSES, frame_bce
from sed.models.network import SedModel
from sed.text import near, printable
from train.augment.images import PIPELINES, apply_albumentations
from train.config.train import TrainConfig
from train.data.clips import Clip
from train.data.split import TrainingData
from train.distill.loss import Distillation
from train.loop.batch_augment import AugmentedBatch, BatchAugment
from train.loop.dataset import Example


class TrainingStep(nn.Module):
    """Augment a batch, run the model, and return the loss.

    Parameters
    ----------
    model
        The model to train.
    data
        The training clips, for the weights of classes and the teacher's embeddings.
    config
        Augmentation and loss.
    precision
        Of the network; the front end and the losses are in fp32.
    """

    class_weights: Tensor

    def __init__(
        self, model: SedModel, data: TrainingData, config: TrainConfig, precision: torch.dtype
    ) -> None:
        super().__init__()
        _check_spectrogram(config)
        self.config = config
        self.model = model
        self.augment = BatchAugment(config, model)
        self.precision = precision
        weights = class_weights(data.train, data.labels, config.loss.class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        # Not a buffer, since DDP would send it to all processes.
        self.teacher = torch.zeros(len(data.train), 0)
        self.distill_head = nn.Module()  # trained with the model, and not kept
        if config.loss.distill_embeddings:
            self.teacher = teacher_embeddings(config.loss.distill_embeddings, data.train)
            self.distill_head = nn.Linear(model.n_features, self.teacher.shape[1])
        self.distillation = Distillation(model, config.loss) if config.loss.distill_yamnet else None
        self.forward_features: Callable[[Tensor], Tensor] = model.forward_features
        if config.optim.compile:
            self.forward_features = torch.compile(model.forward_features)

    def forward(self, batch: Example, generator: np.random.Generator) -> Tensor:
        """Return the mean loss of a batch, a scalar; `generator` draws the augmentation."""
        teacher = self.teacher[batch.clip_index.cpu()].to(batch.samples.device)
        augmented = self.augment(batch, teacher, generator)
        inputs = self.model.prepare_input(augmented.log_mel)
        if name := self.config.spectrogram.albumentations:
            inputs = apply_albumentations(name, inputs, generator)
        with torch.autocast(
            inputs.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            features = self.forward_features(inputs)
            output = self.model.forward_head(features)
        output = SedOutput(*(part.float() for part in output))
        features = features.float()
        if self.distillation is None:
            losses = self._clip_losses(output, features, augmented)
        else:
            losses = self.distillation(
                augmented.samples,
                features,
                output,
                augmented.targets,
                self.model,
                generator,
            )
            if not self.config.loss.distill_features_only:
                losses = losses + self._clip_losses(output, features, augmented)
        return torch.mean(losses * augmented.weight[:, 0])

    def _clip_losses(self, output: SedOutput, features: Tensor, batch: AugmentedBatch) -> Tensor:
        """Return the loss of each clip, shape (batch,)."""
        loss = self.config.loss
        targets = batch.targets
        if loss.label_smoothing:
            uniform = torch.full_like(targets, 1.0 / targets.shape[-1])
            targets = torch.lerp(targets, uniform, loss.label_smoothing)
        losses = LOSSES[loss.name](
            output,
            targets,
            self.class_weights,
            alpha=loss.focal_alpha,
            gamma=loss.focal_gamma,
        )
        if loss.frame_loss_weight:
            frames = frame_bce(output, batch.frame_targets, self.class_weights)
            losses = losses + loss.frame_loss_weight * frames
        if loss.distill_embeddings:
            embedding = self.distill_head(features.mean(dim=1))
            teacher = batch.teacher_embedding
            distance = F.mse_loss(embedding, teacher, reduction="none").mean(-1)
            losses = losses + loss.distill_weight * distance
        return losses


def _check_spectrogram(config: TrainConfig) -> None:
    """Refuse now what would be refused in the first batch.

    Raises
    ------
    ValueError
        If there is no such pipeline, or masks may be wider than the spectrogram.
    """
    spectrogram, log_mel = config.spectrogram, config.log_mel
    name = spectrogram.albumentations
    if name and name not in PIPELINES:
        raise ValueError(f"unknown albumentations {name!r}. {near(name, PIPELINES)}")
    n_columns = round(config.data.window_seconds * log_mel.sample_rate / log_mel.hop_length)
    for key, n_masks, widest, size in (
        ("time_mask_columns", spectrogram.n_time_masks, spectrogram.time_mask_columns, n_columns),
        ("freq_mask_bands", spectrogram.n_freq_masks, spectrogram.freq_mask_bands, log_mel.n_mels),
    ):
        if spectrogram.spec_augment_probability and n_masks and widest > size:
            raise ValueError(
                f"expected {key} up to {size}, the size of the spectrogram, got {widest}"
            )


def class_weights(clips: Sequence[Clip], labels: Sequence[str], kind: str) -> Tensor:
    """Return the weight of each class, shape (classes,), with a mean of one.

    Parameters
    ----------
    clips
        Training clips.
    labels
        The class list.
    kind
        ``none`` for ones; ``balanced`` for the inverse of the number of clips of each class.
    """
    if kind == "none":
        return torch.ones(len(labels))
    counts = Counter(label for clip in clips for label in clip.labels)
    weights = torch.tensor([1.0 / max(1, counts[label]) for label in labels])
    return weights / weights.mean()


def teacher_embeddings(path: str, clips: Sequence[Clip]) -> Tensor:
    """Return a teacher's embedding of each clip, standardised, shape (clips, features).

    The NPZ holds ``filename`` and ``embedding``; names are compared without folders and suffixes.

    Raises
    ------
    TableError
        If the file is missing or not such an NPZ, or lacks clips.
    """
    name = printable(path)
    try:
        with np.load(path) as archive:
            named = zip(archive["filename"], archive["embedding"], strict=True)
            rows = {stem(str(name)): embedding for name, embedding in named}
    except (OSError, KeyError, ValueError) as error:
        raise TableError(
            f"{name}: expected an NPZ with filename and embedding ({error}). Check "
            "distill_embeddings."
        ) from error
    lacking = [clip.path for clip in clips if stem(clip.path) not in rows]
    if lacking:
        raise TableError(
            f"{name}: has no embedding of {len(lacking)} clips, the first {printable(lacking[0])}. "
            "Make it from the same table, or leave out distill_embeddings."
        )
    embeddings = np.stack([rows[stem(clip.path)] for clip in clips]).astype(np.float32)
    spread = embeddings.std(axis=0)
    return torch.from_numpy((embeddings - embeddings.mean(axis=0)) / np.maximum(spread, 1e-3))
