"""No command prints what steers a terminal, whoever wrote labels, metadata and file names."""

import json
import re

import pytest
import soundfile

from sed.cli import run
from sed.models.checkpoint import save_checkpoint
from sed.models.metadata import read_metadata, sha256_of
from tests.conftest import rising_noise

# Escape sequences (clear, set a title, C1), a bell, and marks that reverse what follows.
HOSTILE = "a\x1b[2J\x1b]0;mine\x07\x9b31m\x08\u202egnp\u2066\x7f"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_checkpoint):
    """Return a folder with a checkpoint, a recording and a damaged one of such names and texts."""
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "model.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    json_path = path.with_suffix(".json")
    metadata = json.loads(json_path.read_text("utf-8"))
    metadata["labels"] = [HOSTILE, "b\r\n", "c"]
    metadata["data"] = {"author": HOSTILE, "description": [HOSTILE, "x"], HOSTILE: {"a": HOSTILE}}
    metadata["metrics"] = {HOSTILE: {"accuracy": 0.5, HOSTILE: HOSTILE}}
    metadata["versions"] = {"torch": HOSTILE, HOSTILE: "1"}
    metadata["model"]["freq_pooling"] = "mean"
    json_path.write_text(json.dumps(metadata), "utf-8")
    assert read_metadata(path)["weights"]["sha256"] == sha256_of(path)
    soundfile.write(folder / f"{HOSTILE}.wav", rising_noise(16_000), 8_000, format="WAV")
    (folder / f"bad {HOSTILE}.wav").write_text("no sound")
    return folder


COMMANDS = {
    "info about a model": ["info", "{model}"],
    "info with classes": ["info", "{model}", "--classes"],
    "info about a recording": ["info", "{sound}"],
    "info about what is missing": ["info", "{folder}/none " + HOSTILE],
    "info about what is damaged": ["info", "{folder}/bad " + HOSTILE + ".wav"],
    "detect": ["detect", "{folder}", "--model", "{model}", "-o", "{out}/x.csv", "-v"],
    "detect into a folder": ["detect", "{sound}", "--model", "{model}", "-o", "{out}/d/", "-v"],
    "a class that is not there": ["detect", "{sound}", "--model", "{model}", "--classes", HOSTILE],
    "a model that is not there": ["detect", "{sound}", "--model", "{folder}/" + HOSTILE],
    "an output that cannot be": ["detect", "{sound}", "--model", "{model}", "-o", "{sound}"],
    "an option that is not there": ["detect", "{sound}", "--" + HOSTILE],
    "a value that is no number": ["detect", "{sound}", "--hop", HOSTILE],
    "models": ["models"],
    "models in JSON": ["models", "--json"],
    "add a model": ["models", "add", HOSTILE, "{model}"],
    "a store that is not there": ["search", "{folder}/" + HOSTILE, "--like", "{sound}"],
    "prepare": ["prepare", "{folder}/" + HOSTILE, "{out}/p"],
    "train": ["train", "{folder}/" + HOSTILE, "--set", f"optim.{HOSTILE}=1"],
    "evaluate": ["evaluate", "{model}", "{folder}/" + HOSTILE],
    "predict": ["predict", "{model}", "{folder}/" + HOSTILE],
    "export": ["export", "{model}", "--to", HOSTILE],
    "bench": ["bench", "--model", "{folder}/" + HOSTILE],
    "fit": ["fit", "{folder}/" + HOSTILE, "--output", "{out}/f"],
    "plot": ["plot", "{folder}/" + HOSTILE],
    "listen": ["listen", "--model", "{folder}/" + HOSTILE, "--input", "{sound}"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_prints_what_steers_a_terminal(folder, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setenv("SED_MODELS", str(folder))
    places = {
        "{model}": str(folder / "model.safetensors"),
        "{sound}": str(folder / f"{HOSTILE}.wav"),
        "{folder}": str(folder),
        "{out}": str(tmp_path),
    }
    arguments = COMMANDS[name]
    for key, place in places.items():
        arguments = [argument.replace(key, place) for argument in arguments]
    engine = ["--engine", "torch"] if name.startswith("detect") else []
    status = run([*arguments, *engine])
    out, err = capsys.readouterr()
    assert STEERING.findall(out + err) == []
    assert "Traceback" not in err
    assert status in (0, 1, 2)
    assert out or err


@pytest.mark.parametrize("command", ["info", "detect", "prepare", "train", "plot", "export"])
def test_a_name_that_is_too_long_is_an_error_of_one_line(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = "x" * 300
    more = {"prepare": ["out"]}.get(command, [])
    assert run([command, long, *more]) in (1, 2)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert err.startswith("sed: ")
