import re
from collections import Counter

import pytest

from sed.errors import UsageError
from train.distill.classes import (
    BACKGROUND,
    ancestors,
    descendants,
    read_classes,
    read_label_map,
)

CLASSES = read_classes()
NAMES = [one.name for one in CLASSES]
COLLECTIONS = {"esc50": 50, "kitchen20": 20, "sesa": 4, "drone": 3}


def kinds(name):
    """Return the topmost ancestors of a class."""
    parents = {one.name: one.parents for one in CLASSES}
    return {top for top in ancestors(name) | {name} if not parents.get(top)}


def test_each_class_has_a_name_and_an_id_of_its_own():
    assert len(CLASSES) == 521
    assert len(set(NAMES)) == len({one.audioset_name for one in CLASSES}) == 521
    assert len({one.audioset_id for one in CLASSES}) == 521
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", name) for name in NAMES)
    assert all(re.fullmatch("/[mtg]/[0-9a-z_]+", one.audioset_id) for one in CLASSES)


def test_the_order_and_the_display_names_are_those_of_yamnet(shared):
    path = shared / "weights" / "yamnet_labels.txt"
    assert [one.audioset_name for one in CLASSES] == path.read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    ("name", "audioset_name", "audioset_id", "parents"),
    [
        ("speech", "Speech", "/m/09x0r", ("human",)),
        ("dog", "Dog", "/m/0bt9lr", ("pet", "canine")),
        ("car_horn", "Vehicle horn, car horn, honking", "/m/0912c9", ("motor_vehicle",)),
        ("police_siren", "Police car (siren)", "/m/04qvtq", ("siren", "emergency_vehicle")),
        ("firecracker", "Firecracker", "/g/122z_qxw", ("fireworks",)),
        ("field_recording", "Field recording", "/m/07hvw1", ("ambience",)),
    ],
)
def test_examples_of_classes(name, audioset_name, audioset_id, parents):
    one = CLASSES[NAMES.index(name)]
    assert (one.audioset_name, one.audioset_id, one.parents) == (
        audioset_name,
        audioset_id,
        parents,
    )


def test_the_hierarchy_has_fourteen_kinds_and_no_circle():
    of_all = Counter(kind for name in NAMES for kind in kinds(name))
    assert set(of_all) == {
        *("human", "animal", "music", "nature", "vehicle", "machine", "household", "alarm"),
        *("tool", "explosion", "impact", "friction", "signal", "ambience"),
    }
    assert min(of_all.values()) >= 5
    assert all(name not in ancestors(name) for name in NAMES)
    assert all(1 <= len(kinds(name)) <= 3 for name in NAMES)


def test_a_kind_is_a_name_of_no_class_or_a_class_without_parents_that_has_children():
    for one in CLASSES:
        assert one.parents or descendants(one.name)
    pure = {parent for one in CLASSES for parent in one.parents} - set(NAMES)
    assert {"human", "nature", "household", "ambience"} <= pure
    assert not pure & {"animal", "music", "vehicle", "alarm", "tool"}


def test_ancestors_and_descendants_of_a_class():
    assert ancestors("bark") == {"dog", "pet", "canine", "animal"}
    assert descendants("glass") == {"clink", "shatter"}
    assert descendants("alarm") >= {"siren", "police_siren", "smoke_alarm", "car_alarm"}
    assert kinds("police_siren") == {"alarm", "vehicle"}
    assert kinds("animal") == {"animal"}


@pytest.mark.parametrize(("collection", "n_labels"), COLLECTIONS.items())
def test_labels_of_a_collection_map_to_classes(collection, n_labels):
    labels = read_label_map(collection)
    assert len(labels) == n_labels
    for one in labels.values():
        assert one.name is None or one.name in NAMES
        assert one.related <= set(NAMES) - {one.name}
        assert one.related >= descendants(BACKGROUND)


def test_examples_of_mapped_labels():
    labels = read_label_map("esc50")
    names = {label: one.name for label, one in labels.items()}
    assert (names["dog"], names["door_wood_knock"]) == ("dog", "knock")
    assert (names["can_opening"], names["washing_machine"]) == (None, None)
    assert sum(name is not None for name in names.values()) == 47
    rain = labels["rain"].related
    assert {"raindrop", "rain_on_surface", "water", "thunder"} <= rain
    assert not {"rain", "waves", "frying", "dog"} & rain
    assert {"police_siren", "ambulance_siren", "emergency_vehicle"} <= labels["siren"].related
    assert {"bird", "chirp"} <= labels["chirping_birds"].related
    assert {"idling", "vehicle"} <= labels["engine"].related


def test_a_label_speaks_against_the_classes_of_the_other_labels():
    labels = read_label_map("esc50")
    assert "chainsaw" in descendants("engine")
    assert "chainsaw" not in labels["engine"].related
    assert "engine" in labels["chainsaw"].related
    assert "snoring" not in labels["breathing"].related


def test_a_label_of_the_rest_says_only_what_is_not_there():
    casual = read_label_map("sesa")["casual"]
    rest = {"explosion", "siren", *descendants("explosion"), *descendants("siren")}
    assert set(NAMES) - casual.related == rest
    assert {"gunshot", "machine_gun", "police_siren"} <= rest
    background = read_label_map("drone")["BACKGROUND"]
    assert set(NAMES) - background.related == {"helicopter"}


def test_there_is_no_map_of_another_collection():
    with pytest.raises(UsageError, match="'esc51'; there are: drone, esc50, kitchen20, sesa"):
        read_label_map("esc51")
