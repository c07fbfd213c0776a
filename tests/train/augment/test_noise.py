"""Noise and backgrounds: spectra, levels, positions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import TableError
from train.augment.noise import add_at_snr, background_files, band_noise, noise, random_background

RATE = 32_000


def peak_hz(samples, rate=RATE):
    n = 2**20  # bins close together, and quick whatever the length
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n)).argmax() * rate / n


def level_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def tone_of(hz, n=5 * RATE, rate=RATE):
    return np.sin(2 * np.pi * hz * np.arange(n) / rate).astype(np.float32)


@pytest.mark.parametrize(("kind", "slope_db"), [("white", 0.0), ("pink", -3.01)])
def test_noise_falls_by_so_many_decibels_per_octave(kind, slope_db):
    samples = noise(kind, 30 * RATE, RATE, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    edges = 62.5 * 2.0 ** np.arange(9)  # octaves, to 16 kHz
    density_db = [
        10 * np.log10(power[(hz >= low) & (hz < high)].mean()) for low, high in pairwise(edges)
    ]
    slope, _ = np.polyfit(np.arange(8), density_db, 1)
    assert slope == pytest.approx(slope_db, abs=0.3)
    residual = np.asarray(density_db) - np.polyval(
        np.polyfit(np.arange(8), density_db, 1), range(8)
    )
    assert np.abs(residual).max() < 0.5


def test_band_noise_is_white_in_its_band_and_nothing_elsewhere():
    samples = band_noise(10 * RATE, RATE, 1_000.0, 4_000.0, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    inside = (hz >= 1_000) & (hz <= 4_000)
    assert power[~inside].sum() < 1e-10 * power.sum()
    low, high = power[inside & (hz < 2_500)].mean(), power[inside & (hz > 2_500)].mean()
    assert 10 * np.log10(low / high) == pytest.approx(0, abs=0.3)


def test_bands_are_random_and_half_an_octave_to_three_wide():
    generator = np.random.default_rng(0)
    bands = []
    for _ in range(100):
        power = np.abs(np.fft.rfft(noise("band", RATE, RATE, generator))) ** 2
        there = np.flatnonzero(power > 1e-6 * power.max())
        bands.append((there[0], there[-1]))  # in hertz, since it is a second long
    lowest, highest = np.array(bands).T
    assert 95 < lowest.min() < 200
    assert 4_000 < lowest.max() <= RATE / 4
    assert highest.max() <= RATE / 2
    octaves = np.log2(highest / lowest)
    assert 0.45 < octaves.min() < 0.7
    assert 2.5 < octaves.max() < 3.05


@given(st.sampled_from(["white", "pink", "band"]), st.integers(2, 3_000), st.integers(0, 2**32))
def test_noise_has_unit_rms_and_follows_from_its_generator(kind, n, seed):
    samples = noise(kind, n, 8_000, np.random.default_rng(seed))
    assert samples.shape == (n,)
    assert samples.dtype == np.float32
    assert level_db(samples) == pytest.approx(0, abs=1e-4)
    np.testing.assert_array_equal(samples, noise(kind, n, 8_000, np.random.default_rng(seed)))


def test_noise_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="white, pink or band noise, got 'brown'"):
        noise("brown", 10, RATE, np.random.default_rng(0))
    with pytest.raises(ValueError, match="two samples of noise or more, got 1"):
        noise("white", 1, RATE, np.random.default_rng(0))


@given(st.floats(-20, 50), st.floats(1e-4, 1.0), st.floats(1e-4, 1.0))
def test_the_ratio_of_clip_to_noise_is_the_configured_one(snr_db, clip_level, noise_level):
    clip = np.float32(clip_level) * tone_of(440, 4_000)
    hiss = np.float32(noise_level) * noise("pink", 4_000, RATE, np.random.default_rng(1))
    added = add_at_snr(clip, hiss, snr_db).astype(np.float64) - clip
    assert level_db(clip) - level_db(added) == pytest.approx(snr_db, abs=0.1)


def test_noise_behind_silence_is_left_out():
    silence, clip = np.zeros(100, np.float32), np.ones(100, np.float32)
    assert add_at_snr(silence, clip, 10.0) is silence
    assert add_at_snr(clip, silence, 10.0) is clip
    with pytest.raises(ValueError, match=r"\(100,\) to add, got \(99,\)"):
        add_at_snr(clip, clip[1:], 10.0)


def test_backgrounds_come_from_anywhere_in_any_recording(tmp_path):
    ramp = np.linspace(-1, 1, 16_000, dtype=np.float32)  # the value of a sample gives its position
    (tmp_path / "below").mkdir()
    soundfile.write(tmp_path / "long.wav", ramp, 8_000, subtype="FLOAT")
    soundfile.write(tmp_path / "below" / "short.wav", ramp[-100:], 8_000, subtype="FLOAT")
    (tmp_path / "notes.txt").write_text("wind from the west")
    files = background_files(tmp_path)
    assert [path.name for path in files] == ["long.wav", "short.wav"]

    generator = np.random.default_rng(0)
    beds = [random_background(files, 1_000, 8_000, generator) for _ in range(200)]
    short = [bed for bed in beds if bed[0] == ramp[-100]]
    assert 60 < len(short) < 140  # one of two
    np.testing.assert_array_equal(short[0], np.tile(ramp[-100:], 10))
    starts = [int(np.argmin(np.abs(ramp - bed[0]))) for bed in beds if bed[0] != ramp[-100]]
    assert min(starts) < 1_500
    assert 13_500 < max(starts) <= 15_000
    for bed, start in zip((b for b in beds if b[0] != ramp[-100]), starts, strict=True):
        np.testing.assert_array_equal(bed, ramp[start : start + 1_000])


def test_backgrounds_have_the_requested_sample_rate(tmp_path):
    soundfile.write(tmp_path / "hum.flac", tone_of(500, 16_000, 8_000) / 2, 8_000)
    bed = random_background(background_files(tmp_path), 8_000, 16_000, np.random.default_rng(0))
    assert bed.shape == (8_000,)
    assert peak_hz(bed, 16_000) == pytest.approx(500, abs=1)


def test_a_recording_whose_length_only_decoding_tells_is_a_background_too(tmp_path):
    soundfile.write(tmp_path / "hum.mp3", tone_of(500, 3 * 16_000, 16_000) / 2, 16_000)
    bed = random_background(background_files(tmp_path), 16_000, 16_000, np.random.default_rng(0))
    assert peak_hz(bed, 16_000) == pytest.approx(500, abs=1)


def test_a_folder_without_backgrounds_is_refused(tmp_path):
    with pytest.raises(TableError, match="not a folder with recordings to add to clips"):
        background_files(tmp_path)
    with pytest.raises(TableError, match="nowhere: not a folder"):
        background_files(tmp_path / "nowhere")
