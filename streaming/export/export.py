"""Export a model as one graph, from samples to probabilities, that runs without this package.

::

    samples (batch, n) ─▶ frame_probs (batch, frames, classes), clip_probs (batch, classes)
                          log_mel (batch, columns, mels), head_probs, head_weights,
                          embeddings (batch, frames, features)

The batch size and the length are free, except that a .pt2 takes a window plus a whole number of
frames: torch.export has to prove how the network pads each length. The Fourier transform is a
convolution, which every runtime has. `log_mel` is an output so that a runtime can cut the graph
there and start from a log-mel spectrogram. `head_probs` and `head_weights` pool frames over windows
of any length; see `sed.models.network.HeadOutput`.
"""

from __future__ import annotations

import copy
import io
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.errors import UsageError
from sed.files import written_whole
from sed.models.checkpoint import Checkpoint
from sed.models.inference.layers import FEATURES, LayerNetwork
from sed.models.inference.receptive_field import receptive_field
from sed.models.metadata import FORMAT_VERSION, library_versions, sha256_of
from sed.text import near
from streaming.export.graph import Conv2dSame, ExportableModel, ExportableNetwork
from streaming.export.onnx_file import WEIGHTS_KEY

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


def export(
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    to: str = "onnx",
    *,
    layer: str = FEATURES,
) -> Path:
    """Write a model as a graph.

    Parameters
    ----------
    checkpoint
        The model.
    path
        The file. The suffix of the format is appended if it has another.
    to
        The format: onnx, openvino (two files, .xml and .bin) or torch-export (.pt2).
    layer
        Layer whose output is given as embeddings; see `sed.models.inference.layers`.

    Returns
    -------
    The path with its suffix.

    Raises
    ------
    UsageError
        If the format is unknown, or the network has no such layer.
    MissingExtraError
        If the packages that the format needs are not installed.
    OutputError
        If the file cannot be written.
    """
    if to not in SUFFIXES:
        raise UsageError(f"unknown format {to!r}. {near(to, SUFFIXES)}")
    path = Path(path)
    path = path if path.suffix == SUFFIXES[to] else path.with_name(path.name + SUFFIXES[to])
    graph = ExportableModel(checkpoint, layer).eval()
    metadata = graph_metadata(checkpoint, layer)
    samples = torch.zeros(2, round(checkpoint.window_seconds * checkpoint.timeline.sample_rate))
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # Tracing warns of branches on shapes, which are constant here.
        warnings.simplefilter("ignore")
        if to == "torch-export":
            _write_torch_export(graph, samples, metadata, path)
        elif to == "onnx":
            from streaming.export.onnx import write_onnx

            write_onnx(graph, samples, metadata, path)
        else:
            from streaming.export.openvino import write_openvino

            write_openvino(graph, samples, metadata, path)
    return path


def export_linked(checkpoint: Checkpoint) -> Path:
    """Write the network as a graph in ONNX beside its checkpoint, whose weights it refers to.

    It is small, from log-mel on, and engines use it in place of an export: without torch.

    Parameters
    ----------
    checkpoint
        The model, loaded from a file.

    Returns
    -------
    Path
        The graph: `NAME.onnx` beside `NAME.safetensors`.

    Raises
    ------
    MissingExtraError
        If the packages for exporting are not installed.
    OutputError
        If the file cannot be written.
    """
    from streaming.export.onnx import write_linked_onnx

    weights = Path(checkpoint.path)
    network = ExportableNetwork(copy.deepcopy(checkpoint.model))
    metadata = graph_metadata(checkpoint) | {WEIGHTS_KEY: sha256_of(weights)}
    log_mel = torch.zeros(2, checkpoint.window_columns, checkpoint.model.log_mel.config.n_mels)
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_linked_onnx(network, log_mel, metadata, weights)


def graph_metadata(checkpoint: Checkpoint, layer: str = FEATURES) -> dict[str, Any]:
    """Return the metadata of a graph: plain values for JSON.

    ``spec`` is a `sed.models.spec.ModelSpec`, ``receptive_field`` the frames before and after, or
    None if it is the whole window, ``embeddings`` the layer and its width.
    """
    field = receptive_field(checkpoint.model, checkpoint.window_columns)
    return {
        "format_version": FORMAT_VERSION,
        "spec": checkpoint.spec.as_dict(),
        "receptive_field": None if field is None else [field.before, field.after],
        "embeddings": {
            "layer": layer,
            "n_features": LayerNetwork(copy.deepcopy(checkpoint.model), layer).n_features,
        },
        "data": checkpoint.data,
        "versions": library_versions(),
    }


def _write_torch_export(
    graph: ExportableModel, samples: Tensor, metadata: dict[str, Any], path: Path
) -> None:
    """Write a model with torch.export. The model is changed: it is a copy."""
    backbone: nn.Module = graph.model.backbone
    for name, module in list(backbone.named_modules()):
        # The class is timm's, which only sed.models.backbone imports.
        if type(module).__name__ == "Conv2dSame":
            parent, _, last = name.rpartition(".")
            setattr(backbone.get_submodule(parent), last, Conv2dSame(module))
    frame_samples = graph.model.frame_columns * graph.model.log_mel.config.hop_length
    batch, n_more = torch.export.Dim("batch"), torch.export.Dim("n_more", min=0)
    length = frame_samples * n_more + samples.shape[1]
    # torch.export takes special values, such as n_more = 0, for constants.
    longer = F.pad(samples, (0, 3 * frame_samples))
    program = torch.export.export(
        graph, (longer,), dynamic_shapes={"samples": {0: batch, 1: length}}, strict=False
    )
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={"metadata.json": json.dumps(metadata)})
    with written_whole(path) as part:
        part.write_bytes(archive.getvalue())
