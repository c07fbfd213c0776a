"""Changes of samples, in decibels, hertz and samples."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.augment.waveform import SHIFTS, crop, fit_length, pitch_shift, random_gain, time_stretch

RATE = 32_000


CLASS = 7


def tone_of(hz, n=5 * RATE, rate=RATE):
    return np.sin(2 * np.pi * hz * np.arange(n) / rate).astype(np.float32)


def peak_hz(samples, rate=RATE):
    n = 2**20  # bins close together, and quick whatever the length
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n)).argmax() * rate / n


def level_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def marked(n, *spans):
    """Return a clip that is 1 where something sounds and 0 elsewhere."""
    samples = np.zeros(n, np.float32)
    for first, last, _ in spans:
        samples[first:last] = 1.0
    return samples


def assert_spans_are_where_it_sounds(samples, spans):
    np.testing.assert_array_equal(marked(len(samples), *spans), samples)
    assert all(0 <= first < last <= len(samples) and c == CLASS for first, last, c in spans)


places = st.integers(0, 100)


@given(places, places, st.sampled_from(["roll", "shift", "none"]), st.integers(0, 2**32))
def test_spans_move_with_the_sound(one, other, shift, seed):
    spans = [(min(one, other), max(one, other), CLASS)] if one != other else []
    moved, moved_spans = SHIFTS[shift](marked(100, *spans), spans, np.random.default_rng(seed))
    assert_spans_are_where_it_sounds(moved, moved_spans)


def test_a_turn_loses_nothing_and_goes_everywhere():
    generator = np.random.default_rng(0)
    clip = np.arange(50, dtype=np.float32)
    firsts = set()
    for _ in range(1_000):
        turned, spans = SHIFTS["roll"](clip, [(10, 20, CLASS)], generator)
        np.testing.assert_array_equal(np.diff(turned) % 50, 1)
        assert sum(last - first for first, last, _ in spans) == 10
        assert sorted(turned[i] for a, b, _ in spans for i in range(a, b)) == list(range(10, 20))
        firsts.add(int(turned[0]))
    assert firsts == set(range(50))


def test_a_slide_keeps_at_least_half_of_the_energy():
    generator = np.random.default_rng(0)
    clip = marked(1_000, (50, 80, CLASS))  # a bark near the start, soon lost on a slide to the left
    moves = set()
    for _ in range(200):
        moved, spans = SHIFTS["shift"](clip, [(50, 80, CLASS)], generator)
        assert moved.sum() >= 15
        assert_spans_are_where_it_sounds(moved, spans)
        moves.add(spans[0][0])
    assert max(moves) > 400
    assert min(moves) < 50


def test_a_crop_is_what_was_there():
    clip = np.arange(10, dtype=np.float32)
    cut, spans = crop(clip, [(0, 5, 1), (6, 9, 2), (8, 10, 3)], 3, 5)
    assert cut.tolist() == [3, 4, 5, 6, 7]
    assert spans == [(0, 2, 1), (3, 5, 2)]
    with pytest.raises(ValueError, match="a section within 10 samples, got 5 from sample 6"):
        crop(clip, [], 6, 5)


def test_without_a_generator_clips_are_cut_and_filled_up_evenly():
    assert fit_length(np.arange(10.0), [(4, 6, 0)], 4, "pad", None)[0].tolist() == [3, 4, 5, 6]
    padded, spans = fit_length(np.ones(2, np.float32), [(0, 2, 0)], 5, "pad", None)
    assert (padded.tolist(), spans) == ([0, 1, 1, 0, 0], [(1, 3, 0)])
    clip = np.arange(1, 4, dtype=np.float32)
    for short in ("repeat", "masked-copy"):
        looped, spans = fit_length(clip, [(1, 3, 0)], 8, short, None)
        assert looped.tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
        assert spans == [(1, 3, 0), (4, 6, 0), (7, 8, 0)]


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from(["pad", "repeat", "masked-copy"]),
    st.integers(0, 2**32),
)
def test_a_clip_gets_the_requested_length(n, length, short, seed):
    spans = [(0, 1 + n // 3, CLASS)]
    fitted, moved = fit_length(marked(n, *spans), spans, length, short, np.random.default_rng(seed))
    assert fitted.shape == (length,)
    assert_spans_are_where_it_sounds(fitted, moved)


def test_copies_are_masked_and_the_clip_is_not():
    generator = np.random.default_rng(0)
    clip = np.ones(1_000, np.float32)
    blanked = []
    for _ in range(200):
        fitted, _ = fit_length(clip, [], 2_000, "masked-copy", generator)
        assert fitted[:1_000].all()
        blanked.append(1 - fitted[1_000:].mean())
    assert 0 <= min(blanked) < 0.05
    assert 0.4 < max(blanked) <= 0.5  # two stretches, each a quarter at most
    assert len(set(blanked)) > 100


def test_gain_is_even_between_its_bounds():
    generator = np.random.default_rng(0)
    clip = tone_of(440, 1_000)
    gains = [level_db(random_gain(clip, 6.0, generator)) - level_db(clip) for _ in range(2_000)]
    assert -6.001 < min(gains) < -5.9
    assert 5.9 < max(gains) < 6.001
    assert np.mean(gains) == pytest.approx(0, abs=0.3)
    assert np.std(gains) == pytest.approx(12 / np.sqrt(12), rel=0.03)


@pytest.mark.parametrize("speed", [0.5, 0.83, 0.9, 1.1, 2.0])
def test_a_stretched_tone_keeps_its_pitch_and_level(speed):
    clip = tone_of(1_000)
    stretched, spans = time_stretch(clip, [(RATE, 2 * RATE, CLASS)], speed)
    assert len(stretched) == round(len(clip) / speed)
    assert spans == [(round(RATE / speed), round(2 * RATE / speed), CLASS)]
    assert peak_hz(stretched) == pytest.approx(1_000, abs=0.1)
    assert level_db(stretched) == pytest.approx(level_db(clip), abs=0.05)


def test_a_stretched_onset_is_where_its_span_says():
    clip = np.concatenate([np.zeros(RATE, np.float32), tone_of(3_000, RATE)])
    for speed in (0.8, 1.25):
        stretched, [(first, _, _)] = time_stretch(clip, [(RATE, 2 * RATE, CLASS)], speed)
        power = np.convolve(np.square(stretched), np.ones(64) / 64, "same")
        onset = int(np.argmax(power > 0.25))  # half of a tone's power
        assert abs(onset - first) < 0.008 * RATE


def test_two_tones_stay_two_tones():
    clip = tone_of(700) + tone_of(5_000)
    stretched, _ = time_stretch(clip, [], 1.15)
    middle = stretched[RATE : 3 * RATE]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    hz = np.fft.rfftfreq(len(middle), 1 / RATE)
    near = (np.abs(hz - 700) < 40) | (np.abs(hz - 5_000) < 40)
    assert spectrum[near].sum() > 0.999 * spectrum.sum()


def test_a_stretch_by_one_changes_nothing():
    clip = np.random.default_rng(0).standard_normal(12_345).astype(np.float32)
    np.testing.assert_allclose(time_stretch(clip, [], 1.0)[0], clip, atol=1e-4)


def test_silence_and_a_few_samples_can_be_stretched():
    assert not time_stretch(np.zeros(5_000, np.float32), [], 1.3)[0].any()
    for n in (1, 2, 100):
        assert len(time_stretch(np.ones(n, np.float32), [(0, n, CLASS)], 0.7)[0]) == round(n / 0.7)
    with pytest.raises(ValueError, match="a speed above 0, got 0"):
        time_stretch(np.ones(9, np.float32), [], 0.0)


@pytest.mark.parametrize(
    ("semitones", "hz"), [(12, 2_000.0), (-12, 500.0), (3, 1_189.21), (-0.5, 971.53)]
)
def test_a_tone_moves_by_semitones_and_keeps_its_length(semitones, hz):
    clip = tone_of(1_000)
    moved = pitch_shift(clip, RATE, semitones)
    assert moved.shape == clip.shape
    assert moved.dtype == np.float32
    assert peak_hz(moved) == pytest.approx(hz, abs=0.2)
    assert level_db(moved) == pytest.approx(level_db(clip), abs=0.1)


def chirp(from_hz, n):
    """Return two seconds, three octaves up, evenly per octave."""
    rate = np.log(8) * RATE / n
    return np.sin(2 * np.pi * from_hz * np.expm1(rate * np.arange(n) / RATE) / rate)


def ridge_hz(samples):
    columns = np.lib.stride_tricks.sliding_window_view(samples, 1_024)[::256] * np.hanning(1_024)
    return np.abs(np.fft.rfft(columns, 8_192)).argmax(axis=1) * RATE / 8_192


def test_a_moved_chirp_is_the_chirp_that_starts_higher():
    clip = chirp(500, 2 * RATE).astype(np.float32)
    moved = ridge_hz(pitch_shift(clip, RATE, 4.0))
    ratio = moved / ridge_hz(chirp(500 * 2 ** (4 / 12), 2 * RATE))
    assert np.median(np.abs(ratio - 1)) < 0.005  # librosa's pitch_shift comes to 0.014
    assert np.abs(ratio[5:-5] - 1).max() < 0.015


def test_stretching_keeps_up_with_training():
    clip = np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    times = []
    for _ in range(5):
        begin = time.process_time()
        time_stretch(clip, [], 1.07)
        times.append(time.process_time() - begin)
    assert min(times) < 0.06  # about 0.015 on one core of 2025
