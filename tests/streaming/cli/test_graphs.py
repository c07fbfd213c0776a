"""`sed models add` registers graphs of others, and the commands know them by their names."""

import json

import pytest
import soundfile

from sed.cli import run
from tests.conftest import TINY_LOG_MEL
from tests.streaming.engines.graphs.tiny import RATE, SPECIES, levels, write_onnx, write_tflite


@pytest.fixture
def sed(capsys, tmp_path, monkeypatch):
    """Return a function that runs a command; it returns status, output and errors."""
    monkeypatch.setenv("SED_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("SED_CACHE", str(tmp_path / "cache"))

    def call(*arguments):
        status = run([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{scientific}_{common}\n" for scientific, common in SPECIES))
    return path


def test_a_graph_is_added_described_and_used(sed, labels, tmp_path):
    graph = write_tflite(tmp_path / "a.tflite")
    described = tmp_path / "models" / "owls.json"
    options = "--labels", labels, "--sample-rate", RATE, "--activation", "sigmoid"
    done = sed("models", "add", graph, "owls", *options, "--threshold", 0.9, "--licence", "CC0")
    assert done == (0, "", f"{described}: 3 classes. Use it: sed detect RECORDINGS --model owls\n")
    assert (tmp_path / "models" / "owls.tflite").read_bytes() == graph.read_bytes()
    soundfile.write(tmp_path / "night.wav", levels(0.0, 0.5, 0.0), RATE, "FLOAT")
    status, out, _ = sed("detect", tmp_path / "night.wav", "--model", "owls", "-q")
    assert status == 0
    assert out.splitlines()[1].endswith(",1.000,2.000,Tawny Owl,0.9933,Strix aluco,Tawny Owl")
    assert sed("info", "owls")[1].splitlines() == [
        f"{described}: a graph of others, owls.tflite",
        "  input     samples: samples at 8 kHz, windows of 1 s, one every 1 s",
        "  output    scores, activation sigmoid",
        "  events    onset threshold 0.9, offset threshold 0.9",
        "  licence   CC0",
        "  3 classes: Tawny Owl, Eagle Owl, Noise",
    ]
    (row,) = [m for m in json.loads(sed("models", "--json")[1]) if m["name"] == "owls"]
    assert (row["labels"], row["licence"]) == (["Tawny Owl", "Eagle Owl", "Noise"], "CC0")


def test_a_graph_of_a_log_mel(sed, labels, tmp_path):
    graph = write_onnx(tmp_path / "a.onnx", [1, 100, 24], n_values=2_400)
    table = {name: getattr(TINY_LOG_MEL, name) for name in ("sample_rate", "n_mels", "hop_length")}
    table |= {"win_length": 128, "n_fft": 128, "f_min": 60.0, "f_max": 4_000.0}
    (tmp_path / "mel.json").write_text(json.dumps({"log_mel": table}))
    options = "--labels", labels, "--log-mel", tmp_path / "mel.json", "--activation", "sigmoid"
    assert sed("models", "add", graph, "owls", *options)[0] == 0
    assert "samples: 24 mel bands at 8 kHz, windows of 1 s" in sed("info", "owls")[1]
    (tmp_path / "mel.json").write_text('{"mels": 24}')
    status, _, err = sed("models", "add", graph, "more", *options)
    assert (status, "mel.json: no parameters of a log-mel (unknown key 'mels'" in err) == (2, True)


def test_what_is_missing_or_does_not_fit(sed, labels, tmp_path):
    graph = write_onnx(tmp_path / "a.onnx")
    status, _, err = sed("models", "add", graph, "owls")
    assert (status, "a graph has no names of classes: give --labels FILE" in err) == (2, True)
    status, _, err = sed("models", "add", graph, "owls", "--labels", labels)
    assert (status, "its sample rate is not known: give --sample-rate" in err) == (2, True)
    status, _, err = sed("models", "add", "mine.safetensors", "owls", "--labels", labels)
    assert status == 2
    assert "options about graphs of others do not fit a checkpoint" in err
    assert not (tmp_path / "models").exists()


def test_a_registered_graph_is_copied_by_its_name(sed, labels, tmp_path):
    graph = write_onnx(tmp_path / "a.onnx").rename(tmp_path / "A.ONNX")
    options = "--labels", labels, "--sample-rate", RATE, "--activation", "sigmoid"
    assert sed("models", "add", graph, "owls", *options, "--threshold", 0.9)[0] == 0
    assert (tmp_path / "models" / "owls.onnx").exists()
    assert sed("models", "add", "owls", "birds", "-q") == (0, "", "")
    text = sed("info", "birds")[1]
    assert "onset threshold 0.9" in text
    assert "birds.onnx" in text
    status, _, problem = sed("models", "add", "owls", "more", *options)
    assert (status, "do not fit a checkpoint or a name" in problem) == (2, True)
