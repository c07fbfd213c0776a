"""Turn a batch of samples into log-mel spectrograms, mixed and augmented on the training device.

::

    samples ─ sum of recordings, mixup ─ mel energies ─ gamma ─ sum of recordings ─ gamma
            ─ logarithm ─ low-pass, frequency response ─ cutmix ─ shuffling ─ masks
            ─▶ log-mel, targets
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from sed.models.network import SedModel
from train.augment.mix import cutmix, mixup, sum_mixtures
from train.augment.spectrogram import (
    SpecAugment,
    filter_augment,
    gamma,
    low_pass,
    shuffle_segments,
)
from train.config.train import TrainConfig
from train.loop.dataset import Example


class AugmentedBatch(NamedTuple):
    """Input of the network with its targets."""

    samples: Tensor  # (batch, samples): mixed, before their spectrogram was augmented
    log_mel: Tensor  # (batch, columns, mels)
    targets: Tensor  # (batch, classes)
    frame_targets: Tensor  # (batch, frames, classes)
    weight: Tensor  # (batch, 1): of the loss
    teacher_embedding: Tensor  # (batch, features); no features without a teacher


class BatchAugment(nn.Module):
    """Mix and augment batches on the way from samples to log-mel spectrograms.

    Parameters
    ----------
    config
        Its tables `mixing`, `spectrogram` and `log_mel`.
    model
        The model, for its log-mel front end and its frames.
    """

    def __init__(self, config: TrainConfig, model: SedModel) -> None:
        super().__init__()
        self.config = config
        self.log_mel = model.log_mel
        self.frame_columns = model.frame_columns
        self.spec_augment = SpecAugment(config.spectrogram)

    def forward(
        self, batch: Example, teacher_embedding: Tensor, generator: np.random.Generator
    ) -> AugmentedBatch:
        """Return an augmented batch; all randomness comes from the generator.

        Parameters
        ----------
        batch
            Windows of shape (batch, samples) and their targets.
        teacher_embedding
            Shape (batch, features), of each clip; zero features without a teacher.
        generator
            Source of all randomness.
        """
        mixing, spectrogram = self.config.mixing, self.config.spectrogram
        samples = batch.samples
        targets = [batch.targets, batch.frame_targets, batch.weight[:, None], teacher_embedding]
        if mixing.domain == "waveform" and mixing.max_recordings > 1:
            samples, targets = self._summed(samples, targets, generator, power=False)
        if generator.random() < mixing.mixup_probability:
            samples, targets = mixup(
                samples,
                targets,
                alpha=mixing.mixup_alpha,
                rule=mixing.mixup_targets,
                generator=generator,
            )
        energy = self.log_mel.mel_energies(self.log_mel.pad(samples))
        energy = gamma(energy, spectrogram.gamma_probability, spectrogram.gamma, generator)
        if mixing.domain == "mel-power" and mixing.max_recordings > 1:
            energy, targets = self._summed_as_power(energy, targets, generator)
        energy = gamma(energy, spectrogram.gamma_mixed_probability, spectrogram.gamma, generator)
        return self._augmented(samples, self.log_mel.logarithm(energy), targets, generator)

    def _augmented(
        self,
        samples: Tensor,
        log_mel: Tensor,
        all_targets: Sequence[Tensor],
        generator: np.random.Generator,
    ) -> AugmentedBatch:
        """Augment log-mel spectrograms, (batch, columns, mels)."""
        mixing, spectrogram = self.config.mixing, self.config.spectrogram
        targets, frames, weight, teacher = all_targets
        scale = {
            "db_per_unit": self.config.log_mel.db_per_unit,
            "silence_value": self.config.log_mel.silence_value,
        }
        log_mel = low_pass(
            log_mel, spectrogram.low_pass_probability, spectrogram.low_pass_db, generator, **scale
        )
        log_mel = filter_augment(
            log_mel,
            spectrogram.filter_augment_probability,
            spectrogram.filter_augment_db,
            generator,
            **scale,
        )
        if generator.random() < mixing.cutmix_probability:
            log_mel, (targets, weight, teacher), frames = cutmix(
                log_mel,
                (targets, weight, teacher),
                frames,
                alpha=mixing.cutmix_alpha,
                generator=generator,
                frame_columns=self.frame_columns,
            )
        log_mel, frames = shuffle_segments(
            log_mel,
            frames,
            spectrogram.shuffle_probability,
            spectrogram.shuffle_max_segments,
            generator,
            frame_columns=self.frame_columns,
        )
        if generator.random() < spectrogram.spec_augment_probability:
            log_mel = self.spec_augment(log_mel, generator)
        return AugmentedBatch(samples, log_mel, targets, frames, weight, teacher)

    def _summed(
        self,
        signal: Tensor,
        targets: Sequence[Tensor],
        generator: np.random.Generator,
        *,
        power: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        mixing = self.config.mixing
        return sum_mixtures(
            signal,
            targets,
            max_recordings=mixing.max_recordings,
            stop_probability=mixing.stop_probability,
            gain_db=mixing.gain_db,
            generator=generator,
            power=power,
        )

    def _summed_as_power(
        self, energy: Tensor, targets: Sequence[Tensor], generator: np.random.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        if self.config.log_mel.power == 2:
            return self._summed(energy, targets, generator, power=True)
        power, targets = self._summed(energy.square(), targets, generator, power=True)
        return power.sqrt(), targets
