"""FLAC files: the rates they hold, and samples beyond full scale."""

import numpy as np
import pytest
import soundfile

from sed.audio.sound_file import FlacFile, write_flac
from sed.errors import OutputError


@pytest.mark.parametrize("sample_rate", [96_001, 700_000])
def test_a_rate_that_flac_cannot_hold_is_an_error_that_names_it(tmp_path, sample_rate):
    reason = rf"FLAC cannot hold such sound \({sample_rate} Hz, channels: 2\)"
    with pytest.raises(OutputError, match=rf"x\.flac: cannot write: {reason}\."):
        write_flac(tmp_path / "x.flac", np.zeros((8_000, 2), np.float32), sample_rate)
    with pytest.raises(OSError, match=reason):
        FlacFile(tmp_path / "x.flac", sample_rate, 2)
    assert list(tmp_path.iterdir()) == []


def test_flac_clips_samples_beyond_full_scale_and_silences_nan(tmp_path):
    samples = np.array([[2], [-2], [np.nan], [np.inf], [-np.inf], [2**-23], [-1]], np.float32)
    write_flac(tmp_path / "x.flac", samples, 48_000)
    most = 1 - 2**-23
    saved, _ = soundfile.read(tmp_path / "x.flac", dtype="float32")
    assert saved.tolist() == [most, -1, 0, most, -1, 2**-23, -1]
