"""Recordings with known faults, and what is noticed of each."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import soxr

from sed.audio.decode import open_recording
from sed.audio.quality.meter import QualityMeter

RATE = 16_000
SECONDS = 20


def noise(*, rate=RATE, seconds=SECONDS, level=0.1, seed=0):
    """White noise of a standard deviation, float32 (samples,)."""
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(int(rate * seconds))).astype(np.float32)


def stereo(left, right):
    return np.stack([left, right], axis=1).astype(np.float32)


def notices(samples, *, rate=RATE, channel=None, block=5_000, band=7_500.0):
    meter = QualityMeter(rate, band, channel)
    samples = samples if samples.ndim == 2 else samples[:, None]
    for start in range(0, len(samples), block):
        meter.push(samples[start : start + block])
    return meter.notices()


def only(found):
    (notice,) = found
    return notice


@pytest.mark.parametrize(
    "samples",
    [
        noise(),
        noise(level=1e-5),
        noise(seconds=0.01),
        np.zeros(RATE, np.float32),
        np.zeros(0, np.float32),
        stereo(noise(), noise(seed=1)),
        stereo(noise(), 0.2 * noise()),  # 14 dB
        stereo(noise(), -0.4 * noise()),
        stereo(noise(), -0.5 * noise() + noise(seed=1)),
        0.9999 * np.sin(np.arange(RATE * 9) * 2 * np.pi * 0.0571).astype(np.float32),
        noise() + np.float32(0.04),
        np.clip(noise(level=0.3), -1, 1),  # 0.09 % of the samples, few with a successor
    ],
)
def test_nothing_is_odd_about_ordinary_sound(samples):
    assert notices(samples) == ()


def test_channels_that_cancel_are_noticed():
    same, other = noise(), noise(seed=1)
    notice = only(notices(stereo(same, -same + 0.1 * other)))
    assert notice == (
        "the channels cancel in their mean, which is 26 dB quieter than they are. Choose the "
        "loudest with --channel 2."
    )
    assert "which is silent. " in only(notices(stereo(same, -same)))
    assert notices(stereo(same, -same), channel=1) == ()


def test_a_dead_and_a_quiet_channel_are_noticed():
    sound = noise()
    dead = only(notices(stereo(np.full_like(sound, 0.01), sound)))
    assert dead.startswith("channel 1 is dead: ")
    assert dead.endswith("Choose the other with --channel 2.")
    quiet = only(notices(stereo(sound, 0.03 * noise(seed=1))))
    assert quiet.startswith("channel 2 is 30 dB quieter than channel 1. ")
    assert notices(stereo(sound, 0 * sound), channel=1) == ()


@pytest.mark.parametrize(("n_bits", "decibels"), [(24, 48), (16, 96)])
def test_samples_that_are_right_aligned_are_noticed(tmp_path, n_bits, decibels):
    integers = np.rint(np.clip(noise(), -1, 1) * (2 ** (n_bits - 1) - 1)).astype(np.int32)
    path = tmp_path / "right.wav"
    soundfile.write(path, integers, RATE, subtype="PCM_32")
    decoder = open_recording(path)
    notice = only(notices(np.concatenate(list(decoder.blocks()))))
    assert notice.startswith(f"is at least {decibels} dB too quiet: {n_bits}-bit samples, right-")
    soundfile.write(path, integers << (32 - n_bits), RATE, subtype="PCM_32")
    assert notices(np.concatenate(list(open_recording(path).blocks()))) == ()


def test_quiet_samples_of_24_bits_are_not_taken_for_right_aligned_ones():
    assert notices(np.rint(noise(level=1e-4) * 2**23).astype(np.float32) / 2**23) == ()


@pytest.mark.parametrize("limit", [1.0, 0.6])
def test_sustained_clipping_is_noticed(limit):
    rng = np.random.default_rng(0)
    slow = soxr.resample(rng.standard_normal(RATE * 2).astype(np.float32), 2_000, RATE)
    clipped = np.clip(slow / slow.std() * limit / 1.5, -limit, limit)
    is_high = np.abs(clipped) >= limit
    share = 100 * (is_high[1:] & is_high[:-1]).mean()
    notice = next(n for n in notices(clipped) if "clipped" in n)
    assert notice.endswith(" % of the samples are clipped. Record with a lower gain.")
    assert float(notice.split()[0]) == pytest.approx(share, abs=1.0)
    assert share > 5


@pytest.mark.parametrize("offset", [0.2, -0.2])
def test_an_offset_is_noticed(offset):
    notice = only(notices(noise() + np.float32(offset)))
    assert f"offset (DC) of {100 * offset:+.1f} % of full scale. " in notice


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 192_000])
def test_a_bandwidth_far_below_that_of_the_model_is_noticed(rate):
    low = noise(rate=8_000, level=0.03)
    upsampled = np.rint(soxr.resample(low, 8_000, rate) * 2**15).astype(np.float32) / 2**15
    notice = only(notices(upsampled, rate=rate))
    end = float(notice.removeprefix("there is no sound above ").split()[0])
    assert end == pytest.approx(4.0, abs=max(0.5, 4 * rate / 1_024_000))  # four bins
    assert f"kHz in {rate} samples per second, and the model analyses up to 7.5 kHz. " in notice
    assert notices(upsampled, rate=rate, band=4_000.0) == ()


def test_a_low_sample_rate_is_noticed_and_tones_and_slow_slopes_are_not():
    notice = only(notices(noise(rate=8_000), rate=8_000))
    assert notice.startswith("there is no sound above 4.0 kHz, and the model analyses up to 7.5")
    assert notices(noise(rate=11_025), rate=11_025) == ()
    time = np.arange(RATE * SECONDS) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (3_500 + 300 * np.sin(2 * np.pi * time)) * time)
    assert notices((tone + noise(level=1e-3)).astype(np.float32)) == ()
    assert notices(np.cumsum(noise(level=1e-3)).astype(np.float32) % 1 - np.float32(0.5)) == ()


def test_samples_far_beyond_full_scale_are_noticed_and_odd_numbers_do_no_harm():
    samples = 32_767 * np.clip(noise(level=0.2), -1, 1)
    notice = only(notices(samples))
    assert float(notice.split()[2]) == pytest.approx(np.abs(samples).max(), rel=0.3)
    samples[::7], samples[1::7], samples[2::7] = np.nan, np.inf, 1e38
    assert only(notices(samples)).startswith("samples reach 1e+09 times full scale. ")


@pytest.mark.parametrize("block", [1, 700, 16_384, 1_000_000])
def test_notices_do_not_depend_on_the_size_of_blocks(block):
    sound = stereo(noise(seconds=2) + 0.2, 0.01 * noise(seconds=2, seed=1))
    assert len(notices(sound)) == 2
    assert notices(sound, block=block) == notices(sound)


def test_parts_that_are_measured_apart_are_added():
    sound = stereo(noise() + 0.2, 0.01 * noise(seed=1))
    meter = QualityMeter(RATE, 7_500.0)
    for part in np.split(sound, 4):
        other = meter.like()
        other.push(part)
        meter.add(other)
    assert [notice[:30] for notice in meter.notices()] == [n[:30] for n in notices(sound)]


@pytest.mark.parametrize("level", [0.0, 0.001])
def test_equal_samples_before_a_sound_leave_its_bandwidth_as_it_is(level):
    upsampled = soxr.resample(noise(rate=8_000, seconds=60, level=0.03), 8_000, RATE)
    # More than is measured at once.
    late = np.concatenate([np.full(RATE * 40, level, np.float32), upsampled])
    silent = ("about 40 s, 40 % are digital silence. Check the microphone, its cable and the power "
              "of the recorder.",)  # fmt: skip
    found = notices(late)
    assert found[:-1] == (silent if level == 0 else ())
    end = float(found[-1].removeprefix("there is no sound above ").split()[0])
    assert end == pytest.approx(4.0, abs=0.5)


@pytest.mark.parametrize("n_slices", [1, 5, 31, 32, 33])
def test_an_offset_is_the_mean_of_the_slices_of_a_second(n_slices):
    sound = stereo(noise(level=0.3, seconds=200) + 0.2, noise(level=0.3, seconds=200, seed=1) - 0.1)
    meter = QualityMeter(RATE, 7_500.0)
    meter.push(sound[: (n_slices - 1) * RATE + 1_024])
    (notice,) = meter.notices()
    left = [sound[n * RATE : n * RATE + 1_024, 0].mean(dtype=np.float64) for n in range(n_slices)]
    assert f"offset (DC) of {100 * np.mean(left):+.1f} % of full scale. " in notice


def test_a_lasting_silence_is_noticed_with_its_length():
    sound, zeros = noise(seconds=60), np.zeros(RATE * 40, np.float32)
    remedy = "are digital silence. Check the microphone, its cable and the power of the recorder."
    assert notices(np.concatenate([sound, zeros])) == (f"about 40 s, 40 % {remedy}",)
    died = stereo(noise(seconds=100, seed=1), np.concatenate([sound, zeros]))
    assert notices(died) == (f"of channel 2 about 40 s, 40 % {remedy}",)
    both = np.concatenate([stereo(sound, noise(seconds=60, seed=1)), stereo(zeros, zeros)])
    assert notices(both) == (f"about 40 s, 40 % {remedy}",)
    # A pause of a few seconds, or a small share, is no fault.
    assert notices(np.concatenate([sound, zeros[: RATE * 8]])) == ()
    assert notices(np.concatenate([noise(seconds=400), zeros[: RATE * 12]])) == ()


def test_one_notice_names_all_faulty_channels_of_several():
    sound = noise()
    four = np.stack([sound, 0 * sound, noise(seed=1), 1e-3 * noise(seed=2)], axis=1)
    notice = only(notices(four))
    assert notice.startswith("channel 2 is dead: ")
    assert ", channel 4 is 60 dB quieter than channel " in notice
    assert notice.count("--channel") == 1
