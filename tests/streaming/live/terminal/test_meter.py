"""The level meter."""

import numpy as np
import pytest

from streaming.live.terminal.meter import CLIPPING, LevelMeter
from tests.streaming.live.terminal.stage import audio


def test_the_meter_shows_30_db_below_full_scale_as_half_its_width():
    level = LevelMeter()
    for i in range(100):
        level.update(audio(i / 20, 10 ** (-30 / 20)))
    assert level.rms_db == pytest.approx(-30, abs=0.01)
    text = "".join(segment.text for segment in level.line("mic", "listening", 100))
    bar_width = 100 - len("mic") - len(" -30.0 dBFS  peak -30.0") - len(" CLIP ") - 2
    assert text.count("━") + text.count("╸") / 2 == pytest.approx(bar_width / 2, abs=0.5)
    assert " -30.0 dBFS  peak -30.0" in text


def test_the_peak_stays_above_the_level_as_both_come_down():
    level = LevelMeter()
    for i in range(20):
        level.update(audio(i / 20, 0.5))
    assert level.peak_db == pytest.approx(-6.02, abs=0.01)
    for i in range(20):
        level.update(audio(1 + i / 20, 1e-4))
        assert level.peak_db > level.rms_db
    assert level.peak_db == pytest.approx(-18.02, abs=0.01)


def test_nan_does_not_stop_the_meter():
    level = LevelMeter()
    level.update(audio(0, np.nan))
    level.update(audio(0.05, np.inf))
    level.update(audio(0.1, 0.5))
    assert level.peak_db == pytest.approx(-6.02, abs=0.01)


def test_the_clipping_mark_stays_two_seconds():
    level = LevelMeter()
    level.update(audio(0, 0.99))
    assert not level.is_clipping
    level.update(audio(0, 32_767 / 32_768))
    assert level.line("mic", "listening", 80)[-1].style == CLIPPING
    for _ in range(38):
        level.update(audio(0))
    assert level.is_clipping
    for _ in range(3):
        level.update(audio(0))
    assert level.line("mic", "listening", 80)[-1].text.strip() == ""
