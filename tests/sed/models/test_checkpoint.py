import json
import os
import pickle
import shutil

import pytest
import torch

from sed.errors import CheckpointError, OutputError
from sed.models.checkpoint import load_checkpoint, load_model, save_checkpoint
from streaming.cli.info import describe


@pytest.fixture
def saved(tiny_checkpoint, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


def test_comes_back_as_it_was(saved, tiny_checkpoint):
    loaded = load_checkpoint(saved)
    assert loaded.labels == tiny_checkpoint.labels
    assert loaded.post_processing == tiny_checkpoint.post_processing
    assert loaded.timeline == tiny_checkpoint.timeline
    assert loaded.window_columns == 100
    samples = torch.randn(1, 8_000)
    torch.testing.assert_close(loaded.model(samples), tiny_checkpoint.model(samples))


def test_is_found_by_either_file_or_the_stem(saved):
    for path in (saved, saved.with_suffix(".json"), saved.with_suffix("")):
        assert load_checkpoint(path).path == str(saved)


def test_halves_its_size_in_half_precision(saved, tiny_checkpoint, tmp_path):
    small = tmp_path / "small.safetensors"
    save_checkpoint(tiny_checkpoint, small, dtype=torch.float16)
    assert small.stat().st_size < 0.6 * saved.stat().st_size
    assert next(load_checkpoint(small).model.parameters()).dtype == torch.float32


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def forget_json(path):
    path.with_suffix(".json").unlink()


def change_json(**values):
    def change(path):
        about = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps(about | values))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "corrupt, truncated or from another run"),
        (corrupt, "corrupt, truncated or from another run"),
        (forget_json, r"not a checkpoint of this engine.*tiny\.json is missing"),
        (change_json(format="another program's"), "not a checkpoint of this engine"),
        (change_json(format_version=99), "format version 99.*Upgrade: pip install -U"),
        (change_json(format_version=1), "format version 1.*version 2 only. Train it again"),
        (change_json(labels=["one"]), "do not fit together.*size mismatch"),
        (change_json(model=[1]), "do not fit together"),
        (change_json(model={"backbone_args": {"checkpoint_path": "x"}}), "cannot hold checkpoint"),
        (change_json(model={"backbone": "resnet18", "deph": 3}), "unknown key 'deph' in model"),
        (
            change_json(post_processing={"onset_threshold": 0.1, "offset_threshold": 0.9}),
            "expected 0 < offset_threshold <= onset_threshold",
        ),
        (lambda p: p.with_suffix(".json").write_text("{"), "not a checkpoint.*not JSON"),
        (lambda p: p.with_suffix(".json").write_text("[1]"), "not a checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_named_with_the_remedy(saved, damage, message):
    damage(saved)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(saved)
    assert "tiny" in str(caught.value)


@pytest.mark.parametrize("damage", [truncate, corrupt, forget_json, lambda p: p.unlink()])
def test_info_sees_the_damage_too(saved, damage):
    damage(saved)
    with pytest.raises(CheckpointError):
        describe(saved)


def test_missing_files_are_named(saved, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors: no such file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")
    saved.unlink()
    with pytest.raises(CheckpointError, match=r"Keep the .safetensors beside the .json"):
        load_checkpoint(saved.with_suffix(".json"))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_nothing_in_a_file_is_executed(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"not a checkpoint of this engine"):
        load_checkpoint(tmp_path / "model.pth")
    shutil.copy(tmp_path / "model.pth", saved)
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)
    assert not (tmp_path / "exploded").exists()


def test_a_full_disk_leaves_the_old_checkpoint(saved, tiny_checkpoint, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device. Free some space"):
        save_checkpoint(tiny_checkpoint, saved)
    assert saved.read_bytes() == before
    assert sorted(p.name for p in saved.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_the_default_model_loads_and_fits_its_card():
    model = load_model()
    assert len(repr(model).splitlines()) == 3
    assert len(model.labels) == 50
    assert model.data["licences"] == ["CC-BY", "CC0"]
    assert os.path.getsize(model.path) <= 16e6
