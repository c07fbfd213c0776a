import struct
import zlib

import numpy as np
import pytest

from sed.features.picture import HEIGHT, WIDTH, palette, png, spectrogram_picture


def pixels_of(picture):
    """Return the pixels of a PNG whose rows have no filter."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = struct.unpack(">IIBB", picture[16:26])
    assert (depth, colour) == (8, 2)
    n = struct.unpack(">I", picture[33:37])[0]
    assert picture[37:41] == b"IDAT"
    data = picture[41 : 41 + n]
    assert struct.unpack(">I", picture[41 + n : 45 + n])[0] == zlib.crc32(b"IDAT" + data)
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_a_png_holds_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(pixels_of(png(pixels)), pixels)


@pytest.mark.parametrize("rate", [8_000, 44_100, 384_000])
def test_a_tone_is_bright_at_its_frequency_and_time(rate):
    t = np.arange(rate) / rate
    hz = rate / 8  # a quarter of the height
    tone = np.sin(2 * np.pi * hz * t) * (t >= 0.5)
    noise = 1e-3 * np.random.default_rng(0).normal(size=rate)
    shown = pixels_of(spectrogram_picture((tone + noise).astype("f4"), rate))
    brightness = shown.sum(axis=2).astype(int)
    # The onset is a click of all frequencies.
    during, before = brightness[:, WIDTH * 3 // 4], brightness[:, WIDTH // 4]
    row = during.argmax()
    assert row == pytest.approx(HEIGHT * 0.75, abs=3)
    assert before[row] < 0.7 * during[row]


def test_marks_and_an_upper_frequency():
    noise = np.random.default_rng(0).normal(size=(16_000, 2)).astype("f4")
    shown = pixels_of(spectrogram_picture(noise, 16_000, marks=(0.25, -1, 5), width=100, height=60))
    white = (shown == 255).all(axis=2)
    assert white[:3, 25].all()
    assert white.any(axis=0).nonzero()[0].tolist() == [25]
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype("f4")
    limited = pixels_of(spectrogram_picture(tone, 16_000, max_hz=2_000, height=100))
    assert limited.sum(axis=2).sum(axis=1).argmax() == pytest.approx(50, abs=2)


@pytest.mark.parametrize("n", [0, 1, 100])
def test_silence_and_very_short_sound_are_drawn(n):
    assert pixels_of(spectrogram_picture(np.zeros(n, "f4"), 48_000)).shape == (HEIGHT, WIDTH, 3)


def test_the_palette_ends_in_its_anchors():
    assert palette()[0].tolist() == [0, 0, 4]
    assert palette()[255].tolist() == [0xFC, 0xFD, 0xBF]
