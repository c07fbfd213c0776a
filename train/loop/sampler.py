"""Draw the batches of an epoch, for one process or several, and load them."""

from __future__ import annotations

import atexit
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler, default_collate

from sed.errors import SedError
from sed.signals import ignore_ended_children, leave_stopping_to_parent
from train.data.clips import Clip
from train.loop.dataset import ORDER, ClipDataset, Example, SampleKey


class EpochBatchSampler(Sampler[list[SampleKey]]):
    """The batches of an epoch, in an order that depends on seed and epoch alone.

    Parameters
    ----------
    clips
        The clips to draw from.
    batch_size
        Clips per batch and process.
    seed
        Of the order.
    sampling
        ``all``: each clip once, shuffled. ``balanced``: as many draws, with replacement, each class
        with the same probability. ``weighted``: between both, each class with a probability in
        proportion to the square root of its count. ``in order``: each clip once, in their order,
        including an incomplete last batch.
    rank, world_size
        Rank of this process, and number of processes. Together they draw what one process would
        with a batch as large as all of theirs.
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
        self.first_batch = 0  # batches before it were processed before the run was resumed
        self._probabilities = _draw_probabilities(clips, sampling)

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        joint_size = self.batch_size * self.world_size
        if self.sampling == "in order":
            return len(range(self.rank * self.batch_size, self.n_clips, joint_size))
        return max(1, self.n_clips // joint_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = self._order()
        joint_size = self.batch_size * self.world_size
        for batch in range(self.first_batch, len(self)):
            first = batch * joint_size + self.rank * self.batch_size
            positions = range(first, min(first + self.batch_size, len(order)))
            yield [(self.epoch, position, int(order[position])) for position in positions]

    def _order(self) -> NDArray[np.int64]:
        generator = np.random.default_rng((self.seed, ORDER, self.epoch))
        if self.sampling == "in order":
            return np.arange(self.n_clips)
        if self._probabilities is not None:
            order = generator.choice(self.n_clips, self.n_clips, p=self._probabilities)
        else:
            order = generator.permutation(self.n_clips)
        joint_size = self.batch_size * self.world_size
        if self.world_size > 1 and self.n_clips < joint_size:
            return np.resize(order, joint_size)  # clips repeat, so that each process has some
        return order


def _draw_probabilities(clips: Sequence[Clip], sampling: str) -> NDArray[np.float64] | None:
    """Return the probability of drawing each clip, or None where each is drawn once."""
    if sampling not in ("balanced", "weighted"):
        return None
    counts = Counter(label for clip in clips for label in clip.labels)
    power = 1.0 if sampling == "balanced" else 0.5
    rarity = {label: count**-power for label, count in counts.items()}
    # A clip without a label has the weight of the most common class.
    common = min(rarity.values(), default=1.0)
    each = [float(np.mean([rarity[x] for x in c.labels])) if c.labels else common for c in clips]
    probabilities: NDArray[np.float64] = np.asarray(each) / np.sum(each)
    return probabilities


def create_loader(
    dataset: ClipDataset, sampler: EpochBatchSampler, *, device: torch.device
) -> DataLoader[Example | SedError]:
    """Return a loader of batches of a dataset; set ``sampler.epoch`` before each pass.

    Parameters
    ----------
    dataset
        The clips, and in its config the number of worker processes.
    sampler
        The batches.
    device
        Where the batches go to; for CUDA they are pinned.
    """
    n_workers = dataset.config.optim.n_workers
    if n_workers:
        atexit.unregister(_kill_workers)  # once for all loaders
        atexit.register(_kill_workers)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        worker_init_fn=_init_worker,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        pin_memory=device.type == "cuda",
    )


def stop_workers(*loaders: DataLoader[Example | SedError]) -> None:
    """End the worker processes of loaders, and wait until they have ended.

    Left to themselves they would end with the last reference to the loader, which the traceback of
    an error keeps until Python exits; and Python then waits for workers that ignore its signal.
    """
    for loader in loaders:
        iterator: Any = loader._iterator
        loader._iterator = None
        if iterator is None:  # no workers, or not started
            continue
        try:
            iterator._shutdown_workers()
        finally:
            for process in iterator._workers:
                if process.is_alive():
                    process.kill()


def _kill_workers() -> None:
    """Kill workers that a second Ctrl-C or an error while they started has left.

    Python waits for them when it exits, and the one signal that it sends is ignored by them.
    """
    left = [process for process in multiprocessing.active_children() if process.daemon]
    if left:
        ignore_ended_children()
    for process in left:
        process.kill()


@contextmanager
def lost_workers() -> Iterator[None]:
    """Turn PyTorch's error of a worker process that was killed into one of this package.

    Raises
    ------
    SedError
        In its place.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise SedError(
            f"a process that loads clips has ended ({error}). Most often the memory was full: set "
            "fewer n_workers in the recipe, and continue with --resume."
        ) from error


class TimedLoader:
    """The batches of a loader, and how long the loop waited for them.

    Parameters
    ----------
    loader
        Yields batches, or the errors of clips that cannot be read.
    """

    def __init__(self, loader: DataLoader[Example | SedError]) -> None:
        self.wait_seconds = 0.0
        self._loader = loader

    def __iter__(self) -> Iterator[Example]:
        """Yield the batches.

        Raises
        ------
        SedError
            If a clip cannot be read.
        """
        batches = iter(self._loader)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.wait_seconds += time.perf_counter() - start
            if batch is None:
                return
            if isinstance(batch, SedError):
                try:
                    raise batch
                finally:
                    # Otherwise the error and this frame refer to each other, and keep the workers
                    # alive until the garbage collector ends them after ten seconds.
                    del batch, batches
            yield batch


def collate(examples: Sequence[Example | SedError]) -> Example | SedError:
    """Return a batch of examples, or the first error among them."""
    for example in examples:
        if isinstance(example, SedError):
            return example
    return default_collate(list(examples))  # type: ignore[no-any-return]


def _init_worker(_: int) -> None:
    """Let the main process stop this one: it does so after a whole step."""
    leave_stopping_to_parent()
