"""Which clips come when: the batches of an epoch, for one process or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler, default_collate

from sed.errors import SedError
from sed.signals import leave_stopping_to_parent
from train.data.clips import Clip
from train.loop.dataset import ORDER, ClipDataset, Key, Sample


class EpochBatches(Sampler[list[Key]]):
    """The batches of an epoch, in an order that depends on seed and epoch alone.

    Parameters
    ----------
    clips
        What is drawn from.
    batch_size
        Clips per batch and process.
    seed
        Of the order.
    sampling
        ``all``: each clip once, shuffled. ``balanced``: as many draws, with replacement, each class
        as likely as the others. ``weighted``: half-way there, by the root of the class counts.
        ``in order``: each clip once, as they come, none left out.
    rank, world_size
        Which of how many processes this is. Together they draw what one process would, with a
        batch as large as all of theirs.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        batch_size: int,
        seed: int,
        *,
        sampling: str = "all",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.n_clips = len(clips)
        self.batch_size = batch_size
        self.seed = seed
        self.sampling = sampling
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_batch = 0  # those before it have been seen, in the run that is resumed
        self._shares = _shares(clips, sampling)

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        together = self.batch_size * self.world_size
        if self.sampling == "in order":
            return len(range(self.rank * self.batch_size, self.n_clips, together))
        return max(1, self.n_clips // together)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self._order()
        together = self.batch_size * self.world_size
        for batch in range(self.first_batch, len(self)):
            first = batch * together + self.rank * self.batch_size
            places = range(first, min(first + self.batch_size, len(order)))
            yield [(self.epoch, place, int(order[place])) for place in places]

    def _order(self) -> NDArray[np.int64]:
        generator = np.random.default_rng((self.seed, ORDER, self.epoch))
        if self.sampling == "in order":
            return np.arange(self.n_clips)
        if self._shares is not None:
            order = generator.choice(self.n_clips, self.n_clips, p=self._shares)
        else:
            order = generator.permutation(self.n_clips)
        together = self.batch_size * self.world_size
        if self.world_size > 1 and self.n_clips < together:
            return np.resize(
                order, together
            )  # clips go round again, so that every process has some
        return order


def _shares(clips: Sequence[Clip], sampling: str) -> NDArray[np.float64] | None:
    """Return how likely each clip is drawn, or None where each is taken once."""
    if sampling not in ("balanced", "weighted"):
        return None
    counts = Counter(label for clip in clips for label in clip.labels)
    power = 1.0 if sampling == "balanced" else 0.5
    rarity = {label: count**-power for label, count in counts.items()}
    common = min(rarity.values(), default=1.0)
    # A clip without a label is as likely as one of the commonest class.
    each = [float(np.mean([rarity[x] for x in c.labels])) if c.labels else common for c in clips]
    shares: NDArray[np.float64] = np.asarray(each) / np.sum(each)
    return shares


def clip_loader(
    dataset: ClipDataset, batches: EpochBatches, *, device: torch.device
) -> DataLoader[Sample | SedError]:
    """Return the batches of a dataset; set ``batches.epoch`` before each pass."""
    n_workers = dataset.config.learning.n_workers
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collated,
        worker_init_fn=_init_worker,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        pin_memory=device.type == "cuda",
    )


def collated(samples: Sequence[Sample | SedError]) -> Sample | SedError:
    """Return a batch, or the first reason why there is none."""
    for sample in samples:
        if isinstance(sample, SedError):
            return sample
    return default_collate(list(samples))  # type: ignore[no-any-return]


def _init_worker(_: int) -> None:
    """Let the main process stop this one: it does so after a whole step."""
    leave_stopping_to_parent()
