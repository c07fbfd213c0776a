import logging

import numpy as np
import pytest
import soundfile

from sed.errors import UsageError
from train.fit import embeddings
from train.fit.embeddings import averaged, background_parts


def write_sounds(folder, names, seconds):
    folder.mkdir(exist_ok=True)
    for name in names:
        soundfile.write(folder / name, np.zeros(round(8_000 * seconds)), 8_000)


def test_windows_of_a_long_recording_are_in_several_groups(tmp_path):
    write_sounds(tmp_path / "background", ["day.wav"], 20.0)
    parts = background_parts([tmp_path / "background"], 2.0, pytest.fail)
    assert [part.event.onset for part in parts] == [2.0 * k for k in range(10)]
    groups = [part.group for part in parts]
    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 5


def test_many_recordings_are_thinned_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "BACKGROUND_WINDOWS", 6)
    write_sounds(tmp_path / "background", [f"{i}.wav" for i in range(9)], 2.0)
    parts = background_parts([tmp_path / "background"], 1.0, pytest.fail)
    names = [part.group.rsplit("/", 1)[1] for part in parts]
    assert names == ["0.wav", "1.wav", "3.wav", "4.wav", "6.wav", "8.wav"]


def test_recordings_of_the_table_are_no_background(tmp_path, caplog):
    write_sounds(tmp_path / "all", ["hum.wav", "rain.wav"], 2.0)
    hum = str(tmp_path / "all" / "hum.wav")
    with caplog.at_level(logging.WARNING, "sed"):
        parts = background_parts([tmp_path / "all"], 1.0, pytest.fail, without={hum})
    assert {part.event.file for part in parts} == {str(tmp_path / "all" / "rain.wav")}
    assert "1 recording of the table left out" in caplog.text
    with pytest.raises(UsageError, match="no recording there that is not in the table"):
        background_parts([hum], 1.0, pytest.fail, without={hum})


def test_long_parts_are_averaged():
    frames = np.arange(20, dtype=np.float32).reshape(10, 2)
    assert averaged(frames, 5).tolist() == [[1, 2], [5, 6], [9, 10], [13, 14], [17, 18]]
    assert averaged(frames, 10) is frames
