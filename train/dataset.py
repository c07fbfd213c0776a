"""Clips as the model takes them: windows of samples and target vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sed.audio import read_recording
from sed.timeline import samples_from_seconds
from train.augment import SHIFTS, gain
from train.config import TrainConfig
from train.table import Clip

Key = tuple[int, int]  # epoch and index: all that the randomness of a sample depends on


class ClipDataset(Dataset[tuple[Tensor, Tensor]]):
    """Labelled windows of clips.

    Parameters
    ----------
    clips
        What to read.
    labels
        The class list; a clip's labels are looked up in it.
    config
        Window length, sample rate, augmentation, seed.
    training
        Random place and augmentation; otherwise the middle of each clip, as it is.
    """

    def __init__(
        self, clips: Sequence[Clip], labels: Sequence[str], config: TrainConfig, *, training: bool
    ) -> None:
        self.clips = clips
        self.config = config
        self.training = training
        self.sample_rate = config.front_end.sample_rate
        self.window_samples = samples_from_seconds(config.data.window_seconds, self.sample_rate)
        self._index = {label: i for i, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Return samples (window_samples,) and targets (classes,) of a clip in an epoch."""
        epoch, i = key
        generator = np.random.default_rng((self.config.seed, epoch, i))
        samples = read_recording(self.clips[i].path, self.sample_rate)
        samples = fit_window(samples, self.window_samples, generator if self.training else None)
        if self.training:
            samples = SHIFTS[self.config.augment.shift](samples, generator)
            samples = gain(samples, self.config.augment.gain_db, generator)
        return torch.from_numpy(samples), self.targets(i)

    def targets(self, i: int) -> Tensor:
        """Return the target vector of a clip."""
        targets = torch.zeros(len(self._index))
        for label in self.clips[i].labels:
            targets[self._index[label]] = 1.0
        return targets


def fit_window(
    samples: NDArray[np.float32], length: int, generator: np.random.Generator | None
) -> NDArray[np.float32]:
    """Cut a clip, or pad it with silence, at a random place or, without generator, evenly."""
    spare = len(samples) - length
    start = abs(spare) // 2 if generator is None else int(generator.integers(abs(spare) + 1))
    if spare >= 0:
        return np.ascontiguousarray(samples[start : start + length])
    return np.pad(samples, (start, -spare - start))


class EpochSampler(Sampler[Key]):
    """The clips of an epoch in an order that depends on seed and epoch alone."""

    def __init__(self, n_clips: int, seed: int, *, shuffled: bool) -> None:
        self.n_clips = n_clips
        self.seed = seed
        self.shuffled = shuffled
        self.epoch = 0

    def __len__(self) -> int:
        return self.n_clips

    def __iter__(self) -> Iterator[Key]:
        order = np.arange(self.n_clips)
        if self.shuffled:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        return iter([(self.epoch, int(i)) for i in order])


def clip_loader(dataset: ClipDataset, *, device: torch.device) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return batches of a dataset; set ``loader.sampler.epoch`` before each pass."""
    learning = dataset.config.learning
    n_batched = len(dataset) >= learning.batch_size
    return DataLoader(
        dataset,
        batch_size=learning.batch_size,
        sampler=EpochSampler(len(dataset), dataset.config.seed, shuffled=dataset.training),
        num_workers=learning.n_workers,
        persistent_workers=learning.n_workers > 0,
        drop_last=dataset.training and n_batched,
        pin_memory=device.type == "cuda",
    )
