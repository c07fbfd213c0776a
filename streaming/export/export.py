"""A model as one graph from samples to probabilities, which runs without this package.

::

    samples (batch, n) ─▶ frame_probs (batch, frames, classes), clip_probs (batch, classes)
                          columns (batch, columns, mels), head_probs, head_weights

Batch and length are free; but a .pt2 takes a window plus any number of whole frames, since
torch.export has to prove how the network pads each length. The front end is written as a
convolution, which every runtime has; `columns` is given out too, so that who has columns already
can begin there. `head_probs` and `head_weights` are what pools frames over windows of any length;
see `sed.models.network.FrameAnswer`.
"""

from __future__ import annotations

import io
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.errors import UsageError, near
from sed.features.log_mel_torch import LogMel
from sed.files import written_whole
from sed.models.checkpoint import Checkpoint
from sed.models.fusion import fused
from sed.models.metadata import library_versions
from sed.models.receptive_field import frame_context

OUTPUTS = ("frame_probs", "clip_probs", "columns", "head_probs", "head_weights")
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
OPSET = 17


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
    graph = Graph(checkpoint).eval()
    about = about_graph(checkpoint)
    samples = torch.zeros(2, round(checkpoint.window_seconds * checkpoint.timeline.sample_rate))
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # traces and their exporters warn of what is meant here
        if to == "torch-export":
            _export_torch(graph, samples, about, path)
        elif to == "onnx":
            from streaming.export.onnx import write_onnx

            write_onnx(graph, samples, about, path)
        else:
            from streaming.engines.openvino import write_openvino

            write_openvino(graph, samples, about, path)
    return path


def about_graph(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what has to be known of a graph; plain values for JSON."""
    context = frame_context(checkpoint.model, checkpoint.window_columns)
    return {
        "spec": checkpoint.spec.as_dict(),
        "context": None if context is None else [context.before, context.after],
        "data": checkpoint.data,
        "versions": library_versions(),
    }


class Graph(nn.Module):
    """Samples to the probabilities of frames and clips.

    Parameters
    ----------
    checkpoint
        The model; it stays as it is.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = fused(checkpoint.model)  # a copy
        for module in (self.model, *self.model.heads):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, Pointwise(child))
        self.front_end = ConvolvedLogMel(self.model.log_mel)

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """Map clips (batch, samples) to the tensors named in `OUTPUTS`."""
        columns = self.front_end(samples)
        frame_probs, probs, weights = self.model.answer(self.model.frame_features(columns))
        clip_probs = ((weights * probs).sum(1) / weights.sum(1)).mean(1)
        return frame_probs, clip_probs, columns, probs, weights


class ConvolvedLogMel(nn.Module):
    """The front end as a convolution with sines and cosines: slower than an FFT, but everywhere.

    Parameters
    ----------
    log_mel
        What it is the same as.
    """

    basis: Tensor

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        self.log_mel = log_mel
        c = log_mel.config
        bins = torch.arange(c.fft_size // 2 + 1, dtype=torch.float64)[:, None]
        phase = 2 * math.pi / c.fft_size * bins * torch.arange(c.column_samples)
        basis = torch.cat([phase.cos(), phase.sin()]) * log_mel.window.double()
        self.register_buffer("basis", basis.float()[:, None])

    def forward(self, samples: Tensor) -> Tensor:
        """Map clips (batch, samples) to columns (batch, columns, mels)."""
        c = self.log_mel.config
        padded = F.pad(samples, (c.context_before, c.context_after))
        waves = F.conv1d(padded[:, None], self.basis, stride=c.hop_samples)
        cosine, sine = waves.chunk(2, dim=1)
        energy = cosine.square() + sine.square()
        if c.power == 1:
            energy = energy.sqrt()
        mel = F.conv1d(energy, self.log_mel.filters.T[:, :, None])
        return self.log_mel.logarithm(mel.transpose(1, 2))


class SameConv2d(nn.Module):
    """TensorFlow's padding, reckoned in integers: exporters need not see through a ceiling.

    Parameters
    ----------
    conv
        What it is the same as.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, columns, mels)."""
        conv: Any = self.conv
        top, left = (
            max((conv.kernel_size[i] - 1) * conv.dilation[i] + 1 - _rest(size, conv.stride[i]), 0)
            for i, size in enumerate(x.shape[2:])
        )
        x = F.pad(x, (left // 2, left - left // 2, top // 2, top - top // 2))
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _rest(size: int, stride: int) -> int:
    """Return how many positions the last stride of an axis has."""
    rest = size % stride
    return stride if rest == 0 else int(rest)


class Pointwise(nn.Module):
    """A linear layer as a convolution: its exporters need not flatten axes of free length.

    Parameters
    ----------
    linear
        What it is the same as.
    """

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, features)."""
        weight: Tensor = self.linear.weight  # type: ignore[assignment]
        return F.conv1d(x.transpose(1, 2), weight[:, :, None], self.linear.bias).transpose(1, 2)  # type: ignore[arg-type]


def _export_torch(graph: Graph, samples: Tensor, about: dict[str, Any], path: Path) -> None:
    """Let torch.export follow a graph; the weights of its network are its own."""
    backbone: nn.Module = graph.model.backbone
    for name, module in list(backbone.named_modules()):
        if type(module).__name__ == "Conv2dSame":  # of timm, which only sed.models.network imports
            parent, _, last = name.rpartition(".")
            setattr(backbone.get_submodule(parent), last, SameConv2d(module))
    frame_samples = graph.model.frame_columns * graph.model.log_mel.config.hop_samples
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
