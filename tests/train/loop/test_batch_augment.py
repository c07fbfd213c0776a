"""Mixing and augmentation of a batch: targets follow the sound."""

import numpy as np
import pytest
import torch

from sed.models.backbone import ModelConfig
from sed.models.network import SedModel
from tests.conftest import TINY_LOG_MEL
from train.config.augment import MixingConfig, SpectrogramConfig
from train.config.train import TrainConfig
from train.loop.batch_augment import BatchAugment
from train.loop.dataset import Example

PLAIN = SpectrogramConfig(spec_augment_probability=0.0)
N = 4


@pytest.fixture(scope="module")
def model():
    return SedModel(ModelConfig("mobilenetv3_small_050", hidden=8), TINY_LOG_MEL, N)


@pytest.fixture
def batch():
    """Return four clips, each a tone of its own class in a frame of its own."""
    generator = torch.Generator().manual_seed(0)
    samples = 0.1 * torch.randn(N, 8_000, generator=generator)
    frames = torch.zeros(N, 4, N)
    for i in range(N):
        frames[i, i, i] = 1.0
    weight = torch.tensor([1.0, 0.5, 1.0, 0.5])
    return Example(samples, torch.eye(N), frames, weight, torch.arange(N))


def mixed_by(model, batch, mixing, spectrogram=PLAIN, seed=0):
    config = TrainConfig(mixing=mixing, spectrogram=spectrogram, log_mel=TINY_LOG_MEL)
    teacher = torch.eye(N)  # each clip is its own name
    return BatchAugment(config, model)(batch, teacher, np.random.default_rng(seed))


def test_an_empty_config_changes_nothing(model, batch):
    mixed = mixed_by(model, batch, MixingConfig(mixup_probability=0.0))
    torch.testing.assert_close(mixed.log_mel, model.log_mel.forward_padded(batch.samples))
    assert torch.equal(mixed.targets, batch.targets)
    assert torch.equal(mixed.frame_targets, batch.frame_targets)
    assert torch.equal(mixed.weight[:, 0], batch.weight)


@pytest.mark.parametrize("domain", ["waveform", "mel-power"])
def test_a_sum_of_recordings_holds_the_labels_of_all(model, batch, domain):
    mixing = MixingConfig(
        mixup_probability=0.0,
        max_recordings=2,
        stop_probability=0.0,
        gain_db=(0.0, 0.0),
        domain=domain,
    )
    mixed = mixed_by(model, batch, mixing)
    assert mixed.targets.sum(1).tolist() == [2.0] * N
    for i in range(N):
        other = int((mixed.targets[i] - torch.eye(N)[i]).argmax())
        pair = [i, other]
        expected = batch.frame_targets[pair].amax(0)
        assert torch.equal(mixed.frame_targets[i], expected)
        assert mixed.weight[i, 0] == batch.weight[pair].max()
        energies = model.log_mel.mel_energies(model.log_mel.pad(batch.samples[pair]))
        together = energies.square().sum(0).sqrt()
        if domain == "waveform":
            samples = batch.samples[pair].sum(0, keepdim=True)
            together = model.log_mel.mel_energies(model.log_mel.pad(samples))[0]
        torch.testing.assert_close(mixed.log_mel[i], model.log_mel.logarithm(together))


def test_mixup_takes_everything_along_in_the_same_shares(model, batch):
    mixed = mixed_by(model, batch, MixingConfig(mixup_probability=1.0))
    torch.testing.assert_close(mixed.targets, mixed.teacher_embedding)
    torch.testing.assert_close(mixed.weight[:, 0], mixed.targets @ batch.weight)
    samples = mixed.targets @ batch.samples
    torch.testing.assert_close(
        mixed.log_mel, model.log_mel.forward_padded(samples), atol=1e-4, rtol=1e-4
    )
    assert 0 < mixed.targets[0, 0] < 1


def test_cutmix_takes_columns_and_frames_of_the_same_time(model, batch):
    mixing = MixingConfig(mixup_probability=0.0, cutmix_probability=1.0)
    mixed = mixed_by(model, batch, mixing, seed=3)
    columns = model.log_mel.forward_padded(batch.samples)
    for i in range(N):
        for frame in range(3):  # whole frames of 32 columns; the fourth has but four
            window = slice(32 * frame, 32 * frame + 32)
            [source] = [
                j for j in range(N) if torch.equal(mixed.log_mel[i, window], columns[j, window])
            ] or [None]
            if source is not None:
                expected = batch.frame_targets[source, frame]
                assert torch.equal(mixed.frame_targets[i, frame], expected)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(N))


def test_the_same_generator_makes_the_same_batch(model, batch):
    mixing = MixingConfig(mixup_probability=0.5, max_recordings=3, cutmix_probability=0.5)
    spectrogram = SpectrogramConfig(
        gamma_probability=0.5,
        gamma_mixed_probability=0.5,
        low_pass_probability=0.5,
        filter_augment_probability=0.5,
        shuffle_probability=0.5,
        time_mask_columns=20,
    )
    first, again, other = (mixed_by(model, batch, mixing, spectrogram, seed) for seed in (5, 5, 6))
    for one, same in zip(first, again, strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(first.log_mel, other.log_mel)
    assert torch.isfinite(first.log_mel).all()
    assert first.log_mel.min() >= TINY_LOG_MEL.silence_value - 1e-4
