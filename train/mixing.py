"""A batch of clips to a batch of pictures, mixed and augmented on the device that trains.

::

    samples ─ sum of recordings, mixup ─ mel energies ─ contrast ─ sum of recordings ─ contrast
            ─ logarithm ─ frequency response ─ cutmix ─ shuffling ─ stripes ─▶ columns, targets
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sed.model import SedModel
from train.activity import frame_activity
from train.config import TrainConfig
from train.dataset import Sample
from train.overlay import cutmix, mixup, sum_recordings
from train.pictures import SpecAugment, contrast, high_cut, shape_frequencies, shuffle_time


class Mixed(NamedTuple):
    """What the network learns from: pictures, and what is in them."""

    columns: Tensor  # (batch, columns, mels)
    targets: Tensor  # (batch, classes)
    frame_targets: Tensor  # (batch, frames, classes)
    teacher: Tensor  # (batch, features): what a teacher made of it; no features without one


class Mixer(nn.Module):
    """Mixes and augments batches; a batch that is judged by is only turned into pictures."""

    def __init__(self, config: TrainConfig, model: SedModel) -> None:
        super().__init__()
        self.config = config
        self.log_mel = model.log_mel
        self.frame_samples = model.frame_columns * config.front_end.hop_samples
        self.frame_columns = model.frame_columns
        self.n_frames = model.n_frames
        self.spec_augment = SpecAugment(config.picture)

    def forward(self, batch: Sample, teacher: Tensor, generator: np.random.Generator) -> Mixed:
        """Return a batch augmented; all randomness comes from the generator."""
        mixing, picture = self.config.mixing, self.config.picture
        samples = batch.samples
        targets = (batch.targets, self.frame_targets(batch), teacher)
        if mixing.domain == "waveform" and mixing.max_recordings > 1:
            samples, targets = self._summed(samples, targets, generator, power=False)
        if generator.random() < mixing.mixup_probability:
            samples, mixed = mixup(
                samples,
                targets,
                alpha=mixing.mixup_alpha,
                rule=mixing.mixup_targets,
                generator=generator,
            )
            targets = (mixed[0], mixed[1], mixed[2])
        energy = self.log_mel.energy(self.log_mel.padded(samples))
        energy = contrast(energy, picture.contrast_probability, picture.contrast, generator)
        if mixing.domain == "mel-power" and mixing.max_recordings > 1:
            energy, targets = self._summed_as_power(energy, targets, generator)
        energy = contrast(energy, picture.contrast_mixed_probability, picture.contrast, generator)
        return self._augmented(self.log_mel.logarithm(energy), *targets, generator=generator)

    def frame_targets(self, batch: Sample) -> Tensor:
        """Return when the labels of each clip sound, (batch, frames, classes).

        Where nobody has said it, they sound when the clip is loud.
        """
        columns = batch.samples.shape[-1] // self.config.front_end.hop_samples
        active = frame_activity(
            batch.samples, self.config.front_end.sample_rate, self.frame_samples,
            self.n_frames(columns),
        )  # fmt: skip
        guessed = active[:, :, None] * batch.targets[:, None, :]
        return torch.where(batch.has_frames[:, None, None] > 0, batch.frame_targets, guessed)

    def _augmented(
        self,
        columns: Tensor,
        targets: Tensor,
        frames: Tensor,
        teacher: Tensor,
        *,
        generator: np.random.Generator,
    ) -> Mixed:
        mixing, picture = self.config.mixing, self.config.picture
        front_end = self.config.front_end
        scale = {"db_per_unit": front_end.db_per_unit, "lowest": front_end.lowest}
        columns = high_cut(
            columns, picture.high_cut_probability, picture.high_cut_db, generator, **scale
        )
        columns = shape_frequencies(
            columns, picture.shaping_probability, picture.shaping_db, generator, **scale
        )
        if generator.random() < mixing.cutmix_probability:
            columns, (targets, teacher), frames = cutmix(
                columns,
                (targets, teacher),
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
        return Mixed(columns, targets, frames, teacher)

    def _summed(
        self,
        signal: Tensor,
        targets: tuple[Tensor, Tensor, Tensor],
        generator: np.random.Generator,
        *,
        power: bool,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        mixing = self.config.mixing
        signal, summed = sum_recordings(
            signal,
            targets,
            most=mixing.max_recordings,
            stop_probability=mixing.stop_probability,
            gain_db=mixing.gain_db,
            generator=generator,
            power=power,
        )
        return signal, (summed[0], summed[1], summed[2])

    def _summed_as_power(
        self,
        energy: Tensor,
        targets: tuple[Tensor, Tensor, Tensor],
        generator: np.random.Generator,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        if self.config.front_end.power == 2:
            return self._summed(energy, targets, generator, power=True)
        power, targets = self._summed(energy.square(), targets, generator, power=True)
        return power.sqrt(), targets
