"""The run directory: folds, checks before the first epoch."""

import shutil

import numpy as np
import pytest
import soundfile

from sed.errors import OutputError, TableError, UsageError
from train.run.directory import check_space
from train.run.train import train


def test_folds_of_a_run_are_kept_and_never_mixed_with_other_settings(sounds, tiny, tmp_path):
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    before = (tmp_path / "folds.csv").read_bytes()
    (tmp_path / "state.safetensors").unlink()
    train(sounds, 1, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    assert (tmp_path / "folds.csv").read_bytes() == before
    with pytest.raises(
        UsageError, match=r"folds\.csv was made with another seed or other \[data\]"
    ):
        train(sounds, 1, recipe=tiny, epochs=1, seed=99, output=tmp_path, device="cpu")


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
