"""The models that ship: their size, their classes, and what they find in the example."""

import csv
from pathlib import Path

import pytest

import sed
from sed.models.registry import SHIPPED_FOLDER
from train.distill.classes import class_hierarchy, read_classes

EXAMPLE = Path(__file__).parents[3] / "examples" / "village.ogg"
# True labels of the example, and the class of general that a right detection has, or is above it.
NAMED_ALIKE = {
    "rooster": "rooster",
    "church_bells": "church_bell",
    "dog": "dog",
    "toilet_flush": "toilet_flush",
    "crying_baby": "baby_cry",
    "vacuum_cleaner": "vacuum_cleaner",
    "sneezing": "sneeze",
    "sheep": "sheep",
    "hand_saw": "sawing",
    "siren": "siren",
    "train": "train",
    "clapping": "clapping",
    "crow": "crow",
    "rain": "rain",
    "pig": "pig",
}


def test_both_models_are_small():
    sizes = {path.stem: path.stat().st_size for path in SHIPPED_FOLDER.glob("*.safetensors")}
    assert set(sizes) == {"everyday", "general"}
    assert sizes["general"] <= 16e6
    assert sum(path.stat().st_size for path in SHIPPED_FOLDER.iterdir()) <= 20e6


def test_general_has_the_classes_and_the_hierarchy_of_audioset():
    pytest.importorskip("torch")
    spec = sed.load_model("general")
    classes = read_classes()
    assert list(spec.labels) == [one.name for one in classes]
    assert len(classes) == 521
    assert spec.timeline.frame_seconds == pytest.approx(0.16)
    assert spec.hierarchy is not None
    assert spec.hierarchy.as_dict() == class_hierarchy().as_dict()
    assert spec.audioset["dog"] == {"name": "Dog", "id": "/m/0bt9lr"}


def test_general_finds_most_of_the_example():
    with open(EXAMPLE.with_suffix(".tsv"), newline="") as file:
        truth = [
            (float(row["onset"]), NAMED_ALIKE[row["event_label"]])
            for row in csv.DictReader(file, delimiter="\t")
            if row["event_label"] in NAMED_ALIKE
        ]
    events = list(sed.detect(EXAMPLE, model="general"))
    hierarchy = class_hierarchy()
    found = [
        any(
            abs(event.onset - onset) <= 1.0
            and event.label in (label, *hierarchy.descendants(label))
            for event in events
        )
        for onset, label in truth
    ]
    assert len(truth) == 15
    assert sum(found) >= 13
