import numpy as np
import pytest
import soundfile

from sed.cli import run

ROWS = "a.wav,1,2,dog,0.9\na.wav,4,5,dog,0.5\na.wav,6,7,owl,0.7\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.random.default_rng(0).uniform(-1, 1, 80_000), 8_000)
    (tmp_path / "events.csv").write_text("file,onset,offset,label,score\n" + ROWS)
    return tmp_path / "events.csv"


def test_the_command(table, tmp_path, capsys):
    assert run(["clips", str(table), "-o", "out", "--per-class", "1", "--format", "wav"]) == 0
    assert capsys.readouterr().out == "2 clips in out; look at out/index.html\n"
    assert len([*tmp_path.glob("out/*/*.wav")]) == 2
    assert (
        run(["clips", "events.csv", "-o", "all", "--per-class", "0", "--classes", "dog", "-q"]) == 0
    )
    assert len([*tmp_path.glob("all/dog/*.flac")]) == 2
    assert (
        run(["clips", "events.csv", "-o", "high", "--per-class", "0", "--min-score", "0.6", "-q"])
        == 0
    )
    assert len([*tmp_path.glob("high/*/*.flac")]) == 2


def test_a_recording_that_is_missing_gives_status_1(table, capsys):
    table.write_text(table.read_text() + "b.wav,0,1,owl,0.6\n")
    assert run(["clips", str(table), "-o", "out", "-q"]) == 1
    assert capsys.readouterr().err.startswith("sed: b.wav: no such file")


def test_a_class_that_no_event_has_is_refused(table, capsys):
    assert run(["clips", str(table), "-o", "out", "--classes", "dgo"]) == 2
    assert "no event of the class 'dgo'. Did you mean dog?" in capsys.readouterr().err


def test_clips_of_clips_and_a_table_elsewhere(table, tmp_path, monkeypatch, capsys):
    assert run(["clips", "events.csv", "-o", "out/clips", "-q"]) == 0
    monkeypatch.chdir(tmp_path / "out")
    assert run(["clips", "clips", "-o", "again"]) == 0
    assert run(["clips", "../events.csv", "-o", "third"]) == 0
    assert capsys.readouterr().out.startswith("3 clips in again; look at again/index.html\n3 clips")
