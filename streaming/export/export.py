"""A model as one graph from samples to probabilities, which runs without this package.

::

    samples (batch, n) ─▶ frame_probs (batch, frames, classes), clip_probs (batch, classes)
                          columns (batch, columns, mels), head_probs, head_weights

Batch and length are free; but a .pt2 takes a window plus any number of whole frames, since
torch.export has to prove how the network pads each length. The front end is written as a
convolution, which every runtime has; `columns` is given out too, so that who has columns already
can begin there. `head_probs` and `head_weights` are what pools frames over windows of any length;
see `sed.models.network.HeadOutput`.
"""

from __future__ import annotations

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
from sed.models.metadata import library_versions
from sed.models.receptive_field import receptive_field
from sed.text import near
from streaming.export.graph import Conv2dSame, ExportableModel

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


def export(checkpoint: Checkpoint, path: str | os.PathLike[str], to: str = "onnx") -> Path:
    """Write a model as a graph.

    Parameters
    ----------
    checkpoint
        The model.
    path
        Where to; gets the ending of the format if it has another.
    to
        onnx, openvino (two files, .xml and .bin) or torch-export.

    Returns
    -------
    The path with its ending.

    Raises
    ------
    UsageError
        If the format is unknown.
    MissingExtraError
        If the packages that the format needs are not installed.
    OutputError
        If the file cannot be written.
    """
    if to not in SUFFIXES:
        raise UsageError(f"unknown format {to!r}. {near(to, SUFFIXES)}")
    path = Path(path)
    path = path if path.suffix == SUFFIXES[to] else path.with_name(path.name + SUFFIXES[to])
    graph = ExportableModel(checkpoint).eval()
    about = graph_metadata(checkpoint)
    samples = torch.zeros(2, round(checkpoint.window_seconds * checkpoint.timeline.sample_rate))
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # traces and their exporters warn of what is meant here
        if to == "torch-export":
            _export_torch(graph, samples, about, path)
        elif to == "onnx":
            from streaming.export.onnx import write_onnx

            write_onnx(graph, samples, about, path)
        else:
            from streaming.export.openvino import write_openvino

            write_openvino(graph, samples, about, path)
    return path


def graph_metadata(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what has to be known of a graph; plain values for JSON."""
    context = receptive_field(checkpoint.model, checkpoint.window_columns)
    return {
        "spec": checkpoint.spec.as_dict(),
        "context": None if context is None else [context.before, context.after],
        "data": checkpoint.data,
        "versions": library_versions(),
    }


def _export_torch(
    graph: ExportableModel, samples: Tensor, about: dict[str, Any], path: Path
) -> None:
    """Let torch.export follow a graph; the weights of its network are its own."""
    backbone: nn.Module = graph.model.backbone
    for name, module in list(backbone.named_modules()):
        if type(module).__name__ == "Conv2dSame":  # of timm, which only sed.models.network imports
            parent, _, last = name.rpartition(".")
            setattr(backbone.get_submodule(parent), last, Conv2dSame(module))
    frame_samples = graph.model.frame_columns * graph.model.log_mel.config.hop_length
    batch, n_more = torch.export.Dim("batch"), torch.export.Dim("n_more", min=0)
    length = frame_samples * n_more + samples.shape[1]
    longer = F.pad(samples, (0, 3 * frame_samples))  # a length that is not special
    program = torch.export.export(
        graph, (longer,), dynamic_shapes={"samples": {0: batch, 1: length}}, strict=False
    )
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={"about.json": json.dumps(about)})
    with written_whole(path) as part:
        part.write_bytes(archive.getvalue())
