"""A batch of clips to a batch of pictures, mixed and augmented on the device that trains.

::

    samples ─ sum of recordings, mixup ─ mel energies ─ contrast ─ sum of recordings ─ contrast
            ─ logarithm ─ frequency response ─ cutmix ─ shuffling ─ stripes ─▶ columns, targets
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from sed.models.network import SedModel
from train.augment.mix import cutmix, mixup, sum_recordings
from train.augment.spectrogram import (
    SpecAugment,
    contrast,
    high_cut,
    shape_frequencies,
    shuffle_time,
)
from train.config import TrainConfig
from train.loop.dataset import Sample


class Mixed(NamedTuple):
    """What the network learns from: pictures, and what is in them."""

    columns: Tensor  # (batch, columns, mels)
    targets: Tensor  # (batch, classes)
    frame_targets: Tensor  # (batch, frames, classes)
    weight: Tensor  # (batch, 1): of the loss
    teacher: Tensor  # (batch, features): what a teacher made of it; no features without one


class Mixer(nn.Module):
    """Mixes and augments batches on the way from samples to pictures."""

    def __init__(self, config: TrainConfig, model: SedModel) -> None:
        super().__init__()
        self.config = config
        self.log_mel = model.log_mel
        self.frame_columns = model.frame_columns
        self.spec_augment = SpecAugment(config.picture)

    def forward(self, batch: Sample, teacher: Tensor, generator: np.random.Generator) -> Mixed:
        """Return a batch augmented; all randomness comes from the generator."""
        mixing, picture = self.config.mixing, self.config.picture
        samples = batch.samples
        known = [batch.targets, batch.frame_targets, batch.weight[:, None], teacher]
        if mixing.domain == "waveform" and mixing.max_recordings > 1:
            samples, known = self._summed(samples, known, generator, power=False)
        if generator.random() < mixing.mixup_probability:
            samples, known = mixup(
                samples,
                known,
                alpha=mixing.mixup_alpha,
                rule=mixing.mixup_targets,
                generator=generator,
            )
        energy = self.log_mel.mel_energies(self.log_mel.pad(samples))
        energy = contrast(energy, picture.contrast_probability, picture.contrast, generator)
        if mixing.domain == "mel-power" and mixing.max_recordings > 1:
            energy, known = self._summed_as_power(energy, known, generator)
        energy = contrast(energy, picture.contrast_mixed_probability, picture.contrast, generator)
        return self._augmented(self.log_mel.logarithm(energy), known, generator)

    def _augmented(
        self, columns: Tensor, known: Sequence[Tensor], generator: np.random.Generator
    ) -> Mixed:
        mixing, picture = self.config.mixing, self.config.picture
        targets, frames, weight, teacher = known
        log_mel = self.config.log_mel
        scale = {"db_per_unit": log_mel.db_per_unit, "lowest": log_mel.silence_value}
        columns = high_cut(
            columns, picture.high_cut_probability, picture.high_cut_db, generator, **scale
        )
        columns = shape_frequencies(
            columns, picture.shaping_probability, picture.shaping_db, generator, **scale
        )
        if generator.random() < mixing.cutmix_probability:
            columns, (targets, weight, teacher), frames = cutmix(
                columns,
                (targets, weight, teacher),
                frames,
                alpha=mixing.cutmix_alpha,
                generator=generator,
                frame_columns=self.frame_columns,
            )
        columns, frames = shuffle_time(
            columns,
            frames,
            picture.shuffle_probability,
            picture.shuffle_pieces,
            generator,
            frame_columns=self.frame_columns,
        )
        if generator.random() < picture.spec_augment_probability:
            columns = self.spec_augment(columns, generator)
        return Mixed(columns, targets, frames, weight, teacher)

    def _summed(
        self,
        signal: Tensor,
        known: Sequence[Tensor],
        generator: np.random.Generator,
        *,
        power: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        mixing = self.config.mixing
        return sum_recordings(
            signal,
            known,
            most=mixing.max_recordings,
            stop_probability=mixing.stop_probability,
            gain_db=mixing.gain_db,
            generator=generator,
            power=power,
        )

    def _summed_as_power(
        self, energy: Tensor, known: Sequence[Tensor], generator: np.random.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        if self.config.log_mel.power == 2:
            return self._summed(energy, known, generator, power=True)
        power, known = self._summed(energy.square(), known, generator, power=True)
        return power.sqrt(), known
