"""Batches of an epoch, in one process and in several."""

import numpy as np
import pytest

from train.data.clips import Clip
from train.loop.sampler import EpochBatchSampler


def test_processes_draw_together_what_one_would():
    clips = [Clip(f"{i}.wav", (str(i % 3),), str(i)) for i in range(30)]
    alone = EpochBatchSampler(clips, 8, 5)
    pair = [EpochBatchSampler(clips, 4, 5, rank=rank, world_size=2) for rank in (0, 1)]
    for whole, *halves in zip(alone, *pair, strict=True):
        assert whole == halves[0] + halves[1]
    assert len(alone) == len(pair[0]) == 3


def test_few_clips_are_repeated_until_every_process_has_some():
    clips = [Clip("a.wav", ("a",), "a"), Clip("b.wav", ("b",), "b")]
    for rank in (0, 1):
        [batch] = EpochBatchSampler(clips, 2, 0, rank=rank, world_size=2)
        assert sorted(i for _, _, i in batch) == [0, 1]


def drawn(clips, sampling, n_epochs=30):
    batches = EpochBatchSampler(clips, 10, 0, sampling=sampling)
    counts = np.zeros(len(clips))
    for batches.epoch in range(n_epochs):
        for batch in batches:
            for _, _, i in batch:
                counts[i] += 1
    return counts


def test_balanced_sampling_draws_each_class_alike():
    clips = [Clip(str(i), ("common" if i < 90 else "rare",), str(i)) for i in range(100)]
    for sampling, expected in (("all", 0.1), ("weighted", 0.25), ("balanced", 0.5)):
        counts = drawn(clips, sampling)
        assert counts[90:].sum() / counts.sum() == pytest.approx(expected, abs=0.02), sampling
    assert drawn(clips, "all", 1).tolist() == [1] * 100


def test_a_resumed_epoch_continues_with_the_next_batch():
    clips = [Clip(str(i), ("a",), str(i)) for i in range(40)]
    batches = EpochBatchSampler(clips, 8, 1)
    whole = list(batches)
    batches.first_batch = 3
    assert list(batches) == whole[3:]
