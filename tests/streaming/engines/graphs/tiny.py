"""Tiny graphs from samples to scores: the mean of a window decides.

With LABELS as classes the logits are 20·mean - 5, -20·mean - 5 and -5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streaming.engines.graphs.description import GraphModel, graph_metadata
from streaming.engines.graphs.labels import Labels
from streaming.engines.graphs.register import describe_graph

RATE = 8_000
SPECIES = (("Strix aluco", "Tawny Owl"), ("Bubo bubo", "Eagle Owl"), ("Noise", "Noise"))
LABELS = Labels(tuple(common for _, common in SPECIES), SPECIES)
GAINS = np.array([20.0, -20.0, 0.0], np.float32)
BIAS = -5.0


def logits(windows: np.ndarray) -> np.ndarray:
    """Return what the graphs give for windows, shape (windows, samples)."""
    return windows.mean(axis=1, keepdims=True) * GAINS + BIAS


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-values.astype(np.float64)))


def levels(*values: float, seconds: float = 1.0) -> np.ndarray:
    """Return constant sound, so many seconds of each value."""
    return np.repeat(np.float32(values), int(seconds * RATE))


def write_onnx(path: Path, shape=("batch", RATE), *, n_values=RATE, outputs=("scores",)) -> Path:
    """Write a graph in ONNX; a second output has the number of classes, too."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    weights = np.tile(GAINS / n_values, (n_values, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["rows"], value_ints=[-1, n_values]),
        helper.make_node("Reshape", ["samples", "rows"], ["windows"]),
        helper.make_node("MatMul", ["windows", "weights"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], [outputs[0]]),
        *(helper.make_node("Sigmoid", [outputs[0]], [name]) for name in outputs[1:]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("samples", types.FLOAT, shape)],
        [helper.make_tensor_value_info(name, types.FLOAT, None) for name in outputs],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(np.float32([BIAS]), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def write_openvino(path: Path) -> Path:
    """Write the graph in OpenVINO's format."""
    openvino = pytest.importorskip("openvino")
    graph = openvino.Core().read_model(write_onnx(path.with_suffix(".onnx")))
    openvino.save_model(graph, path, compress_to_fp16=False)
    return path


def write_tflite(path: Path, n_values: int = RATE) -> Path:
    """Write the graph in TensorFlow Lite: one fully connected layer, made with its schema."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    buffers = [schema.BufferT() for _ in range(3)]
    tensors = []
    shapes = {"samples": [1, n_values], "weights": [3, n_values], "bias": [3], "scores": [1, 3]}
    for name, shape in shapes.items():
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, shape, schema.TensorType.FLOAT32
        tensors.append(tensor)
    weights = np.tile(GAINS[:, None] / n_values, (1, n_values))
    constants = {1: weights, 2: np.full(3, BIAS)}
    for number, values in constants.items():
        buffers[number].data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
        tensors[number].buffer = number
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    layer = schema.OperatorT()
    layer.inputs, layer.outputs = [0, 1, 2], [3]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [layer], [0], [3]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def describe(path: Path, labels: Labels = LABELS, **options) -> GraphModel:
    """Return the description of a graph of this module."""
    return describe_graph(path, labels, **{"sample_rate": RATE, "activation": "sigmoid"} | options)


def register(path: Path, labels: Labels = LABELS, **options) -> Path:
    """Write the description of a graph beside it, and return its path."""
    described = path.with_suffix(".json")
    described.write_bytes(graph_metadata(describe(path, labels, **options)))
    return described
