"""Write graphs in ONNX, read their metadata, extract sub-graphs. Only this module imports `onnx`.

Engines import this module, so torch is imported only where it is needed: loading takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed.errors import CheckpointError, MissingExtraError
from sed.files import written_whole
from sed.text import printable

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
            metadata: dict[str, Any] = json.loads(entry.value)
            return metadata
    raise CheckpointError(
        f"{printable(str(path))}: the metadata is missing: this graph was not written by "
        "`sed export`. Export it from its checkpoint."
    )


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


def _load(path: Path) -> Any:
    onnx = _import_onnx()
    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise CheckpointError(f"{printable(str(path))}: no such file. Check --model.") from None
    except Exception as error:
        # protobuf has exceptions of its own.
        raise CheckpointError(
            f"{printable(str(path))}: cannot be read as ONNX ({error}). Export it again."
        ) from error


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.utils
    except ImportError as error:
        raise MissingExtraError("graphs in ONNX", "onnx") from error
    return onnx
