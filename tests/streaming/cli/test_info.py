"""`sed info` describes exported graphs as it does checkpoints."""

import json

import pytest

import sed
from sed.cli import run
from sed.models.checkpoint import save_checkpoint
from streaming.export.onnx_file import METADATA_KEY, read_onnx_metadata
from streaming.export.openvino import METADATA_KEY as OPENVINO_KEY

onnx = pytest.importorskip("onnx", reason="needs the onnx extra")


@pytest.fixture(scope="module")
def graph(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    save_checkpoint(tiny_checkpoint, folder / "tiny.safetensors")
    return sed.export(tiny_checkpoint, folder / "tiny", "onnx")


def rewritten(graph, path, **changes):
    """Write a graph with other metadata."""
    model = onnx.load(graph)
    metadata = read_onnx_metadata(graph)
    metadata["spec"] |= changes.pop("spec", {})
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata | changes)})
    onnx.save(model, path)
    return path


def as_openvino(graph, path):
    openvino = pytest.importorskip("openvino", reason="needs the openvino extra")
    model = openvino.Core().read_model(graph)
    model.set_rt_info(json.dumps(read_onnx_metadata(graph)), OPENVINO_KEY)
    openvino.save_model(model, path)
    return path


def test_an_exported_graph_is_described_as_its_checkpoint(graph, tmp_path, capsys):
    assert run(["info", str(graph.with_name("tiny.safetensors"))]) == 0
    checkpoint = capsys.readouterr().out.splitlines()
    shared = [line for line in checkpoint if line.split()[0] in ("input", "events", "3", "made")]
    assert len(shared) == 4
    for path, form in ((graph, "ONNX"), (as_openvino(graph, tmp_path / "tiny.xml"), "OpenVINO")):
        assert run(["info", str(path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{path}: an exported graph, {form}"
        assert [line for line in lines if line in shared] == shared
        assert "  layer     features" in lines
        (output,) = (line for line in lines if line.startswith("  output"))
        assert "frames of " in output
        assert "a frame depends on " in output
    assert run(["info", str(graph), "--classes"]) == 0
    table = capsys.readouterr().out.splitlines()[-4:]
    assert table[0].split()[-2:] == ["onset", "offset"]
    assert table[1].split()[0] == "beep"


def test_texts_of_a_graph_steer_no_terminal(graph, tmp_path, capsys):
    hostile = "a\x1b]0;mine\x07\nb"
    path = rewritten(
        graph,
        tmp_path / "a.onnx",
        spec={"labels": [hostile, "b", "c"]},
        data={hostile: hostile},
        versions={hostile: hostile},
        embeddings={"layer": hostile},
    )
    assert run(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.count("\n") == len(out.splitlines()) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "exported by a newer version"),
        ({"spec": {"window_seconds": 1e9}}, "window_seconds is 1000000000"),
        ({"spec": {"labels": "abc"}}, "expected labels as a list of names"),
        ({"receptive_field": [-1, 0]}, "expected receptive_field from 0"),
        ({"spec": {"n_frames": None}}, "the metadata of this graph is incomplete"),
    ],
)
def test_faulty_metadata_of_a_graph_are_refused(graph, tmp_path, capsys, changes, message):
    assert run(["info", str(rewritten(graph, tmp_path / "a.onnx", **changes))]) == 1
    assert message in capsys.readouterr().err


def test_graphs_of_others_and_files_that_are_none(graph, tmp_path, capsys):
    model = onnx.load(graph)
    onnx.helper.set_model_props(model, {})
    onnx.save(model, tmp_path / "other.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    for name in ("other", "bad", "missing"):
        assert run(["info", str(tmp_path / f"{name}.onnx")]) == 1
    err = capsys.readouterr().err
    assert "was not written by `sed export`" in err
    assert "bad.onnx: cannot be read as ONNX" in err
    assert "missing.onnx: no such file" in err
