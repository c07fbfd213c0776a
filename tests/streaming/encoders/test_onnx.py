"""Graphs in ONNX that take samples are encoders; the graphs are made here."""

import numpy as np
import pytest

from sed.errors import CheckpointError, UsageError
from streaming.engines.select import open_engine
from tests.streaming.encoders.tiny import noise

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RATE = 1_000
FRAME = 100
STATISTICS = {"mean": "ReduceMean", "least": "ReduceMin", "largest": "ReduceMax"}


def write_graph(path, shape, *, frames=True, kind="FLOAT", rate=RATE, more_outputs=()):
    """Write a graph that gives mean, least and largest sample: of each 100, or of the window."""
    helper, types = onnx.helper, onnx.TensorProto
    n_batch_axes = min(1, len(shape) - 1)
    grid = [0] * n_batch_axes + [-1, FRAME]  # 0 keeps the length of the batch
    axis = len(grid) - 1 if frames else len(shape) - 1
    nodes = [
        helper.make_node("Constant", [], ["grid"], value_ints=grid),
        helper.make_node("Constant", [], ["axis"], value_ints=[axis]),
        helper.make_node("Reshape", ["samples", "grid"], ["rows"]),
        *(
            helper.make_node(kind, ["rows" if frames else "samples", "axis"], [name], keepdims=1)
            for name, kind in STATISTICS.items()
        ),
        helper.make_node("Concat", list(STATISTICS), ["stats"], axis=axis),
        helper.make_node("Shape", ["samples"], ["counts"]),
    ]
    outputs = {"counts": types.INT64} | dict.fromkeys((*more_outputs, "stats"), types.FLOAT)
    graph = helper.make_graph(
        nodes,
        "statistics",
        [helper.make_tensor_value_info("samples", getattr(types, kind), shape)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if rate is not None:
        helper.set_model_props(model, {"sample_rate": str(rate)})
    onnx.save(model, path)
    return path


def statistics(samples, length):
    rows = samples.reshape(len(samples), -1, length)
    return np.stack([rows.mean(axis=2), rows.min(axis=2), rows.max(axis=2)], axis=2)


def embed(engine, samples):
    return engine.infer(np.stack([engine.extract_features(row) for row in samples])).embeddings


@pytest.mark.parametrize("shape", [[1_000], [1, 1_000], ["batch", 1_000], ["batch", 1, "n"]])
def test_frames_of_each_shape_of_input(tmp_path, shape):
    graph = write_graph(tmp_path / "frames.onnx", shape)
    window = {"window_seconds": 1.0} if shape[-1] == "n" else {}
    engine = open_engine(graph, layer="last", **window)
    samples = noise(3, 1_000)
    np.testing.assert_allclose(embed(engine, samples), statistics(samples, FRAME), atol=1e-6)
    assert (engine.spec.window_seconds, engine.n_features, engine.spec.labels) == (1.0, 3, ())
    assert engine.spec.timeline.frame_seconds == 0.1
    assert str(engine).startswith("ONNX Runtime ")


@pytest.mark.parametrize("shape", [[600], ["batch", 600]])
def test_one_frame_for_a_window(tmp_path, shape):
    engine = open_engine(
        write_graph(tmp_path / "window.onnx", shape, frames=False), layer="features"
    )
    samples = noise(2, 600)
    np.testing.assert_allclose(embed(engine, samples), statistics(samples, 600), atol=1e-6)
    assert engine.spec.n_frames == 1
    assert engine.spec.window_columns == engine.spec.frame_columns == 10


def test_an_output_is_chosen_by_its_name(tmp_path):
    graph = write_graph(tmp_path / "two.onnx", ["batch", 600], more_outputs=["largest"])
    samples = noise(2, 600)
    by_name = embed(open_engine(graph, layer="stats"), samples)
    np.testing.assert_allclose(by_name, statistics(samples, FRAME), atol=1e-6)
    first = embed(open_engine(graph, layer="last"), samples)
    np.testing.assert_array_equal(first, by_name[..., 2:])
    with pytest.raises(UsageError, match=r"there is no output 'stat'.*stats"):
        open_engine(graph, layer="stat")
    with pytest.raises(CheckpointError, match=r"found counts \(2,\)\. Name another output"):
        open_engine(graph, layer="counts")


def test_frames_that_do_not_divide_the_window_end_with_it():
    from streaming.encoders.onnx import _spec

    spec = _spec(16_000, 80_000, 249)  # wav2vec 2.0: frames of 320 samples
    assert spec.timeline.frame_samples == 320
    assert spec.frame_edges[-1] == 250
    spec = _spec(16_000, 163_840, 101)  # AST: 1,600
    assert spec.timeline.frame_samples == 1_600
    assert spec.frame_edges[-2:].tolist() == [500, 512]
    assert spec.log_mel.hop_length == 320


def test_a_graph_must_say_what_it_takes(tmp_path):
    graph = write_graph(tmp_path / "silent.onnx", ["batch", 600], rate=None)
    with pytest.raises(UsageError, match="its sample rate is unknown: give --sample-rate"):
        open_engine(graph, layer="last")
    assert open_engine(graph, layer="last", sample_rate=100).spec.window_seconds == 6.0
    with pytest.raises(UsageError, match=r"takes windows of 0\.6 s \(600 samples\)"):
        open_engine(graph, layer="last", sample_rate=1_000, window_seconds=2.0)
    with pytest.raises(UsageError, match="expected a sample rate above 0 Hz"):
        open_engine(graph, layer="last", sample_rate=-1)
    with pytest.raises(UsageError, match="leave out --device cuda"):
        open_engine(graph, layer="last", sample_rate=100, device="cuda")
    with pytest.raises(UsageError, match="computes in fp32, not in bf16"):
        open_engine(graph, layer="last", sample_rate=100, precision="bf16")


def test_graphs_without_samples_are_refused(tmp_path):
    graph = write_graph(tmp_path / "whole.onnx", ["batch", 600], kind="INT32")
    with pytest.raises(CheckpointError, match=r"expected one input .* found samples \(any, 600\)"):
        open_engine(graph, layer="last")
    graph = write_graph(tmp_path / "odd.onnx", ["batch", "n"])
    with pytest.raises(CheckpointError, match="does not run on windows of 550 samples"):
        open_engine(graph, layer="last", window_seconds=0.55)
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="cannot be read as ONNX"):
        open_engine(tmp_path / "no.onnx", layer="last")


def test_detection_needs_a_graph_with_classes(tmp_path):
    graph = write_graph(tmp_path / "frames.onnx", ["batch", 600])
    with pytest.raises(CheckpointError, match="`sed embed` takes any graph of samples"):
        open_engine(graph, engine="onnx")
