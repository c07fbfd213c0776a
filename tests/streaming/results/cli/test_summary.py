import numpy as np
import pytest
import soundfile

from sed.cli import run


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("r/north/20260501_043000.wav", "r/south/20260501_053000.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        soundfile.write(name, np.zeros(8_000 * 36), 8_000)
    (tmp_path / "e.csv").write_text(
        "file,onset,offset,label,score\nr/north/20260501_043000.wav,1,2,dog,0.9\n"
    )
    return "e.csv"


def test_effort_is_that_of_the_folders_of_the_table_or_of_those_given(table, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run(["summary", table, "-o", "out"]) == 0
    assert capsys.readouterr().out == "1 event in 0.0 h; look at out/summary.html\n"
    assert (tmp_path / "out/by_hour.csv").read_text().splitlines() == [
        "hour,label,events,minutes,events_per_hour",
        "04,dog,1,0.017,100.0000",
    ]
    assert run(["summary", table, "-o", "all", "--audio", "r", "--by", "site", "-q"]) == 0
    assert (tmp_path / "all/effort.csv").read_text().splitlines() == [
        "site,recorded_hours",
        "north,0.0100",
        "south,0.0100",
    ]


def test_a_recording_that_cannot_be_read_gives_status_1(table, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "r/north/bad.wav").write_bytes(b"no sound")
    assert run(["summary", table, "-o", "out", "-q"]) == 1
    assert "bad.wav" in capsys.readouterr().err
    assert (tmp_path / "out/summary.html").exists()
