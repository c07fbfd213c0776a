"""A graph is asked for what it says, and refused where something is missing or does not fit."""

import dataclasses
import json

import numpy as np
import pytest

from sed.errors import CheckpointError, UsageError
from sed.features.log_mel import LogMelConfig
from streaming.engines.graph_model import open_graph_model, spec_of_graph
from streaming.engines.graphs.description import (
    column_samples,
    find_graph,
    graph_files,
    graph_metadata,
    read_graph_model,
)
from streaming.engines.graphs.labels import Labels
from streaming.engines.select import open_engine
from streaming.export import onnx as onnx_metadata
from streaming.export import openvino as openvino_metadata
from tests.streaming.engines.graphs.tiny import (
    LABELS,
    RATE,
    describe,
    levels,
    logits,
    register,
    sigmoid,
    write_onnx,
    write_openvino,
    write_tflite,
)

LOG_MEL = LogMelConfig(
    sample_rate=RATE, win_length=400, hop_length=400, n_fft=512, n_mels=8, f_min=99.0, f_max=4e3
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("graph") / "owls.onnx")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite"])
@pytest.mark.parametrize("engine", ["auto", "openvino", "onnx", "tflite"])
def test_each_library_gives_the_same_scores(tmp_path, suffix, engine):
    write = {".onnx": write_onnx, ".xml": write_openvino, ".tflite": write_tflite}[suffix]
    path = register(write(tmp_path / f"owls{suffix}"))
    runs = {".onnx": ("openvino", "onnx"), ".xml": ("openvino",), ".tflite": ("tflite",)}[suffix]
    if engine not in ("auto", *runs):
        with pytest.raises(UsageError, match=f"the engine {engine} does not run owls{suffix}: lea"):
            open_engine(path, engine=engine)
        return
    opened = open_engine(path, engine=engine, n_streams=2)
    rng = np.random.default_rng(1)
    means = np.float32([0.5, -0.5, 0.0, 0.1, 9.0])[:, None]
    windows = rng.standard_normal((5, RATE), np.float32) + means
    output = opened.infer(np.stack([opened.extract_features(row) for row in windows]))
    expected = sigmoid(logits(windows))
    np.testing.assert_allclose(output.frame_probs[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(output[2].clip_probs(), expected[2], atol=1e-5)
    library = {"openvino": "OpenVINO", "onnx": "ONNX Runtime", "tflite": "LiteRT"}
    name = library[runs[0] if engine == "auto" else engine]
    assert str(opened).startswith(f"{name} ")
    assert str(opened).endswith(" on cpu, 2 threads, fp32")


def test_what_the_graph_says_is_taken_from_it(graph):
    model = describe(graph, threshold=0.3)
    assert (model.file, model.input, model.output) == ("owls.onnx", "samples", "scores")
    assert (model.window_seconds, model.hop_seconds) == (1.0, 1.0)
    spec = model.spec
    assert (spec.n_frames, spec.timeline.frame_seconds, spec.window_columns) == (1, 1.0, 50)
    assert spec.post_processing.onset_threshold == spec.post_processing.offset_threshold == 0.3
    assert spec.names_by_label()["Eagle Owl"] == ("Bubo bubo", "Eagle Owl")


@pytest.mark.parametrize(
    "shape", [[RATE], [1, RATE], [1, 1, RATE], ["b", 1, "n"], ["b", RATE, 1], None]
)
def test_inputs_of_samples(tmp_path, shape):
    path = register(write_onnx(tmp_path / "owls.onnx", shape), window_seconds=1.0)
    opened = open_graph_model(path, engine="onnx")
    windows = levels(0.5, -0.5).reshape(2, 50, 160)
    probs = opened.infer(windows).frame_probs[:, 0]
    np.testing.assert_allclose(probs, sigmoid(logits(windows.reshape(2, -1))), atol=1e-6)


@pytest.mark.parametrize("shape", [["b", 20, 8], ["b", 1, 20, 8], [1, 20, 8, 1]])
def test_inputs_of_a_log_mel(tmp_path, shape):
    graph = write_onnx(tmp_path / "mels.onnx", shape, n_values=160)
    path = register(graph, log_mel=LOG_MEL, sample_rate=None)
    opened = open_engine(path, engine="onnx")
    assert (opened.spec.log_mel, opened.spec.window_seconds) == (LOG_MEL, 1.0)
    log_mel = opened.extract_features(levels(0.5))
    assert log_mel.shape == (20, 8)
    probs = opened.infer(log_mel[None]).frame_probs[0]
    np.testing.assert_allclose(probs, sigmoid(logits(log_mel.reshape(1, -1))), atol=1e-5)
    with pytest.raises(UsageError, match="it takes 8 mel bands, and the log-mel has 9"):
        describe(graph, log_mel=dataclasses.replace(LOG_MEL, n_mels=9), sample_rate=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": None}, "its sample rate is not known: give --sample-rate"),
        ({"sample_rate": 0}, "expected a sample rate above 0 Hz, got 0"),
        (
            {"window_seconds": 3.0},
            "it takes 8000 samples, which are 1 s at 8000 Hz, and not 3 s: check --sample-rate and",
        ),
        ({"hop_seconds": 2.0}, "expected a hop above 0 and up to the window of 1 s, got 2 s"),
        ({"hop_seconds": 0.3}, "a hop of 0.3 s does not divide the window of 1 s"),
        ({"activation": "tanh"}, "unknown activation 'tanh'. Known: sigmoid, softmax, none."),
        ({"activation": None}, "the output scores is no probability .* give --activation sigmoid"),
        ({"input": "audio"}, r"there is no input 'audio'. It has: samples \(any, 8000\)"),
        ({"output": "score"}, "there is no output 'score'. Did you mean scores?"),
        ({"threshold": 0.0}, "expected a threshold above 0 and up to 1, got 0"),
        (
            {"labels": Labels(("a", "b"))},
            r"there are 2 labels, and no output has as many scores .*: scores \(1, 3\). Check --l",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit(graph, options, message):
    with pytest.raises(UsageError, match=message):
        describe(graph, **options)


def test_several_outputs(tmp_path):
    graph = write_onnx(tmp_path / "two.onnx", outputs=("logits", "probs"))
    with pytest.raises(
        UsageError, match=r"several outputs may be the scores, logits .*give --outp"
    ):
        describe(graph)
    # The second one gives probabilities, so no activation is needed.
    assert describe(graph, output="probs", activation=None).activation == "none"


def write_gain(path, gain):
    """Write a graph that gives the largest amplitude of a window, times a gain, to each class."""
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Abs", ["samples"], ["size"]),
        helper.make_node("ReduceMax", ["size", "axes"], ["peak"], keepdims=1),
        helper.make_node("MatMul", ["peak", "gains"], ["scores"]),
    ]
    gains = np.full((1, 3), gain, np.float32)
    graph = helper.make_graph(
        nodes,
        "peaks",
        [helper.make_tensor_value_info("samples", floats, ["batch", RATE])],
        [helper.make_tensor_value_info("scores", floats, None)],
        [
            onnx.numpy_helper.from_array(np.int64([1]), "axes"),
            onnx.numpy_helper.from_array(gains, "gains"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def test_an_output_within_0_and_1_for_noise_alone_is_no_probability(tmp_path, caplog):
    caplog.set_level("WARNING", logger="sed")  # also after a command with --quiet
    graph = write_gain(tmp_path / "loud.onnx", 2.0)  # quiet noise gives 0.8
    with pytest.raises(
        UsageError, match=r"no probability \(from 0 to 2 for noise, loud noise, sil"
    ):
        describe(graph, activation=None)
    assert describe(graph, activation="none").activation == "none"
    assert not caplog.records
    assert describe(write_gain(graph, 1.0), activation=None).activation == "none"
    assert (
        "taken for probabilities, as with --activation none: scores is from 0 to 1" in caplog.text
    )


def test_a_score_that_is_no_probability_is_reported_once(tmp_path, caplog):
    caplog.set_level("WARNING", logger="sed")  # also after a command with --quiet
    engine = open_engine(register(write_gain(tmp_path / "loud.onnx", 2.0), activation="none"))
    engine.infer(engine.extract_features(levels(0.4))[None])
    assert "no probability" not in caplog.text
    for _ in range(2):
        engine.infer(engine.extract_features(levels(0.75))[None])
    assert caplog.text.count("the output scores gives 1.5, which is no probability. Register") == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([4, RATE], r"the input samples \(4, 8000\) takes 4 windows at once. Export it for one"),
        ([4, RATE, 1], "takes 4 windows at once"),
        ([1, 2, RATE], "takes 2 channels at once"),
    ],
)
def test_a_fixed_batch_is_named(tmp_path, shape, message):
    with pytest.raises(UsageError, match=message):
        describe(write_onnx(tmp_path / "four.onnx", shape))


def test_an_ending_in_upper_case(tmp_path):
    graph = write_onnx(tmp_path / "a.onnx").rename(tmp_path / "A.ONNX")
    assert describe(graph).file == "A.ONNX"


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_graph_that_was_exported_here_is_refused(tmp_path, suffix):
    graph = {".onnx": write_onnx, ".xml": write_openvino}[suffix](tmp_path / f"ours{suffix}")
    if suffix == ".onnx":
        onnx = pytest.importorskip("onnx")
        loaded = onnx.load(graph)
        onnx.helper.set_model_props(loaded, {onnx_metadata.METADATA_KEY: "{}"})
        onnx.save(loaded, graph)
    else:
        openvino = pytest.importorskip("openvino")
        loaded = openvino.Core().read_model(graph)
        loaded.set_rt_info("{}", openvino_metadata.METADATA_KEY)
        openvino.save_model(loaded, tmp_path / "again.xml")
        graph = tmp_path / "again.xml"
    with pytest.raises(
        UsageError, match=r"sed export wrote this graph. Add the checkpoint that it"
    ):
        describe(graph)


def test_graphs_that_cannot_be_models(tmp_path):
    with pytest.raises(UsageError, match="it takes any number of samples: give --window SECONDS"):
        describe(write_onnx(tmp_path / "any.onnx", ["batch", "n"]))
    with pytest.raises(
        CheckpointError, match=r"expected one input of samples in fp32, .* found sam"
    ):
        describe(write_onnx(tmp_path / "four.onnx", [1, 1, 1, 1, RATE]))
    with pytest.raises(CheckpointError, match="does not run on an input of the shape"):
        describe(
            write_onnx(tmp_path / "wrong.onnx", ["batch", "n"], n_values=900), window_seconds=1.0
        )
    with pytest.raises(UsageError, match=r"expected a graph that ends in .onnx, .xml, .tflite"):
        describe(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"no such file. Check the name."):
        describe(tmp_path / "none.onnx")
    (tmp_path / "text.tflite").write_text("not a graph")
    with pytest.raises(CheckpointError, match=r"text.tflite: LiteRT does not take this graph"):
        describe(tmp_path / "text.tflite")


def test_the_description_is_read_back_and_the_graph_is_checked(tmp_path, graph):
    path = tmp_path / "owls.json"
    model = describe(graph, hop_seconds=0.5)
    path.write_bytes(graph_metadata(model))
    assert read_graph_model(path) == model
    assert spec_of_graph(path) == model.spec
    with pytest.raises(CheckpointError, match=r"not found. Keep the graph beside its .json."):
        open_engine(path)
    (tmp_path / "owls.onnx").write_bytes(graph.read_bytes())
    assert find_graph(tmp_path / "owls.onnx") == find_graph(path) == path
    assert find_graph(tmp_path / "others.onnx") is find_graph(model) is None
    assert graph_files(path) == [tmp_path / "owls.onnx"]
    assert open_engine(tmp_path / "owls.onnx").spec.labels == LABELS.names
    with open(tmp_path / "owls.onnx", "ab") as file:
        file.write(b"\n")
    with pytest.raises(CheckpointError, match=r"not the graph that owls.json describes. Register"):
        open_engine(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", 2, "format version 2, and this sed-engine reads version 1"),
        ("graph", {}, "the description of this graph is wrong"),
        ("hop_seconds", 0.0, "not a whole number of columns"),
        ("post_processing", {"onset": 1}, "unknown key 'onset' in post_processing"),
    ],
)
def test_a_description_that_is_wrong(tmp_path, graph, key, value, message):
    metadata = json.loads(graph_metadata(describe(graph)))
    (tmp_path / "owls.json").write_text(json.dumps(metadata | {key: value}))
    with pytest.raises(CheckpointError, match=message):
        open_engine(tmp_path / "owls.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "scores"}, "a registered graph gives scores and no embeddings"),
        ({"device": "cuda"}, "graphs run on the CPU: leave out --device cuda"),
        ({"precision": "bf16"}, "registered graphs run in fp32, not in bf16"),
    ],
)
def test_options_that_do_not_fit(tmp_path, graph, options, message):
    path = tmp_path / "owls.json"
    path.write_bytes(graph_metadata(describe(graph)))
    with pytest.raises(UsageError, match=message):
        open_engine(path, **options)


@pytest.mark.parametrize(
    ("window", "hop", "rate", "block"),
    [
        (144_000, 144_000, 48_000, 960),
        (144_000, 48_000, 48_000, 960),
        (160_000, 160_000, 32_000, 640),
        (15_600, 7_680, 16_000, 240),
        (144_013, 144_013, 48_000, 144_013),  # a prime number of samples
    ],
)
def test_columns_divide_window_and_hop(window, hop, rate, block):
    assert column_samples(window, hop, rate) == block
