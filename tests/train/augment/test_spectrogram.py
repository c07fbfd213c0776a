"""Augmentation of spectrograms, in decibels and columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sed.features.log_mel import LogMelConfig
from sed.features.log_mel_torch import LogMel
from train.augment.spectrogram import (
    SpecAugment,
    filter_augment,
    gamma,
    low_pass,
    shuffle_segments,
)
from train.config.augment import SpectrogramConfig

FRONT_ENDS = {
    "magnitude": LogMelConfig(log_offset=1e-9),
    "power": LogMelConfig(power=2, log_offset=1e-12, mean=-3.0, std=2.5),
    "decibels": LogMelConfig(power=2, log="db", amin=1e-12, std=4.0),
}


def generator(seed=0):
    return np.random.default_rng(seed)


def spectrograms(batch=64, columns=20, mels=32, seed=0):
    return torch.rand(batch, columns, mels, generator=torch.Generator().manual_seed(seed))


def test_contrast_is_a_power_that_leaves_the_strongest():
    energy = 3.0 * spectrograms()
    changed = gamma(energy, 1.0, (0.5, 2.0), generator())
    strongest = energy.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(changed.amax(dim=(1, 2), keepdim=True), strongest)
    faint = energy < 0.9 * strongest
    exponents = torch.log(changed / strongest) / torch.log(energy / strongest)
    for exponent, mask in zip(exponents, faint, strict=True):  # one per spectrogram
        torch.testing.assert_close(
            exponent[mask], exponent[mask][0].expand_as(exponent[mask]), rtol=1e-3, atol=1e-3
        )
    each = exponents[:, 0, 0][faint[:, 0, 0]]
    assert 0.499 < each.min() < 0.7
    assert 1.8 < each.max() < 2.001


def test_contrast_of_silence_is_silence():
    assert not gamma(torch.zeros(4, 5, 6), 1.0, (0.5, 2.0), generator()).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda x, p, g: gamma(x, p, (0.5, 0.6), g),
        lambda x, p, g: low_pass(x, p, 20.0, g, db_per_unit=1.0),
        lambda x, p, g: filter_augment(x, p, 6.0, g, db_per_unit=1.0),
        lambda x, p, g: shuffle_segments(x, None, p, 4, g)[0],
    ],
    ids=["gamma", "low_pass", "filter_augment", "shuffle_segments"],
)
def test_the_configured_share_of_spectrograms_is_changed(change):
    before = spectrograms(batch=2_000, columns=64, mels=4)
    kept = before.clone()
    for probability in (0.0, 0.25, 1.0):
        after = change(before, probability, generator())
        changed = (after != before).flatten(1).any(dim=1).float().mean()
        assert float(changed) == pytest.approx(probability, abs=0.03 * (probability == 0.25))
        torch.testing.assert_close(before, kept)  # what is given is left alone
        torch.testing.assert_close(after, change(before, probability, generator()))


def losses_db(before, after):
    """Return how much each band lost, once it is sure that all columns lost the same."""
    losses = before - after
    torch.testing.assert_close(losses, losses[:, :1].expand_as(losses), atol=1e-4, rtol=0)
    return losses[:, 0]


def test_a_high_cut_falls_evenly_from_a_random_band_to_the_highest():
    log = spectrograms(batch=400)
    losses = 2.0 * losses_db(log, low_pass(log, 1.0, 20.0, generator(), db_per_unit=2.0))
    assert losses.min() > -1e-4
    assert 19 < losses.max() < 20.001
    assert (losses.diff(dim=1) > -1e-4).all()  # never less, going up
    torch.testing.assert_close(losses.amax(dim=1), losses[:, -1])
    for slope in losses[losses[:, -1] > 0.5].diff(dim=1):
        steps = slope[slope > 1e-3]  # above the corner: a part of a step, then whole ones
        torch.testing.assert_close(steps[1:], steps[-1].expand_as(steps[1:]), atol=1e-3, rtol=0)
    corners = (losses > 1e-3).float().argmax(dim=1)
    assert corners.min() < 3
    assert corners.max() > 28
    assert float(losses[:, -1].mean()) == pytest.approx(10, abs=1)


def test_frequency_responses_are_smooth_and_bounded():
    log = spectrograms(batch=400, mels=128)
    gains = -4.0 * losses_db(log, filter_augment(log, 1.0, 6.0, generator(), db_per_unit=4.0))
    assert 5.8 < gains.max() < 6.001
    assert -6.001 < gains.min() < -5.8
    assert abs(float(gains.mean())) < 0.3
    # A curve through 3 to 6 points turns at most at the 1 to 4 inner ones.
    slope = gains.diff(dim=1)
    signs = [s[s.abs() > 1e-3].sign() for s in slope]
    turns = [int((s[1:] != s[:-1]).sum()) for s in signs]
    assert max(turns) <= 4
    assert np.mean(turns) > 1
    assert float(slope.abs().median()) < 0.5  # decibels per band


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_decibels_in_spectrograms_are_decibels_in_sound(name):
    """A spectrogram filtered by a response equals that of noise filtered by it."""
    config = FRONT_ENDS[name]
    log_mel = LogMel(config)
    samples = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    columns = log_mel(samples)
    louder = log_mel(samples * 10 ** (6 / 20))
    torch.testing.assert_close(
        (louder - columns) * config.db_per_unit, torch.full_like(columns, 6.0), atol=0.01, rtol=0
    )
    lost = (columns - low_pass(columns, 1.0, 20.0, generator(), db_per_unit=config.db_per_unit))[0]
    expected = losses_db(columns, low_pass(columns, 1.0, 20.0, generator(), db_per_unit=1.0))[0]
    torch.testing.assert_close(lost[0] * config.db_per_unit, expected, atol=1e-3, rtol=1e-3)


def test_nothing_gets_below_silence():
    log = spectrograms(batch=50)
    for change in (low_pass, filter_augment):
        freely = change(log, 1.0, 20.0, generator(), db_per_unit=1.0)
        assert freely.min() < -5
        torch.testing.assert_close(
            change(log, 1.0, 20.0, generator(), db_per_unit=1.0, silence_value=-0.5),
            freely.clamp_min(-0.5),
        )


@given(
    st.sampled_from([(96, 12, None), (100, 13, 8), (100, 12, 8), (8, 1, None), (9, 9, None)]),
    st.integers(2, 6),
    st.integers(0, 2**32),
)
def test_shuffled_frames_go_with_their_columns(grid, most_pieces, seed):
    n_columns, n_frames, frame_columns = grid
    stride = frame_columns or n_columns // n_frames
    frame_of = torch.arange(n_columns).div(stride, rounding_mode="floor").clamp_max(n_frames - 1)
    log = torch.arange(float(n_columns)).expand(3, n_columns)[..., None]
    frames = torch.arange(float(n_frames)).expand(3, n_frames)[..., None]
    shuffled, targets = shuffle_segments(
        log, frames, 1.0, most_pieces, generator(seed), frame_columns=frame_columns
    )
    for columns, order in zip(shuffled[..., 0].long(), targets[..., 0], strict=True):
        assert sorted(columns.tolist()) == list(range(n_columns))
        torch.testing.assert_close(frame_of[columns].float(), order[frame_of])
        stays = n_columns % stride > 0  # the last frame, since it is of another length
        assert int((columns.diff() != 1).sum()) < most_pieces + stays
        if stays:
            assert order[-1] == n_frames - 1


def test_each_spectrogram_is_shuffled_differently():
    log = torch.arange(64.0).expand(200, 64)[..., None]
    shuffled, none = shuffle_segments(log, None, 1.0, 4, generator())
    assert none is None
    cuts = (shuffled[..., 0].diff(dim=1) != 1).sum(dim=1)
    assert set(cuts.tolist()) == {1, 2, 3}
    assert len({tuple(row) for row in shuffled[..., 0].tolist()}) > 150


def blanked(config, seed=0, n=16):
    """Return the blanked columns and the blanked bands of spectrograms, and the spectrograms."""
    before = torch.randn(n, 100, 24, generator=torch.Generator().manual_seed(seed))
    before = before - before.mean(dim=(1, 2), keepdim=True) + 5.0
    after = SpecAugment(config).train()(before, generator(seed))
    changed = (after - before).abs() > 1e-5
    torch.testing.assert_close(after[changed], torch.full_like(after[changed], 5.0))
    return changed.all(dim=2), changed.all(dim=1), after


def test_spec_augment_blanks_stripes_no_wider_than_configured():
    config = SpectrogramConfig(time_mask_columns=20, n_time_masks=1, n_freq_masks=0)
    columns, bands, _ = blanked(config)
    assert columns.sum(1).max() < 20
    assert columns.sum(1).max() > 10
    assert not bands.any()
    config = SpectrogramConfig(freq_mask_bands=6, n_time_masks=0, n_freq_masks=2)
    columns, bands, _ = blanked(config)
    assert 5 < bands.sum(1).max() <= 10
    assert not columns.any()


def test_spec_augment_follows_from_its_generator_alone():
    config = SpectrogramConfig()
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    *_, one = blanked(config)
    assert torch.equal(torch.random.get_rng_state(), state)  # torch's own is left alone
    torch.manual_seed(2)
    *_, same = blanked(config)
    assert torch.equal(one, same)
    before = torch.randn(4, 100, 24)
    augment = SpecAugment(config).train()
    assert not torch.equal(augment(before, generator(1)), augment(before, generator(2)))
    assert not torch.equal(augment(before), augment(before))  # without one: from torch's
    torch.testing.assert_close(augment.eval()(before, generator()), before)


def test_stripes_wider_than_the_spectrogram_are_refused():
    augment = SpecAugment(SpectrogramConfig(time_mask_columns=40, freq_mask_bands=8)).train()
    message = "masks of up to 40 columns and 8 bands do not fit into 30 columns and 24 bands"
    with pytest.raises(ValueError, match=message):
        augment(torch.zeros(2, 30, 24))
    bands_only = SpectrogramConfig(time_mask_columns=40, n_time_masks=0, freq_mask_bands=8)
    assert SpecAugment(bands_only).train()(torch.zeros(2, 30, 24)).shape == (2, 30, 24)


@pytest.mark.gpu
def test_what_is_changed_on_a_gpu_is_what_is_changed_on_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    log, frames = spectrograms(8, 64, 16), spectrograms(8, 16, 3)
    augment = SpecAugment(SpectrogramConfig(time_mask_columns=20)).train()
    for change in (
        lambda x, f: gamma(x, 0.5, (0.5, 2.0), generator()),
        lambda x, f: low_pass(x, 0.5, 20.0, generator(), db_per_unit=2.0, silence_value=-math.pi),
        lambda x, f: filter_augment(x, 0.5, 6.0, generator(), db_per_unit=2.0),
        lambda x, f: shuffle_segments(x, f, 0.5, 4, generator())[1],
        lambda x, f: augment(x, generator()),
    ):
        torch.testing.assert_close(change(log.cuda(), frames.cuda()).cpu(), change(log, frames))
