"""Write graphs in ONNX. Only this module imports `onnx`."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed.errors import MissingExtraError
from sed.files import written_whole
from streaming.export.onnx_file import (
    EMBEDDINGS,
    FRAME_OUTPUT_NAMES,
    INPUT_NAME,
    METADATA_KEY,
    OUTPUT_NAMES,
)

if TYPE_CHECKING:
    import torch

    from streaming.export.graph import ExportableModel, ExportableNetwork

OPSET = 17
ONNX_TYPES = {"F32": "FLOAT", "F16": "FLOAT16", "BF16": "BFLOAT16"}  # by those of safetensors


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


def write_linked_onnx(
    network: ExportableNetwork, log_mel: torch.Tensor, metadata: dict[str, Any], weights: Path
) -> Path:
    """Write a network as a graph that takes its weights from the file of its checkpoint.

    The graph has the structure alone and is small. Its weights have the numbers of the
    checkpoint, in any floating-point type; runtimes fuse batch norms themselves.

    Parameters
    ----------
    network
        The network, of one that is not fused.
    log_mel
        Input to trace with, shape (batch, columns, mels). The first two axes are free.
    metadata
        Plain values for JSON.
    weights
        The .safetensors of the checkpoint. The graph lies beside it, and must stay there.

    Returns
    -------
    Path
        The graph.

    Raises
    ------
    MissingExtraError
        If the package `onnx` is not installed.
    OutputError
        If the file cannot be written.
    """
    import torch

    onnx = _import_onnx()
    outputs = [*FRAME_OUTPUT_NAMES, EMBEDDINGS]
    path = weights.with_suffix(".onnx")
    with written_whole(path) as part:
        torch.onnx.export(
            network,
            (log_mel,),
            str(part),
            input_names=[INPUT_NAME],
            output_names=outputs,
            dynamic_axes={
                INPUT_NAME: {0: "batch", 1: "columns"},
                **{name: {0: "batch", 1: "frames"} for name in outputs},
            },
            opset_version=OPSET,
            dynamo=False,
            # Nothing is computed from weights here, so that they keep their names.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
        model = onnx.load(part)
        _link_weights(model.graph, weights)
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
        part.write_bytes(model.SerializeToString())
    return path


def _link_weights(graph: Any, weights: Path) -> None:
    """Replace the weights in a graph by references to those of the same name in a file."""
    onnx = _import_onnx()
    stored = _stored_tensors(weights)
    casts = []
    for weight in graph.initializer:
        name = weight.name.removeprefix("model.").replace(".linear.", ".")
        if name not in stored:
            continue
        kind, shape, offset, length = stored[name]
        if list(weight.dims) != shape:
            raise ValueError(f"{name}: expected shape {list(weight.dims)}, got {shape}")
        linked = onnx.TensorProto(
            name=weight.name,
            dims=shape,
            data_type=getattr(onnx.TensorProto, ONNX_TYPES[kind]),
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, value in (("location", weights.name), ("offset", offset), ("length", length)):
            linked.external_data.add(key=key, value=str(value))
        if kind != "F32":
            linked.name += "_stored"
            float32 = onnx.TensorProto.FLOAT
            casts.append(onnx.helper.make_node("Cast", [linked.name], [weight.name], to=float32))
        weight.CopyFrom(linked)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _stored_tensors(path: Path) -> dict[str, tuple[str, list[int], int, int]]:
    """Return type, shape, first byte and number of bytes of each tensor of a .safetensors file."""
    with open(path, "rb") as file:
        (n_header,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(n_header))
    return {
        name: (entry["dtype"], entry["shape"], 8 + n_header + start, end - start)
        for name, entry in header.items()
        if name != "__metadata__"
        for start, end in [entry["data_offsets"]]
    }


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("writing graphs in ONNX", "torch") from error
    return onnx
