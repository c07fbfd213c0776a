"""The spectrogram in characters: rows, columns and colours."""

import numpy as np
import pytest
import torch
from rich.style import Style

from sed.features.log_mel_torch import LogMel
from sed.features.picture import MAGMA
from streaming.live.terminal.spectrogram import LOST, Painter, Spectrogram
from tests.streaming.live.terminal.stage import FRONT_END, Stage, noise


def test_a_mel_band_is_bright_in_its_row():
    spectrogram = Spectrogram(FRONT_END)
    columns = np.full((50, 64), FRONT_END.silence_value, np.float32)
    columns[20:30, 40] = 1.0
    spectrogram.push(columns)
    levels = spectrogram.quantize(width=8, rows=16)
    assert levels.shape == (16, 8)
    assert np.argwhere(levels).tolist() == [[15 - 40 * 16 // 64, 8 - 3]]  # the third of 5 cells
    assert levels.max() == 31


def test_a_tone_is_in_the_row_of_its_frequency(tone):
    spectrogram = Spectrogram(FRONT_END)
    spectrogram.push(LogMel(FRONT_END)(torch.from_numpy(tone)).numpy())
    strongest = int(np.argmax(spectrogram.quantize(10, 32)[:, -1]))
    middles = spectrogram.row_hz(32)
    assert abs(middles[strongest] - 1_000) == np.abs(middles - 1_000).min()


def test_a_character_is_two_rows_the_upper_one_in_front():
    painter = Painter(Stage().view._console)
    ((left, right),) = painter.render(np.array([[31, 0, 0], [0, 31, 31]], np.uint8))
    assert (left.text, right.text) == ("▀", "▀▀")
    assert left.style == Style(color=MAGMA[-1], bgcolor=MAGMA[0])
    assert right.style == Style(color=MAGMA[0], bgcolor=MAGMA[-1])


def test_lost_sound_has_its_width_in_the_spectrogram():
    spectrogram = Spectrogram(FRONT_END)
    spectrogram.push(noise(100))
    spectrogram.skip(2.5)
    spectrogram.push(noise(50))
    levels = spectrogram.quantize(40, 4)
    assert [int((row == LOST).sum()) for row in levels] == [15] * 4
    assert np.all(levels[:, 20:35] == LOST)
    assert spectrogram.end_seconds == pytest.approx(3.0)


def test_noise_alone_stays_dark_and_the_palette_follows_slowly():
    spectrogram = Spectrogram(FRONT_END)
    hiss = np.random.default_rng(5).normal(-5, 0.2, (500, 64)).astype(np.float32)
    spectrogram.push(hiss)
    assert spectrogram.quantize(50, 16).max() <= 10
    spectrogram.push(hiss[:50] + 6)
    first = spectrogram.quantize(50, 16)[:, -1].max()
    for _ in range(60):
        spectrogram.push(hiss[:50] + 6)
        last = spectrogram.quantize(50, 16)[:, -1].max()
    assert first == 31
    assert last <= 10
