"""Read graphs in ONNX, and cut them, without the package `onnx`, which is needed for writing only.

An ONNX file is a message of Protocol Buffers. The fields that are read here are declared in
`_FIELDS`, with the numbers of `onnx.proto`; all others are kept as they are.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sed.errors import CheckpointError
from sed.models.metadata import parse_metadata
from sed.text import message_of, printable

METADATA_KEY = "sed-engine"  # in metadata_props
WEIGHTS_KEY = "weights_sha256"  # in the metadata of a graph that is linked to a checkpoint
INPUT_NAME = "log_mel"  # of the part of a graph that engines run

# Tensors of a graph: all that it gives out, and those that an engine needs from the sub-graph.
EMBEDDINGS = "embeddings"
OUTPUT_NAMES = ("frame_probs", "clip_probs", INPUT_NAME, "head_probs", "head_weights", EMBEDDINGS)
FRAME_OUTPUT_NAMES = ("frame_probs", "head_probs", "head_weights")

FLOAT = 1  # TensorProto.DataType of fp32
# Message: its fields as name, number and type; a star stands for repeated.
_FIELDS = {
    "Model": "graph 7 Graph, metadata_props 14 Property*",
    "Property": "key 1 string, value 2 string",
    "Graph": "node 1 Node*, initializer 5 Weights*, input 11 Value*, output 12 Value*, "
    "value_info 13 Value*",
    "Node": "input 1 string*, output 2 string*, attribute 5 Attribute*",
    "Attribute": "g 6 Graph, graphs 11 Graph*",
    "Weights": "name 8 string, external_data 13 Property*",
    "Value": "name 1 string, type 2 Type",
    "Type": "tensor_type 1 Tensor",
    "Tensor": "elem_type 1 int32, shape 2 Shape",
    "Shape": "dim 1 Axis*",
    "Axis": "dim_value 1 int64",
}


@dataclass(frozen=True)
class GraphTensor:
    """An input or output of a graph.

    Attributes
    ----------
    name
        Its name.
    shape
        Lengths of its axes, None where an axis has any length; None if the graph does not say.
    is_float
        Whether its values are fp32.
    """

    name: str
    shape: tuple[int | None, ...] | None
    is_float: bool


@dataclass(frozen=True)
class GraphDescription:
    """What a graph says about itself.

    Attributes
    ----------
    inputs, outputs
        Its tensors, in their order.
    properties
        Its metadata, names and values.
    weights_files
        Other files that it takes weights from, relative to its folder.
    """

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    properties: dict[str, str]
    weights_files: tuple[str, ...]


def describe_onnx(path: str | os.PathLike[str]) -> GraphDescription:
    """Return the inputs, outputs and metadata of any graph in ONNX.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    model = _load(Path(path))
    weights = {weight.name for weight in model.graph.initializer}
    return GraphDescription(
        tuple(_tensor(value) for value in model.graph.input if value.name not in weights),
        tuple(_tensor(value) for value in model.graph.output),
        {entry.key: entry.value for entry in model.metadata_props},
        tuple(sorted(set(_weights_files(model.graph)))),
    )


def is_exported_onnx(path: str | os.PathLike[str]) -> bool:
    """Return whether a graph has the metadata that `streaming.export.onnx.write_onnx` writes.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    return METADATA_KEY in describe_onnx(path).properties


def read_onnx_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a graph that `streaming.export.onnx.write_onnx` wrote.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or has no such metadata.
    """
    text = describe_onnx(path).properties.get(METADATA_KEY)
    if text is None:
        raise CheckpointError(
            f"{printable(str(path))}: the metadata is missing: this graph was not written by "
            "`sed export`. Export it from its checkpoint. `sed embed` takes any graph of samples."
        )
    return parse_graph_metadata(text, path)


def parse_graph_metadata(text: str, path: Path) -> dict[str, Any]:
    """Return the metadata in a graph.

    Raises
    ------
    CheckpointError
        If it is not a JSON object.
    """
    metadata = None
    with suppress(ValueError):
        metadata = parse_metadata(text)
    if not isinstance(metadata, dict):
        raise CheckpointError(
            f"{printable(str(path))}: the metadata of this graph is damaged. Export it again."
        )
    return metadata


def extract_subgraph(path: Path, names: Sequence[str] = FRAME_OUTPUT_NAMES) -> bytes:
    """Return the sub-graph from log-mel to outputs of some names, as ONNX.

    Weights in other files are still named by their paths, relative to the folder of the graph.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or has no such tensors.
    """
    model = _load(path)
    graph = model.graph
    values = {value.name: value for value in (*graph.input, *graph.output)}
    if missing := [name for name in (INPUT_NAME, *names) if name not in values]:
        raise CheckpointError(
            f"{printable(str(path))}: this graph has no tensor {missing[0]}. Export it again."
        )
    nodes, needed = [], set(names)
    # Nodes are sorted: what computes a tensor comes before what uses it.
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output) and INPUT_NAME not in node.output:
            nodes.append(node)
            needed.update(_inputs(node))
    parts = {
        "node": nodes[::-1],
        "initializer": [weight for weight in graph.initializer if weight.name in needed],
        "input": [values[INPUT_NAME]],
        "output": [values[name] for name in names],
        "value_info": [],
    }
    for field, kept in parts.items():
        # A copy, since clearing the field would clear what it holds.
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    subgraph: bytes = model.SerializeToString()
    return subgraph


def _inputs(node: Any) -> Iterator[str]:
    """Yield the tensors that a node uses, those in its branches and loops included.

    These may also be tensors of the branch itself, which do no harm.
    """
    yield from node.input
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] * attribute.HasField("g"))):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _inputs(inner)


def _weights_files(graph: Any) -> Iterator[str]:
    for weights in graph.initializer:
        for entry in weights.external_data:
            if entry.key == "location":
                yield entry.value


def _tensor(value: Any) -> GraphTensor:
    kind = value.type.tensor_type
    axes = (
        tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)
        if kind.HasField("shape")
        else None
    )
    return GraphTensor(value.name, axes, kind.elem_type == FLOAT)


def _load(path: Path) -> Any:
    name = printable(str(path))
    try:
        model = _messages()["Model"].FromString(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{name}: no such file. Check --model.") from None
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror}.") from error
    except Exception as error:
        # Protocol Buffers have exceptions of their own.
        raise CheckpointError(
            f"{name}: cannot be read as ONNX ({message_of(error)}). Export it again."
        ) from error
    if not model.graph.node:
        raise CheckpointError(f"{name}: cannot be read as ONNX (no nodes). Export it again.")
    return model


@functools.cache
def _messages() -> dict[str, Any]:
    """Return the classes of the messages in `_FIELDS`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    types = {"string": field.TYPE_STRING, "int32": field.TYPE_INT32, "int64": field.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name="onnx_file", package="sed", syntax="proto2")
    for message, fields in _FIELDS.items():
        declared = file.message_type.add(name=message)
        for text in fields.split(", "):
            name, number, kind = text.split()
            declared.field.add(
                name=name,
                number=int(number),
                label=field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL,
                type=types.get(kind.rstrip("*"), field.TYPE_MESSAGE),
                type_name=None if kind.rstrip("*") in types else f".sed.{kind.rstrip('*')}",
            )
    # A pool of its own: `onnx` may declare the same names elsewhere.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sed.{name}"))
        for name in _FIELDS
    }
