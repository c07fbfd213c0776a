"""The manifest: which folders can be prepared into, and what reset removes."""

import json

import pytest
import soundfile

from sed.errors import TableError, UsageError
from tests.conftest import rising_noise
from tests.train.prepare.prepared import RATE, contents, sed
from train.prepare.manifest import reset
from train.prepare.prepare import prepare


def test_folders_that_cannot_be_prepared_into(source, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(UsageError, match="file: is a file"):
        prepare(source, tmp_path / "file")
    with pytest.raises(UsageError, match=r"files that sed prepare did not make: notes\.txt"):
        prepare(source, tmp_path / "mine")
    with pytest.raises(UsageError, match="lies in the source"):
        prepare(source, source / "prepared")
    with pytest.raises(UsageError, match="lies in the source"):
        prepare(source, source)
    with pytest.raises(TableError):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "name the folder to prepare into" in str(sed("prepare", source).exception)


def test_other_options_are_refused_with_the_way_out(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    before = contents(out)
    with pytest.raises(
        UsageError,
        match=r"out: was prepared with other options: sample_rate 8000 before, 16000 now; "
        "trim_db none "
        r"before, 40 now\. Remove that first \(--reset\), or name another folder\.",
    ):
        prepare(source, out, sample_rate=16_000, trim_db=40)
    with pytest.raises(UsageError, match=r"source .*source before, .*dog now"):
        prepare(source / "dog", out, sample_rate=RATE)
    assert contents(out) == before


def test_a_file_in_the_way_is_not_overwritten(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    (out / "audio/dog/mine.wav.wav").write_text("mine")
    soundfile.write(source / "dog/mine.wav", rising_noise(RATE), RATE)
    with pytest.raises(UsageError, match=r"would overwrite: dog/mine\.wav\.wav"):
        prepare(source, out, sample_rate=RATE)
    assert (out / "audio/dog/mine.wav.wav").read_text() == "mine"


def test_reset_removes_the_prepared_files_and_nothing_else(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    assert sed("prepare", source, out, "--reset").exit_code == 0
    assert not out.exists()

    prepare(source, out, sample_rate=RATE)
    (out / "audio/cat/notes.txt").write_text("mine")
    (out / "audio/dog/1.wav.wav").write_text("mine, too")
    done = sed("prepare", out, "--reset")
    assert "7 files removed" in done.stderr  # five recordings, the index, the record
    assert "did not make it: audio/cat/notes.txt, audio/dog/1.wav.wav" in done.stderr
    assert contents(out) == {"audio/cat/notes.txt": b"mine", "audio/dog/1.wav.wav": b"mine, too"}
    assert len(list(source.rglob("*.*"))) == 6
    done = sed("prepare", source, out, "--reset")
    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match="not made by sed prepare"):
        reset(source)


@pytest.mark.parametrize("name", ["../source/cat/1.wav", "/etc/hostname"])
def test_a_record_that_leads_elsewhere_is_not_followed(source, tmp_path, name):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    record = json.loads((out / "prepared.json").read_text("utf-8"))
    record["files"][name] = None
    (out / "prepared.json").write_text(json.dumps(record), "utf-8")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"its prepared\.json is damaged"):
        reset(out)
    assert contents(tmp_path) == before


def test_a_link_that_leads_elsewhere_is_not_followed(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    (out / "audio/cat").rename(tmp_path / "moved")
    (out / "audio/cat").symlink_to(tmp_path / "moved")
    reset(out)
    assert len(list((tmp_path / "moved").iterdir())) == 3
