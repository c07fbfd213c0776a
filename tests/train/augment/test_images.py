"""Pipelines of albumentations: seeded, and true to time and frequency."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from sed.errors import UsageError
from train.augment.images import PIPELINES, apply_albumentations


def generator(seed=0):
    return np.random.default_rng(seed)


def spectrograms(batch, columns=100, mels=64):
    """Return noise whose channels have different ranges, as log-mel, slope and acceleration do."""
    noise = torch.randn(batch, 3, columns, mels, generator=torch.Generator().manual_seed(0))
    return noise * torch.tensor([3.0, 0.5, 0.1])[:, None, None] - 4.0


@pytest.mark.parametrize("name", PIPELINES)
def test_the_same_generator_makes_the_same_spectrograms(name):
    before = spectrograms(16)
    kept = before.clone()
    after = apply_albumentations(name, before, generator(1))
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    torch.testing.assert_close(before, kept, rtol=0, atol=0)
    torch.testing.assert_close(
        after, apply_albumentations(name, before, generator(1)), rtol=0, atol=0
    )
    assert not torch.equal(after, apply_albumentations(name, before, generator(2)))


@pytest.mark.parametrize(
    ("name", "unchanged"), [("birdclef2023", 0.5 * 0.5 * 0.7), ("urban-sounds", 0.5**3)]
)
def test_each_step_is_drawn_on_its_own(name, unchanged):
    before = spectrograms(400, 40, 32)
    after = apply_albumentations(name, before, generator())
    same = ((after - before).abs().flatten(1).amax(dim=1) < 1e-4).float().mean()
    assert float(same) == pytest.approx(unchanged, abs=0.06)


@pytest.mark.parametrize("name", PIPELINES)
def test_every_channel_keeps_its_range(name):
    before = spectrograms(50)
    after = apply_albumentations(name, before, generator())
    for reduce in (torch.amin, torch.amax):
        bound = reduce(before, dim=(2, 3))
        sign = 1 if reduce is torch.amax else -1
        assert (sign * (reduce(after, dim=(2, 3)) - bound) < 1e-3).all()


@pytest.mark.parametrize("name", PIPELINES)
def test_nothing_changes_its_place(name):
    """A chirp that begins and ends off the middle stays nearest to where it was."""
    chirp = torch.zeros(100, 64)
    chirp[torch.arange(10, 50), torch.arange(5, 45)] = 8.0
    before = chirp.expand(200, 3, 100, 64) - 4.0
    after = apply_albumentations(name, before, generator())[:, 0]

    def likeness(image):
        return (after * (image - image.mean())).sum(dim=(1, 2))

    mirrored = (chirp.flip(0), chirp.flip(1), chirp.flip(0, 1), chirp.roll(6, 0), chirp.roll(6, 1))
    for other in mirrored:
        assert (likeness(chirp) > likeness(other)).all()


def test_a_flat_spectrogram_stays_finite():
    for name in PIPELINES:
        assert (
            apply_albumentations(name, torch.full((8, 3, 20, 16), -4.0), generator())
            .isfinite()
            .all()
        )


def test_an_unknown_pipeline_is_an_error_with_the_near_ones():
    with pytest.raises(
        UsageError, match=r"no pipeline 'birdclef2032'\. Did you mean birdclef2023\?"
    ):
        apply_albumentations("birdclef2032", spectrograms(1), generator())


@pytest.mark.slow
def test_albumentations_comes_when_called_and_does_not_call_home():
    program = (
        "import os, sys, train.augment.images as p, torch, numpy as np\n"
        "assert 'albumentations' not in sys.modules\n"
        "images = torch.rand(1, 3, 20, 16)\n"
        "p.apply_albumentations('urban-sounds', images, np.random.default_rng(0))\n"
        "print(os.environ['NO_ALBUMENTATIONS_UPDATE'], 'albumentations' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
    )
    assert done.stdout == "1 True\n", done.stderr
    assert done.stderr == ""
