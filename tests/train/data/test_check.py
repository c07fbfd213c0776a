"""Audio files checked before training."""

import numpy as np
import soundfile

from train.data.check import check_files
from train.data.clips import Clip


def test_clips_that_start_after_the_end_of_their_file_are_reported(sounds):
    path = str(sounds / "low" / "0.wav")
    [fault] = check_files([Clip(path, ("a",), "x", start_seconds=9.0)], 8_000)
    assert "0.wav: holds no sound from 9 s on" in fault


def test_samples_that_are_not_finite_are_reported(tmp_path):
    samples = np.full(800, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", samples, 8_000, subtype="FLOAT")
    assert len(check_files([Clip(str(tmp_path / "nan.wav"), ("a",), "x")], 8_000)) == 1
