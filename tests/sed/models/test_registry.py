import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sed
from sed.errors import CheckpointError, UsageError
from sed.models import registry
from sed.models.metadata import checkpoint_files, read_metadata
from sed.models.registry import (
    DEFAULT_MODEL,
    SHIPPED_FOLDER,
    add_model,
    check_name,
    find_model,
    is_registered,
    list_models,
    model_name,
    own_folder,
    remove_model,
    shipped_with_weights,
)

EVERYDAY = SHIPPED_FOLDER / "everyday.safetensors"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return an empty folder of own models, in an empty working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("SED_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def added(name="birds", **options):
    weights, metadata = checkpoint_files(EVERYDAY)
    return add_model(name, metadata.read_bytes(), {".safetensors": weights}, **options)


def test_a_shipped_model_is_found_by_its_name_and_as_the_default(own):
    default = SHIPPED_FOLDER / f"{DEFAULT_MODEL}.safetensors"
    assert find_model() == find_model("default") == default
    assert find_model("everyday") == find_model(Path("everyday")) == EVERYDAY
    assert model_name(None) == model_name("default") == DEFAULT_MODEL
    assert model_name("hf:a/b") == "hf:a/b"


def test_a_name_loads_the_model_and_a_path_is_left_as_it_is(own):
    pytest.importorskip("torch")
    assert sed.load_model("everyday").path == str(EVERYDAY)
    for path in ("./everyday", "runs/mine", "everyday.onnx", "hf:a/b", "/everyday", "~/x"):
        assert find_model(path) == Path(path)


def test_a_name_wins_over_a_path_without_separator_and_a_path_is_used_where_there_is_no_name(own):
    for name in ("everyday", "mine"):
        Path(name).mkdir()
    Path("saved.safetensors").touch()
    assert find_model("everyday") == EVERYDAY
    assert find_model("mine") == Path("mine")
    assert find_model("saved") == Path("saved")
    assert added("mine") == find_model("mine") == own / "mine.safetensors"


def test_an_unknown_name_is_an_error_that_lists_near_names_and_places(own):
    pytest.importorskip("torch")
    added("village_birds")
    with pytest.raises(CheckpointError) as raised:
        sed.load_model("vilage_birds")
    message = str(raised.value)
    assert message.startswith("vilage_birds: no such file, and no model of this name. ")
    assert "Did you mean village_birds?" in message
    assert f"in {own} and as a path; `sed models` lists them." in message
    with pytest.raises(CheckpointError, match=r"evryday: .* Did you mean everyday\?"):
        sed.open_engine("evryday")


def test_a_shipped_model_that_is_missing_says_so(own, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match="general: this model is not part of this install"):
        find_model("general")
    assert list_models() == []


def test_models_are_listed_with_what_their_json_says(own):
    pytest.importorskip("torch")
    added()
    own.joinpath("broken.json").write_text("{")
    own.joinpath("other.json").write_text('{"format": "another"}')
    own.joinpath("lost.json").write_bytes(EVERYDAY.with_suffix(".json").read_bytes())
    own.joinpath("Not a name.json").write_text("{}")
    entries = {entry.name: entry for entry in list_models()}
    assert list(entries)[-4:] == ["birds", "broken", "lost", "other"]
    birds, everyday = entries["birds"], entries["everyday"]
    assert (birds.is_shipped, everyday.is_shipped) == (False, True)
    assert birds.labels == everyday.labels == sed.load_model("birds").labels
    assert birds.n_bytes == sum(file.stat().st_size for file in own.glob("birds.*"))
    assert [name for name, entry in entries.items() if entry.is_default] == [DEFAULT_MODEL]
    assert birds.problem == everyday.problem == ""
    assert entries["broken"].problem == "broken.json is not JSON"
    assert entries["other"].problem == "other.json does not describe a model"
    assert entries["lost"].problem == "lost.safetensors is missing"


def test_a_model_is_added_once_replaced_on_request_and_removed(own):
    path = added()
    assert read_metadata(path) == read_metadata(EVERYDAY)
    with pytest.raises(UsageError, match=f"birds: there is a model of this name in {own}"):
        added()
    graph = own.parent / "g.tflite"
    graph.write_bytes(b"graph")
    metadata = json.dumps({"format": registry.GRAPH_FORMAT, "labels": ["wren"]}).encode()
    assert add_model("birds", metadata, {".tflite": graph}, replace=True) == own / "birds.json"
    assert sorted(p.name for p in own.iterdir()) == ["birds.json", "birds.tflite"]
    assert list_models()[-1].labels == ("wren",)
    remove_model("birds")
    assert list(own.iterdir()) == []
    assert not is_registered("birds")
    with pytest.raises(CheckpointError, match=f"birds: no such model in {own}"):
        remove_model("birds")
    with pytest.raises(UsageError, match="everyday: is part of this package"):
        remove_model("everyday")


def test_a_file_that_cannot_be_read_leaves_the_model_as_it_was(own):
    path = added()
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="gone: cannot read: No such file"):
        add_model("birds", b"{}", {".safetensors": "gone"}, replace=True)
    assert path.read_bytes() == before
    assert sorted(p.name for p in own.iterdir()) == ["birds.json", "birds.safetensors"]


@pytest.mark.parametrize("name", ["general", "everyday", "default", "none", "timm", "auto"])
def test_names_with_a_meaning_are_taken(name):
    with pytest.raises(UsageError, match=f"{name}: this name is taken"):
        check_name(name)


def test_a_name_that_is_not_allowed_gets_a_suggestion():
    with pytest.raises(UsageError, match="Take for example birdnet-v2-4"):
        check_name("BirdNET V2.4")


@given(st.text(max_size=70))
def test_a_name_that_is_allowed_is_a_file_in_the_folder_and_never_a_path(name):
    try:
        check_name(name)
    except UsageError:
        return
    assert registry.is_bare(name)
    assert (own_folder() / f"{name}.json").parent == own_folder()


def test_the_folder_of_own_models_follows_the_environment(monkeypatch):
    monkeypatch.setenv("SED_MODELS", "/a")
    assert own_folder() == Path("/a")
    monkeypatch.delenv("SED_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", "/b")
    assert own_folder() == Path("/b/sed-engine/models")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert own_folder() == Path("/c/.local/share/sed-engine/models")


def test_a_shipped_model_is_found_by_the_checksum_of_its_weights():
    assert shipped_with_weights(read_metadata(EVERYDAY)["weights"]["sha256"]) == "everyday"
    assert shipped_with_weights("0" * 64) is None


def test_a_broken_folder_of_models_lists_the_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("SED_MODELS", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    assert "everyday" in [entry.name for entry in list_models()]
