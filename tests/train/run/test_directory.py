"""The run directory: folds, checks before the first epoch."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from sed.errors import OutputError, TableError, UsageError
from sed.files import locked
from train.run import directory
from train.run.directory import CurvePlot, check_same_run, check_space
from train.run.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


def test_curves_are_drawn_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    now, drawn = 100.0, []
    monkeypatch.setattr(directory, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(directory, "plot_curves", lambda rows, path: drawn.append(list(rows)))
    curves = CurvePlot(tmp_path)
    curves.finish([])  # stopped within the first epoch
    for epoch, now in enumerate((101.0, 109.9, 110.0, 119.9, 130.0, 131.0), start=1):  # noqa: B007
        curves.update(range(epoch))
    curves.finish(range(6))
    curves.finish(range(6))
    assert [len(rows) for rows in drawn] == [3, 5, 6]
    again = CurvePlot(tmp_path)  # a run that was finished and is resumed
    again.finish(range(6))
    assert len(drawn) == 4


def test_folds_of_a_run_are_kept_and_never_mixed_with_other_settings(sounds, tiny, tmp_path):
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    before = (tmp_path / "folds.csv").read_bytes()
    for name in ("state", "best", "last"):
        (tmp_path / f"{name}.safetensors").unlink()
    train(sounds, 1, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    assert (tmp_path / "folds.csv").read_bytes() == before
    with pytest.raises(
        UsageError, match=r"folds\.csv was made with another seed or other \[data\]"
    ):
        train(sounds, 1, recipe=tiny, epochs=1, seed=99, output=tmp_path, device="cpu")


@pytest.mark.parametrize("kept", ["best", "last"])
def test_a_model_without_a_state_is_not_erased(sounds, tiny, tmp_path, kept):
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    for name in {"state", "best", "last"} - {kept}:
        (tmp_path / f"{name}.safetensors").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for resume in (True, False):
        with pytest.raises(
            UsageError, match=rf"holds a trained model, {kept}\.safetensors.*--init"
        ):
            train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu", resume=resume)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_a_run_that_another_process_trains_is_refused(sounds, tiny, tmp_path):
    (tmp_path / ".best.json.77.part").write_text("of a killed process")
    with (
        locked(tmp_path / ".lock", pytest.fail),
        pytest.raises(UsageError, match=rf"another training is using .*\(process {os.getpid()} on"),
    ):
        train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    (tmp_path / ".lock").write_text("process 77 on a machine that was switched off")
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    assert not [path for path in tmp_path.iterdir() if path.name[0] == "."]


def test_clips_that_cannot_be_read_are_listed_before_the_first_epoch(sounds, tiny, tmp_path):
    copied = tmp_path / "sounds"
    shutil.copytree(sounds, copied)
    (copied / "low" / "0.wav").write_bytes(b"")
    soundfile.write(copied / "high" / "3.wav", np.zeros(800), 8_000)
    with pytest.raises(TableError) as caught:
        train(copied, 0, recipe=tiny, output=tmp_path / "run", device="cpu")
    message = str(caught.value)
    assert "2 of 27 files cannot be used for training" in message
    assert "0.wav: is empty (0 bytes)" in message
    assert "3.wav: every sample is zero" in message
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_a_full_disk_is_reported_before_the_first_epoch(tmp_path, tiny_checkpoint, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"run: cannot write: the run needs \d+ MiB and 0 MiB"):
        check_space(tmp_path / "run", tiny_checkpoint.model, with_ema=True)


def test_after_a_refusal_the_same_command_trains_on_the_corrected_clips(sounds, tiny, tmp_path):
    copied = tmp_path / "sounds"
    shutil.copytree(sounds, copied)
    (copied / "low" / "0.wav").write_bytes(b"")
    arguments = {"recipe": tiny, "epochs": 1, "output": tmp_path / "run", "device": "cpu"}
    with pytest.raises(TableError, match="cannot be used for training"):
        train(copied, 0, **arguments)
    (copied / "low" / "0.wav").unlink()
    assert train(copied, 0, **arguments).is_file()
    assert json.loads((tmp_path / "run" / "folds.json").read_text())["n_clips"] == 26


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"folds\.json: cannot be read .* Delete it to make the folds again"),
        ("[]", r"folds\.json: is not a JSON object\. Delete it"),
        (
            '{"format_version": 2, "n_clips": 3}',
            r"folds\.json: lacks data, fingerprint, settings\.",
        ),
    ],
)
def test_a_damaged_description_of_folds_is_named(sounds, tiny, tmp_path, content, message):
    (tmp_path / "folds.csv").write_text("")
    (tmp_path / "folds.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    (tmp_path / "folds.json").unlink()
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")


@pytest.mark.parametrize("content", ["", "[1]"])
def test_a_damaged_config_of_a_run_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config\.json: .*Train into another folder"):
        check_same_run(tmp_path, {})
