"""Write graphs in ONNX, read their metadata, extract sub-graphs. Only this module imports `onnx`.

Engines import this module, so torch is imported only where it is needed: loading takes seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed.errors import CheckpointError, MissingExtraError
from sed.files import written_whole
from sed.models.metadata import parse_metadata
from sed.text import message_of, printable

if TYPE_CHECKING:
    import torch

    from streaming.export.graph import ExportableModel

OPSET = 17
METADATA_KEY = "sed-engine"  # in metadata_props

# Tensors of a graph: all that it gives out, and those that an engine needs from the sub-graph.
EMBEDDINGS = "embeddings"
OUTPUT_NAMES = ("frame_probs", "clip_probs", "log_mel", "head_probs", "head_weights", EMBEDDINGS)
FRAME_OUTPUT_NAMES = ("frame_probs", "head_probs", "head_weights")


def write_onnx(
    graph: ExportableModel, samples: torch.Tensor, metadata: dict[str, Any], path: Path
) -> None:
    """Trace a model and write it with its metadata.

    Parameters
    ----------
    graph
        The model.
    samples
        Input to trace with, shape (batch, samples). Both axes are free in the graph.
    metadata
        Plain values for JSON.
    path
        The file.

    Raises
    ------
    MissingExtraError
        If the package `onnx` is not installed.
    OutputError
        If the file cannot be written.
    """
    import torch

    onnx = _import_onnx()
    with written_whole(path) as part:
        # dynamo=False: the newer exporter takes minutes for paddings of free length.
        torch.onnx.export(
            graph,
            (samples,),
            str(part),
            input_names=["samples"],
            output_names=list(OUTPUT_NAMES),
            dynamic_axes={"samples": {0: "batch", 1: "samples"}},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(part)
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
        onnx.save(model, part)


def read_onnx_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a graph that `write_onnx` wrote.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or has no such metadata.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    for entry in _load(path).metadata_props:
        if entry.key == METADATA_KEY:
            return parse_graph_metadata(entry.value, path)
    raise CheckpointError(
        f"{printable(str(path))}: the metadata is missing: this graph was not written by "
        "`sed export`. Export it from its checkpoint. `sed embed` takes any graph of samples."
    )


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


def is_exported_onnx(path: str | os.PathLike[str]) -> bool:
    """Return whether a graph has the metadata that `write_onnx` writes.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    props = _load(Path(path), external_data=False).metadata_props
    return any(entry.key == METADATA_KEY for entry in props)


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
    """

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    properties: dict[str, str]


def describe_onnx(path: str | os.PathLike[str]) -> GraphDescription:
    """Return the inputs, outputs and metadata of any graph in ONNX.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    model = _load(Path(path), external_data=False)
    weights = {weight.name for weight in model.graph.initializer}
    return GraphDescription(
        tuple(_tensor(value) for value in model.graph.input if value.name not in weights),
        tuple(_tensor(value) for value in model.graph.output),
        {entry.key: entry.value for entry in model.metadata_props},
    )


def _tensor(value: Any) -> GraphTensor:
    kind = value.type.tensor_type
    axes = (
        tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)
        if kind.HasField("shape")
        else None
    )
    return GraphTensor(value.name, axes, kind.elem_type == _import_onnx().TensorProto.FLOAT)


def extract_subgraph(path: Path, names: Sequence[str] = FRAME_OUTPUT_NAMES) -> bytes:
    """Return the sub-graph from log-mel to the tensors of some names, as ONNX.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    onnx = _import_onnx()
    graph = onnx.shape_inference.infer_shapes(_load(path))
    extractor = onnx.utils.Extractor(graph)
    subgraph: bytes = extractor.extract_model(["log_mel"], list(names)).SerializeToString()
    return subgraph


def _load(path: Path, *, external_data: bool = True) -> Any:
    onnx = _import_onnx()
    try:
        return onnx.load(path, load_external_data=external_data)
    except FileNotFoundError:
        raise CheckpointError(f"{printable(str(path))}: no such file. Check --model.") from None
    except Exception as error:
        # protobuf has exceptions of its own.
        raise CheckpointError(
            f"{printable(str(path))}: cannot be read as ONNX ({message_of(error)}). Export it "
            "again."
        ) from error


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.utils
    except ImportError as error:
        raise MissingExtraError("graphs in ONNX", "onnx") from error
    return onnx
