import json

import numpy as np
import pytest
import soundfile
import torch

import sed
from sed.models.backbone import ModelConfig
from sed.models.checkpoint import Checkpoint
from sed.models.network import SedModel
from tests.conftest import TINY_LOG_MEL, rising_noise
from train.distill.classes import read_classes
from train.distill.thresholds import ThresholdConfig

labelled_sound = pytest.importorskip("benchmarks.figures.labelled_sound")
publish_general = pytest.importorskip("benchmarks.figures.publish_general")

CLIPS = [  # fold, category, licence
    ("1", "dog", "CC0"),
    ("2", "dog", "CC0"),
    ("3", "rain", "CC-BY"),
    ("4", "siren", "CC-BY-NC"),
    ("5", "can_opening", "CC0"),
]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Return a data folder with a few clips."""
    monkeypatch.setenv("SED_SHARED", str(tmp_path))
    folder = tmp_path / "data"
    (folder / "esc50" / "audio").mkdir(parents=True)
    (folder / "drone").mkdir()
    rows, lines = ["filename,fold,category,licence"], []
    for i, (fold, category, licence) in enumerate(CLIPS):
        name = f"{fold}-10{i}-A"
        soundfile.write(folder / "esc50" / "audio" / f"{name}-{i}.ogg", rising_noise(40_000), 8_000)
        rows.append(f"{name}-{i}.ogg,{fold},{category},{licence}")
        lines.append(f"- [{name}.ogg]: clip derived from somewhere [{licence}]")
    soundfile.write(folder / "drone" / "DRONE_001.ogg", rising_noise(80_000, 1), 8_000)
    (folder / "esc50" / "esc50.csv").write_text("\n".join(rows), "utf-8")
    (folder / "esc50" / "LICENSE.txt").write_text("\n".join(lines), "utf-8")
    return folder


def random_checkpoint(labels):
    model = SedModel(ModelConfig("mobilenetv2_035", hidden=16), TINY_LOG_MEL, len(labels)).eval()
    return Checkpoint(model, tuple(labels), 1.0)


def test_only_free_clips_without_fold_1_are_used(data):
    clips = labelled_sound.labelled_clips(data)
    assert [one.path.name for one in clips] == [
        *("2-101-A-1.ogg", "3-102-A-2.ogg", "5-104-A-4.ogg", "DRONE_001.ogg")
    ]
    assert [one.label.label for one in clips] == ["dog", "rain", "can_opening", "DRONE"]


def test_clips_come_singly_and_in_pairs(data):
    clips = labelled_sound.labelled_clips(data)
    parts = list(labelled_sound.sequence(clips, 8_000))
    assert [len(labels) for _, labels in parts] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert sum(len(samples) for samples, _ in parts) == 2 * 25 * 8_000
    assert sorted(labels[0].label for _, labels in parts[4:]) == [
        *("DRONE", "can_opening", "dog", "rain")
    ]
    assert all(np.abs(samples).max() < 0.991 for samples, _ in parts[4:])


def test_a_published_model_has_thresholds_hierarchy_card_and_attribution(data, tmp_path):
    names = [one.name for one in read_classes()]
    output = tmp_path / "out"
    output.mkdir()
    checkpoint = random_checkpoint(names)
    publish_general.publish(checkpoint, output, ThresholdConfig(lowest=0.3), engine="torch")

    metadata = json.loads((output / "general.json").read_text("utf-8"))
    assert metadata["hierarchy"]["dog"] == ["pet", "canine"]
    assert "animal" not in metadata["hierarchy"]
    assert metadata["audioset"]["dog"] == {"name": "Dog", "id": "/m/0bt9lr"}
    assert list(metadata["thresholds_from"]) == names
    assert metadata["thresholds_from"]["noise"] == "background"
    assert metadata["weights"]["dtype"] == "float16"

    stored = sed.load_model(output / "general.safetensors")
    onset, offset = stored.post_processing.onset_threshold, stored.post_processing.offset_threshold
    assert len(onset) == 521
    assert np.allclose(np.array(offset), 0.3 * np.array(onset), atol=1e-4)
    assert all(torch.isfinite(p).all() for p in stored.model.parameters())

    card = (output / "GENERAL_CARD.md").read_text("utf-8")
    assert all(f"By rule: {rule}" in card for rule in publish_general.RULES)
    attribution = (output / "GENERAL_ATTRIBUTION.md").read_text("utf-8")
    assert [line for line in attribution.splitlines() if line.startswith("- ")] == [
        "- [2-101-A.ogg]: clip derived from somewhere [CC0]",
        "- [3-102-A.ogg]: clip derived from somewhere [CC-BY]",
        "- [5-104-A.ogg]: clip derived from somewhere [CC0]",
    ]


def test_other_classes_are_refused():
    engine = sed.open_engine(random_checkpoint(["dog", "cat"]))
    with pytest.raises(SystemExit, match="not those of AudioSet"):
        publish_general.fit(engine, [], ThresholdConfig())
