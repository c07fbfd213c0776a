import json
import shutil
from datetime import date

import pytest

from sed.cli import run
from sed.models.checkpoint import load_checkpoint, save_checkpoint
from sed.models.registry import DEFAULT_MODEL, find_model
from streaming.cli.models import figures
from streaming.engines import speed as speeds
from streaming.engines.cache import write_values
from streaming.engines.speed import Speed, known_speed, measure_speed


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return an empty folder of own models; nothing is measured yet."""
    monkeypatch.setenv("SED_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("SED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "models"


@pytest.fixture
def sed(capsys):
    """Return a function that runs a command; it returns status, output and errors."""

    def call(*arguments):
        status = run([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def saved(tiny_checkpoint, tmp_path):
    """Return the path of a checkpoint of three classes."""
    save_checkpoint(tiny_checkpoint, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_model_is_added_listed_used_and_removed(sed, own, saved):
    status, out, err = sed("models", "add", str(saved), "mine")
    assert (status, out) == (0, "")
    assert err == (
        f"{own / 'mine.safetensors'}: 3 classes. Use it: sed detect RECORDINGS --model mine\n"
    )
    assert sed("models", "path", "mine")[1] == f"{own / 'mine.safetensors'}\n"
    status, out, _ = sed("models")
    row = next(line for line in out.splitlines() if line.startswith("mine"))
    assert row.split()[:2] == ["mine", "3"]
    assert row.rstrip().endswith("not measured  not stated")
    assert f"{DEFAULT_MODEL} *" in out
    assert f"your own are in {own}" in out
    assert sed("info", "mine")[1].startswith(f"{own / 'mine.safetensors'}: a checkpoint")
    assert load_checkpoint("mine").labels == load_checkpoint(saved).labels
    assert sed("models", "remove", "mine")[0] == 0
    assert "mine" not in sed("models")[1]
    status, _, err = sed("info", "mine")
    assert (status, "mine: no such file" in err) == (1, True)


def test_json_has_all_that_is_known(sed, own, saved):
    sed("models", "add", str(saved), "mine", "-q")
    status, out, _ = sed("models", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    everyday, mine = rows["everyday"], rows["mine"]
    assert (everyday["is_shipped"], mine["is_shipped"]) == (True, False)
    assert len(everyday["labels"]) == 50
    assert "MIT" in everyday["licence"]
    assert everyday["metrics"]["fold 1"]["clips"] == 400
    assert mine["n_bytes"] == sum(file.stat().st_size for file in own.iterdir())
    assert (mine["licence"], mine["speed"], mine["problem"]) == (None, None, None)
    assert mine["path"] == str(own / "mine.safetensors")


def test_what_cannot_be_added_is_refused_and_nothing_is_written(sed, own, saved, tmp_path):
    for name, message in (
        ("everyday", "everyday: this name is taken"),
        ("Mine", "Take for example mine"),
    ):
        status, _, err = sed("models", "add", str(saved), name)
        assert (status, message in err) == (2, True)
    shutil.copy(saved.with_suffix(".json"), tmp_path / "broken.json")
    (tmp_path / "broken.safetensors").write_bytes(saved.read_bytes()[:-1])
    status, _, err = sed("models", "add", str(tmp_path / "broken.json"), "mine")
    assert (status, "the weights are not those that broken.json describes" in err) == (1, True)
    assert not own.exists()
    sed("models", "add", str(saved), "mine")
    before = find_model("mine").read_bytes()
    assert sed("models", "add", "everyday", "mine")[0] == 2
    assert find_model("mine").read_bytes() == before
    assert sed("models", "add", "everyday", "mine", "--replace")[0] == 0
    assert len(load_checkpoint("mine").labels) == 50


def test_a_broken_model_is_listed_with_its_problem(sed, own):
    own.mkdir()
    (own / "broken.json").write_text("[]")
    status, out, _ = sed("models")
    assert (status, "broken.json does not describe a model" in out) == (0, True)


def test_a_speed_is_kept_and_measured_again_on_request(sed, own, saved, monkeypatch):
    sed("models", "add", str(saved), "mine", "-q")
    assert known_speed("mine") is None
    monkeypatch.setattr(speeds, "open_engine", lambda model: "an engine")
    monkeypatch.setattr(speeds, "benchmark_engine", lambda engine: 1234.56)
    today = date.today().isoformat()
    assert measure_speed("mine") == known_speed("mine") == Speed("an engine", 1234.6, today)
    out = sed("models")[1]
    row = next(line for line in out.splitlines() if line.startswith("mine"))
    assert row.split()[3] == "1,235"
    assert out.endswith(f"; speeds measured on {today}\n")
    monkeypatch.setattr(speeds, "benchmark_engine", lambda engine: 99.0)
    status, out, err = sed("models", "--measure", "--json")
    assert status == 0
    assert {row["speed"]["times_real_time"] for row in json.loads(out)} == {99.0}
    assert "measuring general\nmeasuring everyday\nmeasuring mine\n" in err or (
        "measuring everyday\nmeasuring general\nmeasuring mine\n" in err
    )
    assert known_speed("mine") == Speed("an engine", 99.0, today)


def test_a_speed_that_the_choice_of_an_engine_measured_is_known(own, saved):
    folder = speeds.export_folder(saved, saved.with_suffix(".json"))
    folder.mkdir(parents=True)
    path = speeds.engine_speeds_file(folder)
    write_values(path, {"onnx": 10.0, "openvino": 20.0, "torch": 0})
    assert known_speed(str(saved)) == Speed("openvino", 20.0, date.today().isoformat())
    write_values(path, {"onnx": 0.0})
    assert known_speed(str(saved)) is None


def test_figures_are_those_of_merit_and_of_other_data_than_validation_first():
    validation = {"loss": 0.5, "accuracy": 0.9, "n_clips": 10}
    found = figures({"validation": validation})
    assert found == "validation, 10 clips, not held out: accuracy 0.900"
    test = {"clips": 3, "padded_cmap_5": 0.8125}
    found = figures({"validation": validation, "fold 1": test})
    assert found == "fold 1, 3 clips, held out: padded cmap 5 0.812"
    assert figures({"garden": {"map": 0.5}}) == "garden: map 0.500"
    assert figures({}) == figures(None) == figures({"x": 1.0}) == ""


def test_info_groups_classes_by_kind_and_gives_their_thresholds(sed, own, saved):
    json_path = saved.with_suffix(".json")
    metadata = json.loads(json_path.read_text("utf-8"))
    metadata["labels"] = ["bird", "wren", "hum"]
    metadata["hierarchy"] = {"wren": ["bird"], "bird": ["animal"]}
    metadata["thresholds_from"] = {"wren": "f1"}
    metadata["post_processing"]["onset_threshold"] = [0.5, 0.25, 0.75]
    metadata["post_processing"]["offset_threshold"] = 0.125
    json_path.write_text(json.dumps(metadata))
    sed("models", "add", str(saved), "mine", "-q")
    assert sed("info", "mine")[1].splitlines()[-3:] == [
        "  3 classes",
        "  animal    2: bird, wren",
        "  others    1: hum",
    ]
    assert sed("info", "mine", "--classes")[1].splitlines()[-4:] == [
        "  class  kinds   onset  offset  from",
        "  bird   animal  0.500  0.125",
        "  wren   animal  0.250  0.125   f1",
        "  hum            0.750  0.125",
    ]
    del metadata["hierarchy"], metadata["thresholds_from"]
    json_path.write_text(json.dumps(metadata))
    assert sed("info", str(json_path), "--classes")[1].splitlines()[-4:] == [
        "  class  onset  offset",
        "  bird   0.500  0.125",
        "  wren   0.250  0.125",
        "  hum    0.750  0.125",
    ]


def test_info_lists_the_post_processing_of_each_class(sed, own, saved, monkeypatch):
    json_path = saved.with_suffix(".json")
    metadata = json.loads(json_path.read_text("utf-8"))
    metadata["labels"] = ["Chicken, rooster", "wren", "hum"]
    metadata["post_processing"] |= {
        "onset_threshold": [0.5, 0.25, 0.75],
        "offset_threshold": 0.125,
        "min_gap_seconds": [0.0, 0.2, 1.0],
        "median_filter_frames": 3,
    }
    json_path.write_text(json.dumps(metadata))
    assert sed("info", saved, "--thresholds")[1].splitlines() == [
        "class,onset_threshold,offset_threshold,median_filter_frames,min_duration_seconds,"
        "min_gap_seconds,decoder",
        '"Chicken, rooster",0.5,0.125,3,0,0,hysteresis',
        "wren,0.25,0.125,3,0,0.2,hysteresis",
        "hum,0.75,0.125,3,0,1,hysteresis",
    ]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = sed("info", saved, "--thresholds")[1].splitlines()
    assert lines[2].split() == ["wren", "0.25", "0.125", "3", "0", "0.2", "hysteresis"]
    assert lines[0].index("onset_threshold") == lines[1].index("0.5 ")


@pytest.mark.parametrize(
    "command", [("info", ""), ("models", "add", "", "x"), ("models", "path", "")]
)
def test_an_empty_name_is_no_model(sed, own, command):
    status, _, err = sed(*command)
    assert status == 2
    assert "got an empty text" in err
