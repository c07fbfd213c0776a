"""Mixed clips: their sound, and their targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.augment.mix import cutmix, either, frame_of_column, mixup, place_events, sum_mixtures


def generator(seed=0):
    return np.random.default_rng(seed)


def names(batch, *shape):
    """Return a batch in which each clip is its own name: one-hot along the last axis."""
    return torch.eye(batch).view(batch, *[1] * len(shape), batch).expand(batch, *shape, batch)


# ---- mixup


def test_mixup_mixes_targets_as_it_mixes_samples():
    samples, frames = names(8), names(8, 5)
    mixed, [targets, frame_targets] = mixup(
        samples, [samples, frames], alpha=1.0, rule="convex", generator=generator()
    )
    torch.testing.assert_close(mixed, targets)
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    torch.testing.assert_close(frame_targets, mixed[:, None].expand(8, 5, 8))
    assert ((mixed > 0).sum(1) == 2).sum() >= 5  # some may have drawn themselves


def test_mixup_with_or_keeps_both_labels():
    samples = names(8)
    mixed, [either] = mixup(samples, [samples], alpha=4.0, rule="or", generator=generator())
    torch.testing.assert_close(either, (mixed > 0).float())
    with pytest.raises(ValueError, match="convex or or, got 'and'"):
        mixup(samples, [samples], alpha=1.0, rule="and", generator=generator())


@pytest.mark.parametrize(
    ("alpha", "variance"), [(0.4, 0.25 / 1.8), (1.0, 1 / 12), (5.0, 0.25 / 11)]
)
def test_the_shares_of_mixup_are_beta_distributed(alpha, variance):
    zeros_and_ones = torch.arange(20_000) % 2.0
    mixed, _ = mixup(zeros_and_ones, [], alpha=alpha, rule="convex", generator=generator())
    shares = mixed[(mixed > 0) & (mixed < 1)]  # of pairs whose clips differ
    assert len(shares) > 9_000
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shares.var()) == pytest.approx(variance, rel=0.05)


# ---- cutmix


@pytest.mark.parametrize(
    ("n_columns", "n_frames", "frame_columns"),
    [(96, 12, None), (100, 13, 8), (100, 12, 8), (7, 7, 1)],
)
def test_cutmix_cuts_columns_and_frames_in_the_same_places(n_columns, n_frames, frame_columns):
    batch = 16
    spectrograms = names(batch, n_columns)
    mixed, [targets], frames = cutmix(
        spectrograms,
        [names(batch)],
        names(batch, n_frames),
        alpha=1.0,
        generator=generator(),
        frame_columns=frame_columns,
    )
    frame_of = frame_of_column(n_columns, frames, frame_columns)
    torch.testing.assert_close(mixed, frames[:, frame_of])  # each column is of its frame's clip
    torch.testing.assert_close(targets, mixed.mean(dim=1))  # and each clip counts by its time
    changes = (mixed[:, 1:] != mixed[:, :-1]).any(dim=2).sum(dim=1)
    assert changes.max() == 2  # one stretch in the middle
    assert (changes > 0).sum() > batch // 2
    assert (mixed.sum(dim=2) == 1).all()


def test_cutmix_takes_what_sounds_at_the_same_time_in_the_other_clip():
    spectrograms = (
        torch.arange(40.0).expand(6, 40)[..., None] + 100 * torch.arange(6.0)[:, None, None]
    )
    mixed, [], _ = cutmix(spectrograms, [], None, alpha=1.0, generator=generator())
    torch.testing.assert_close(mixed % 100, spectrograms % 100)
    assert (mixed != spectrograms).any()


def test_the_share_that_cutmix_leaves_is_beta_distributed():
    spectrograms = (torch.arange(8_000) % 2.0)[:, None, None].expand(8_000, 100, 1)
    mixed, [], _ = cutmix(spectrograms, [], None, alpha=3.0, generator=generator())
    replaced = (mixed != spectrograms).float().mean(dim=(1, 2))
    shares = replaced[replaced > 0]
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shares.var()) == pytest.approx(0.25 / 7, rel=0.07)


def test_frames_end_with_the_spectrogram_as_those_of_the_model():
    for n_columns, n_frames, frame_columns in ((100, 13, 8), (100, 12, 8), (96, 12, 8)):
        edges = np.minimum(np.arange(n_frames + 1) * frame_columns, n_columns)
        edges[-1] = n_columns
        frame_of = frame_of_column(n_columns, torch.zeros(1, n_frames, 1), frame_columns)
        np.testing.assert_array_equal(np.bincount(frame_of), np.diff(edges))
    with pytest.raises(ValueError, match="frame_columns, since 100 columns are not 13 equal"):
        frame_of_column(100, torch.zeros(1, 13, 1), None)
    with pytest.raises(ValueError, match="at most 100 columns, got 13 frames of 9"):
        frame_of_column(100, torch.zeros(1, 13, 1), 9)


# ---- sum of recordings


def summed(batch, most, stop=0.0, gain_db=(0.0, 0.0), power=True, seed=0):
    """Return how much of each clip is in each sum, and what the targets say."""
    sums, [targets, frames] = sum_mixtures(
        names(batch),
        [names(batch), names(batch, 3)],
        max_recordings=most,
        stop_probability=stop,
        gain_db=gain_db,
        generator=generator(seed),
        power=power,
    )
    torch.testing.assert_close(frames, targets[:, None].expand_as(frames))
    return sums, targets


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32))
def test_clips_get_others_and_each_only_once(batch, most, seed):
    sums, targets = summed(batch, most, seed=seed)
    assert set(sums.unique().tolist()) <= {0.0, 1.0}
    assert (sums.diagonal() == 1).all()  # itself, once
    assert (sums.sum(dim=1) == min(most, batch)).all()
    torch.testing.assert_close(targets, sums)


def test_sums_stop_early_with_the_configured_probability():
    sums, targets = summed(1_200, most=3, stop=0.3)
    counts = np.bincount(sums.sum(dim=1).long().numpy(), minlength=4) / 1_200
    np.testing.assert_allclose(counts, [0, 0.3, 0.7 * 0.3, 0.7 * 0.7], atol=0.05)
    torch.testing.assert_close(targets, sums)


@pytest.mark.parametrize(("power", "per_decade"), [(True, 10), (False, 20)])
def test_gains_are_even_in_decibels_between_their_bounds(power, per_decade):
    sums, targets = summed(1_500, most=2, gain_db=(-12.0, 3.0), power=power)
    gains_db = per_decade * torch.log10(sums[(sums > 0) & ~torch.eye(1_500).bool()])
    assert len(gains_db) == 1_500
    assert -12.001 < float(gains_db.min()) < -11.9
    assert 2.9 < float(gains_db.max()) < 3.001
    assert float(gains_db.mean()) == pytest.approx(-4.5, abs=0.4)
    torch.testing.assert_close(targets, (sums > 0).float())  # a soft one is there all the same


def test_mel_powers_of_a_sum_are_those_of_the_summed_waveforms():
    hz = torch.tensor([[500.0], [1_500.0], [2_500.0]])  # which do not meet in any band
    waves = torch.sin(2 * torch.pi * hz * torch.arange(8_000) / 8_000)

    def power(samples):
        return torch.fft.rfft(samples).abs().square()

    def both(signal, *, is_power):
        arguments = {"max_recordings": 2, "stop_probability": 0.0, "gain_db": (-6.0, 0.0)}
        return sum_mixtures(signal, [], **arguments, power=is_power, generator=generator())[0]

    torch.testing.assert_close(
        both(power(waves), is_power=True), power(both(waves, is_power=False)), atol=500, rtol=1e-4
    )


def test_of_soft_targets_the_surest_stay():
    targets = torch.tensor([[0.3, 0.995], [0.9, 0.0025]])
    _, [mixed_targets] = sum_mixtures(
        torch.ones(2, 4),
        [targets],
        max_recordings=2,
        stop_probability=0.0,
        gain_db=(-6.0, -6.0),
        generator=generator(),
        power=True,
    )
    torch.testing.assert_close(mixed_targets, torch.tensor([[0.9, 0.995]] * 2))


# ---- placed events


@given(st.lists(st.integers(1, 150), max_size=5), st.integers(0, 2**32))
def test_events_sound_where_their_spans_say(lengths, seed):
    pieces = [(np.full(n, 10.0**-i, np.float32), [(0, n, i)]) for i, n in enumerate(lengths)]
    samples, spans = place_events(100, pieces, generator(seed))
    assert [label for *_, label in spans] == list(range(len(lengths)))
    expected = np.zeros(100, np.float32)
    for (first, last, label), n in zip(spans, lengths, strict=True):
        assert 0 <= first <= last <= 100
        assert last - first == min(n, 100)
        expected[first:last] += 10.0**-label
    np.testing.assert_allclose(samples, expected, rtol=1e-6)


def test_events_come_at_any_time_over_a_bed_and_bring_all_their_classes():
    random = generator()
    bed = np.full(100, 0.25, np.float32)
    starts = set()
    for _ in range(500):
        samples, spans = place_events(
            100, [(np.ones(90, np.float32), [(0, 90, 4), (20, 30, 2)])], random, background=bed
        )
        first, last, label = spans[0]
        assert label == 4
        assert spans[1:] == [(first + 20, first + 30, 2)]
        assert (samples[first:last] == 1.25).all()
        assert samples.sum() == pytest.approx(90 + 25)
        starts.add(first)
    assert starts == set(range(11))
    assert (bed == 0.25).all()


def test_of_an_event_too_long_a_random_stretch_is_placed():
    random = generator()
    ramp = np.arange(150, dtype=np.float32)
    firsts = {float(place_events(100, [(ramp, [])], random)[0][0]) for _ in range(1_000)}
    assert firsts == set(map(float, range(51)))
    _, spans = place_events(100, [(ramp, [(0, 150, 0)])], random)
    assert spans == [(0, 100, 0)]


def test_in_a_sum_a_label_is_certain_and_an_unknown_one_stays_unknown():
    nan = float("nan")
    targets = torch.tensor([0.0, 0.0, 1.0, nan, nan, nan])
    other = torch.tensor([0.0, 1.0, 0.3, 1.0, 0.3, nan])
    expected = torch.tensor([0.0, 1.0, 1.0, 1.0, nan, nan])
    torch.testing.assert_close(either(targets, other), expected, equal_nan=True)
    torch.testing.assert_close(either(other, targets), expected, equal_nan=True)


@pytest.mark.gpu
def test_what_is_mixed_on_a_gpu_is_what_is_mixed_on_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    samples, frames = torch.randn(8, 64, 5), names(8, 16)
    on_gpu = samples.cuda(), frames.cuda()
    for mix in (
        lambda x, f: mixup(x, [f], alpha=1.0, rule="convex", generator=generator())[0],
        lambda x, f: cutmix(x, [f[:, 0]], f, alpha=1.0, generator=generator())[2],
        lambda x, f: sum_mixtures(
            x, [f], max_recordings=3, stop_probability=0.3, gain_db=(-6, 0), power=True,
            generator=generator(),
        )[0],
    ):  # fmt: skip
        torch.testing.assert_close(mix(*on_gpu).cpu(), mix(samples, frames))
