"""Define the module that is exported: samples to the probabilities of frames and clips."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.features.log_mel_torch import LogMel
from sed.models.checkpoint import Checkpoint
from sed.models.inference.fusion import fuse_conv_bn
from sed.models.inference.layers import FEATURES, LayerNetwork
from sed.models.network import SedModel


class ExportableNetwork(nn.Module):
    """The network from log-mel spectrograms to the outputs of frames.

    Parameters
    ----------
    model
        The network, whose linear layers are replaced and which keeps a hook: give a copy.
    layer
        Layer whose output is given as embeddings; see `sed.models.inference.layers`.
    """

    def __init__(self, model: SedModel, layer: str = FEATURES) -> None:
        super().__init__()
        self.model = model.eval()
        self.network = LayerNetwork(self.model, layer)
        for module in (self.model, *self.model.heads, *self.model.added_heads):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, _PointwiseLinear(child))

    def forward(self, log_mel: Tensor) -> tuple[Tensor, ...]:
        """Map spectrograms (batch, columns, mels) to probabilities, attention and embeddings.

        Out: the tensors of `FRAME_OUTPUT_NAMES` and `EMBEDDINGS` in `streaming.export.onnx_file`.
        """
        features, embeddings = self.network(log_mel)
        return *self.model.frame_outputs(features), embeddings


class ExportableModel(nn.Module):
    """A model from samples to probabilities, made of layers that every exporter supports.

    Parameters
    ----------
    checkpoint
        The model, which stays as it is.
    layer
        Layer whose output is given as embeddings; see `sed.models.inference.layers`.
    """

    def __init__(self, checkpoint: Checkpoint, layer: str = FEATURES) -> None:
        super().__init__()
        # fuse_conv_bn returns a copy, whose layers may be replaced.
        self.network = ExportableNetwork(fuse_conv_bn(checkpoint.model), layer)
        self.model = self.network.model
        self.log_mel = _ConvLogMel(self.model.log_mel)

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """Map clips (batch, samples) to the tensors of `OUTPUT_NAMES`, see `onnx_file`."""
        log_mel = self.log_mel(samples)
        frame_probs, probs, weights, embeddings = self.network(log_mel)
        clip_probs = ((weights * probs).sum(1) / weights.sum(1)).mean(1)
        return frame_probs, clip_probs, log_mel, probs, weights, embeddings


class _ConvLogMel(nn.Module):
    """The log-mel front end with a convolution as Fourier transform, as nnAudio does it.

    Slower than an FFT, but every runtime has convolutions. For window w, hop h and FFT length N::

        X[t, k] = Σ_n w[n] · x[t·h + n] · (cos(2π·k·n / N), sin(2π·k·n / N))

    Parameters
    ----------
    log_mel
        The front end to replace.
    """

    basis: Tensor

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        self.log_mel = log_mel
        c = log_mel.config
        bins = torch.arange(c.n_fft // 2 + 1, dtype=torch.float64)[:, None]
        phase = 2 * math.pi / c.n_fft * bins * torch.arange(c.win_length)
        basis = torch.cat([phase.cos(), phase.sin()]) * log_mel.window.double()
        self.register_buffer("basis", basis.float()[:, None])

    def forward(self, samples: Tensor) -> Tensor:
        """Map clips (batch, samples) to log-mels (batch, columns, mels)."""
        c = self.log_mel.config
        padded = F.pad(samples, (c.left_padding, c.right_padding))
        spectrum = F.conv1d(padded[:, None], self.basis, stride=c.hop_length)
        cosine, sine = spectrum.chunk(2, dim=1)
        energy = cosine.square() + sine.square()
        if c.power == 1:
            energy = energy.sqrt()
        mel = F.conv1d(energy, self.log_mel.filters.T[:, :, None])
        return self.log_mel.logarithm(mel.transpose(1, 2))


class Conv2dSame(nn.Module):
    """A convolution with TensorFlow's "same" padding, like timm's, for `torch.export`.

    timm computes the padding with a ceiling, whose length torch.export cannot prove; here it is
    computed in integers. An axis of n positions with kernel k, stride s and dilation d is padded by
    ``max((k - 1)·d + 1 - r, 0)``, where r is ``n mod s``, or s if that is 0.

    Parameters
    ----------
    conv
        timm's convolution, whose weights are used.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, columns, mels), as `torch.nn.Conv2d` does."""
        conv: Any = self.conv
        top, left = (
            max((conv.kernel_size[i] - 1) * conv.dilation[i] + 1 - _rest(size, conv.stride[i]), 0)
            for i, size in enumerate(x.shape[2:])
        )
        x = F.pad(x, (left // 2, left - left // 2, top // 2, top - top // 2))
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _rest(size: int, stride: int) -> int:
    """Return the number of positions that the last stride of an axis covers."""
    rest = size % stride
    return stride if rest == 0 else int(rest)


class _PointwiseLinear(nn.Module):
    """A linear layer as a convolution of width 1: exporters need not flatten axes of free length.

    Parameters
    ----------
    linear
        The `torch.nn.Linear` to replace, whose weights are used.
    """

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, features in) to (batch, frames, features out)."""
        weight: Tensor = self.linear.weight  # type: ignore[assignment]
        return F.conv1d(x.transpose(1, 2), weight[:, :, None], self.linear.bias).transpose(1, 2)  # type: ignore[arg-type]
