import json

import pytest

from sed.errors import SedError, UsageError
from sed.events.hierarchy import Hierarchy, choose_classes, read_hierarchy

LABELS = ("speech", "animal_call", "pet", "dog", "bark", "singing", "rain")
PARENTS = {
    "speech": ["human"],
    "animal_call": ["animal"],
    "pet": ["animal"],
    "dog": ["pet", "animal"],
    "bark": "dog",
    "singing": ["human", "music"],
}


@pytest.fixture
def hierarchy():
    return Hierarchy.from_dict(LABELS, PARENTS)


def test_relations(hierarchy):
    assert hierarchy.ancestors("bark") == ("dog", "pet", "animal")
    assert hierarchy.descendants("animal") == ("animal_call", "pet", "dog", "bark")
    assert hierarchy.descendants("bark") == ()
    assert hierarchy.kinds_of("singing") == ("human", "music")
    assert hierarchy.kinds_of("rain") == ("rain",)
    assert hierarchy.kinds == ("human", "animal", "music", "rain")
    assert hierarchy.names == (*LABELS, "human", "animal", "music")
    assert hierarchy.ancestor_numbers(("bark", "dog", "rain")) == [(1,), (), ()]


def test_comes_back_as_it_was(hierarchy):
    values = json.loads(json.dumps(hierarchy.as_dict()))
    assert values["bark"] == ["dog"]
    assert "rain" not in values
    assert Hierarchy.from_dict(LABELS, values) == hierarchy


def test_other_classes_keep_what_still_holds(hierarchy):
    other = hierarchy.with_labels(("bark", "owl"))
    assert other.kinds_of("bark") == ("dog",)
    assert other.names == ("bark", "owl", "dog")


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ({"dgo": ["pet"]}, r"parents to 'dgo', which is no class.*Did you mean dog"),
        ({"dog": ["pet"], "pet": ["bark"], "bark": ["dog"]}, "'pet' is among its own ancestors"),
        ({"dog": ["dog"]}, "'dog' is among its own ancestors"),
        ({"dog": 3}, "parents of 'dog': expected a list of names, got 3"),
    ],
)
def test_impossible_hierarchies_are_refused(parents, message):
    with pytest.raises(ValueError, match=message):
        Hierarchy.from_dict(LABELS, parents)


def chosen(names, hierarchy):
    return [LABELS[c] for c in choose_classes(LABELS, names, hierarchy)]


def test_a_name_chooses_a_branch(hierarchy):
    assert chosen((), hierarchy) == list(LABELS)
    assert chosen(("rain", "dog"), hierarchy) == ["rain", "dog", "bark"]
    assert chosen(("dog", "animal"), hierarchy) == ["dog", "bark", "animal_call", "pet"]
    assert chosen(("dog",), None) == ["dog"]


def test_an_unknown_name_is_refused_with_near_ones(hierarchy):
    with pytest.raises(UsageError, match=r"no class 'animl'\. Did you mean animal"):
        choose_classes(LABELS, ["animl"], hierarchy)
    with pytest.raises(UsageError, match="no class 'animal'"):
        choose_classes(LABELS, ["animal"])


def test_is_read_from_a_file(tmp_path, hierarchy):
    path = tmp_path / "h.json"
    path.write_text(json.dumps(PARENTS))
    assert read_hierarchy(str(path), LABELS) == hierarchy
    path = tmp_path / "h.toml"
    path.write_text('bark = "dog"\n')
    assert read_hierarchy(str(path), LABELS).as_dict() == {"bark": ["dog"]}
    assert read_hierarchy("", LABELS) is None
    with pytest.raises(SedError, match=r"none\.toml: cannot read the hierarchy"):
        read_hierarchy(str(tmp_path / "none.toml"), LABELS)
    for text in ("[1]", "{", '{"owl": "bird"}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UsageError, match=r"bad\.json: "):
            read_hierarchy(str(tmp_path / "bad.json"), LABELS)
