"""Graphs in ONNX: written, described, and cut where columns come in. The door to `onnx`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sed.errors import CheckpointError, MissingExtraError
from sed.files import written_whole
from sed.text import printable
from streaming.export.graph import ExportableModel

if TYPE_CHECKING:
    import torch

    from streaming.export.graph import ExportableModel

OPSET = 17
KEY = "sed-engine"  # of the metadata
ANSWERS = ["frame_probs", "head_probs", "head_weights"]  # what an engine wants of a graph


def write_onnx(
    graph: ExportableModel, samples: torch.Tensor, about: dict[str, Any], path: Path
) -> None:
    """Trace a graph with samples, and write it with its description."""
    import torch

    from streaming.export.graph import OUTPUTS

    onnx = _onnx()
    with written_whole(path) as part:
        # The exporter that traces: the newer one takes minutes for paddings of free length.
        torch.onnx.export(
            graph,
            (samples,),
            str(part),
            input_names=["samples"],
            output_names=list(OUTPUTS),
            dynamic_axes={"samples": {0: "batch", 1: "samples"}},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(part)
        onnx.helper.set_model_props(model, {KEY: json.dumps(about)})
        onnx.save(model, part)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the description of a graph that `write_onnx` wrote.

    Raises
    ------
    CheckpointError
        If it is no such graph.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    for entry in _loaded(path).metadata_props:
        if entry.key == KEY:
            about: dict[str, Any] = json.loads(entry.value)
            return about
    raise CheckpointError(
        f"{printable(str(path))}: this graph was not written by `sed export`, so nobody knows what "
        "it hears. Export it from its checkpoint."
    )


def extract_subgraph(path: Path) -> bytes:
    """Return the part of a graph from columns to what is said of frames, as ONNX."""
    onnx = _onnx()
    whole = onnx.shape_inference.infer_shapes(_loaded(path))
    part = onnx.utils.Extractor(whole).extract_model(["columns"], ANSWERS)
    network: bytes = part.SerializeToString()
    return network


def _loaded(path: Path) -> Any:
    onnx = _onnx()
    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise CheckpointError(f"{printable(str(path))}: no such file. Check --model.") from None
    except Exception as error:  # protobuf has its own errors
        raise CheckpointError(
            f"{printable(str(path))}: cannot be read as ONNX ({error}). Export it again."
        ) from error


def _onnx() -> Any:
    try:
        import onnx
        import onnx.utils
    except ImportError as error:
        raise MissingExtraError("graphs in ONNX", "onnx") from error
    return onnx
