"""Build the network: a timm backbone that keeps the time axis, and attention heads over frames.

::

    samples ─ LogMel ─▶ (columns, mels) ─ backbone ─▶ (features, frames, bands)
            ─ pooling over bands ─ max + mean over three frames
            ─ hidden layer ─▶ (frames, hidden)
            ─ attention heads, averaged ─▶ frame_logits, clip_logits, clip_probs, attention

Each head is the attention pooling of PANNs (Kong et al., 2020, arXiv:1912.10211)::

    attention[t, c] = softmax over t of tanh(W_att · x[t])
    clip_logits[c]  = Σ_t attention[t, c] · frame_logits[t, c]

Time is the height axis of the backbone's input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sed.features.log_mel import LogMelConfig
from sed.features.log_mel_torch import LogMel
from sed.models.head import AttentionHead, HeadOutput, SedOutput
from sed.text import near
from sed.timeline import frame_edges

# Arguments of timm.create_model that open or download files; a config may not set them.
LOADING_ARGUMENTS = {
    "pretrained",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
}

# Columns before and after that a delta feature is computed from.
DELTA_COLUMNS = 4

Arguments = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of the network; its input is described by `LogMelConfig`.

    Attributes
    ----------
    backbone
        Name of a convolutional model of timm.
    backbone_args
        Further arguments of ``timm.create_model``.
    in_channels
        Channels of the backbone's input: 1, or 3 for weights that were trained on colour images.
    input_channels_mode
        Content of three channels: ``repeat`` the log-mel spectrogram, or ``delta`` for the
        spectrogram with its first and second derivative over time.
    resize_time
        Factor by which the spectrogram is resized along time before the backbone.
    resize_freq
        Factor by which the spectrogram is resized along frequency before the backbone.
    freq_pooling
        Frequency bands of the last layer: ``mean`` over them, or ``concat`` as features.
    hidden
        Width of the layer between backbone and heads.
    n_heads
        Number of attention heads, whose outputs are averaged.
    dropout
        Probability of dropout before the hidden layer and before the heads.
    class_prior
        Initial probability of a class in a frame; 1 / classes if None.
    """

    backbone: str = "mobilenetv1_100"
    backbone_args: Arguments = field(default_factory=dict)
    in_channels: int = 1
    input_channels_mode: Literal["repeat", "delta"] = "repeat"
    resize_time: float = 1.0
    resize_freq: float = 1.0
    freq_pooling: Literal["mean", "concat"] = "mean"
    hidden: int = 512
    n_heads: int = 1
    dropout: float = 0.5
    class_prior: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot be built, and arguments that would load files."""
        if loading := sorted(LOADING_ARGUMENTS & set(self.backbone_args)):
            raise ValueError(f"backbone_args cannot hold {', '.join(loading)}")
        if self.in_channels not in (1, 3):
            raise ValueError(f"expected in_channels 1 or 3, got {self.in_channels}")
        if self.input_channels_mode not in ("repeat", "delta"):
            raise ValueError(
                f"expected input_channels_mode repeat or delta, got {self.input_channels_mode!r}"
            )
        if self.input_channels_mode == "delta" and self.in_channels != 3:
            raise ValueError(
                "input_channels_mode = delta needs three channels: set in_channels to 3"
            )
        if self.freq_pooling not in ("mean", "concat"):
            raise ValueError(f"expected freq_pooling mean or concat, got {self.freq_pooling!r}")
        if self.resize_time <= 0 or self.resize_freq <= 0:
            raise ValueError("expected resize_time and resize_freq above 0")
        if self.hidden < 1 or self.n_heads < 1:
            raise ValueError(f"expected hidden and n_heads >= 1, got {self.hidden}, {self.n_heads}")
        if self.class_prior is not None and not 0 < self.class_prior < 1:
            raise ValueError(f"expected a class_prior between 0 and 1, got {self.class_prior}")


class SedModel(nn.Module):
    """A sound classifier with an output per frame and per clip.

    Parameters
    ----------
    config
        Architecture.
    log_mel
        Parameters of the input spectrogram.
    n_classes
        Number of labels.
    pretrained
        Download timm's pretrained weights of the backbone.

    Raises
    ------
    ValueError
        If timm does not have the backbone, or its output has no time axis.
    """

    def __init__(
        self,
        config: ModelConfig,
        log_mel: LogMelConfig,
        n_classes: int,
        *,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"expected at least one class, got {n_classes}")
        self.config = config
        self.n_classes = n_classes
        self._n_frames: dict[int, int] = {}  # by the number of columns
        self.log_mel = LogMel(log_mel)
        self.backbone, shape, self.frame_columns = _create_framewise_backbone(
            config, log_mel.n_mels, pretrained=pretrained
        )
        _, channels, _, n_bands = shape
        self.n_features = channels * (n_bands if config.freq_pooling == "concat" else 1)
        self.hidden = nn.Linear(self.n_features, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        prior = config.class_prior or 1 / max(2, n_classes)
        self.heads = nn.ModuleList(
            AttentionHead(config.hidden, n_classes, prior) for _ in range(config.n_heads)
        )

    def forward(self, samples: Tensor) -> SedOutput:
        """Return the output for clips, (batch, samples), at the sample rate of `log_mel`."""
        return self.forward_log_mel(self.log_mel.forward_padded(samples))

    def forward_log_mel(self, log_mel: Tensor) -> SedOutput:
        """Return the output for log-mel spectrograms, (batch, columns, mels)."""
        return self.forward_head(self.frame_features(log_mel))

    def frame_features(self, log_mel: Tensor) -> Tensor:
        """Return features, (batch, frames, features), of spectrograms, (batch, columns, mels)."""
        return self.forward_features(self.prepare_input(log_mel))

    def prepare_input(self, log_mel: Tensor) -> Tensor:
        """Return the backbone's input for log-mel spectrograms, (batch, columns, mels).

        Returns
        -------
        Tensor
            (batch, channels, columns · resize_time, mels · resize_freq).
        """
        config = self.config
        if config.input_channels_mode == "delta":
            slope = _slope(log_mel)
            x = torch.stack([log_mel, slope, _slope(slope)], dim=1)
        else:
            x = log_mel.unsqueeze(1).expand(-1, config.in_channels, -1, -1)
        if config.resize_time != 1.0 or config.resize_freq != 1.0:
            size = _input_size(config, *log_mel.shape[1:])
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        """Return features, (batch, frames, features), of the output of `prepare_input`."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.backbone.forward_features(x)  # type: ignore[operator]
        # (batch, channels, frames, bands) to (batch, features, frames)
        x = x.mean(dim=3) if self.config.freq_pooling == "mean" else x.transpose(2, 3).flatten(1, 2)
        # max_pool2d, because torch.export makes the length of max_pool1d a constant.
        highest = F.max_pool2d(x[:, :, None], (1, 3), stride=1, padding=(0, 1))[:, :, 0]
        mean = F.avg_pool1d(x, 3, stride=1, padding=1, count_include_pad=False)
        return (highest + mean).transpose(1, 2)

    def forward_head(self, features: Tensor) -> SedOutput:
        """Return the mean output of the heads for features, (batch, frames, features)."""
        x = self._hidden(features)
        outputs = [head(x) for head in self.heads]
        if len(outputs) == 1:
            return outputs[0]  # type: ignore[no-any-return]
        return SedOutput(*(torch.stack(parts).mean(0) for parts in zip(*outputs, strict=True)))

    def frame_outputs(self, features: Tensor) -> HeadOutput:
        """Return the outputs per frame, independent of windows, of (batch, frames, features)."""
        x = self._hidden(features)
        scores = [head.logits_and_attention(x) for head in self.heads]  # type: ignore[operator]
        logits, weights = (torch.stack(parts, dim=2) for parts in zip(*scores, strict=True))
        return HeadOutput(logits.mean(dim=2).sigmoid(), logits.sigmoid(), weights.exp())

    def _hidden(self, features: Tensor) -> Tensor:
        x = F.relu(self.hidden(self.dropout(features)))  # (batch, frames, hidden)
        return self.dropout(x)  # type: ignore[no-any-return]

    def n_frames(self, n_columns: int) -> int:
        """Return the number of frames that the backbone makes of `n_columns` columns."""
        if n_columns not in self._n_frames:
            mels = self.log_mel.config.n_mels
            size = _input_size(self.config, n_columns, mels)
            x = next(self.parameters()).new_zeros(1, self.config.in_channels, *size)
            self._n_frames[n_columns] = _try_backbone(self.backbone, x).shape[2]
        return self._n_frames[n_columns]

    def frame_edges(self, n_columns: int) -> NDArray[np.int64]:
        """Return the edges of frames in columns, (n_frames + 1,); see `sed.timeline`."""
        return frame_edges(self.n_frames(n_columns), self.frame_columns, n_columns)

    def as_dict(self) -> dict[str, Any]:
        """Return the configs that rebuild this model, as plain values for JSON."""
        return {
            "model": dataclasses.asdict(self.config),
            "log_mel": dataclasses.asdict(self.log_mel.config),
        }


def create_backbone(config: ModelConfig, *, pretrained: bool = False) -> nn.Module:
    """Create the timm model of a config, without its classifier.

    Parameters
    ----------
    config
        Names the model.
    pretrained
        Download timm's pretrained weights.

    Raises
    ------
    ValueError
        If timm has no such model.
    """
    if not timm.is_model(config.backbone.split(".")[0]):
        raise ValueError(
            f"unknown backbone {config.backbone!r}. {near(config.backbone, timm.list_models())}"
        )
    arguments: dict[str, Any] = dict(config.backbone_args)
    return timm.create_model(
        config.backbone,
        pretrained=pretrained,
        in_chans=config.in_channels,
        num_classes=0,
        global_pool="",
        **arguments,
    )


def _create_framewise_backbone(
    config: ModelConfig, n_mels: int, *, pretrained: bool
) -> tuple[nn.Module, tuple[int, ...], int]:
    """Return a backbone, the shape of its output for one input, and its columns per frame."""
    refusal = (
        f"backbone {config.backbone!r} does not keep the time axis: expected output of shape "
        "(batch, features, frames, bands) for an input of any length, got {}. Choose a "
        "convolutional one, for example efficientnet_b0, resnet34, eca_nfnet_l0 or convnext_tiny."
    )
    n_frames = 8
    try:
        backbone = _create_with_arguments(config, pretrained=pretrained)
        stride = int(backbone.feature_info[-1]["reduction"])  # type: ignore[index]
        x = torch.zeros(1, config.in_channels, n_frames * stride, _input_size(config, 1, n_mels)[1])
        shape = tuple(_try_backbone(backbone, x).shape)
    except (AssertionError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(refusal.format(f"'{error}'")) from error
    except RuntimeError as error:
        if pretrained:  # an error of the download
            raise
        raise ValueError(refusal.format(f"'{error}'")) from error
    if len(shape) != 4 or shape[2] != n_frames or shape[1] == n_frames:
        raise ValueError(refusal.format(shape))
    frame_columns = stride / config.resize_time
    if abs(frame_columns - round(frame_columns)) > 1e-6:
        raise ValueError(
            f"expected a resize_time that makes a frame a whole number of columns, got "
            f"{config.resize_time:g}: {stride} / {config.resize_time:g} = {frame_columns:g}"
        )
    return backbone, shape, round(frame_columns)


def _create_with_arguments(config: ModelConfig, *, pretrained: bool) -> nn.Module:
    """Create a backbone; an error names the backbone_args if it does not accept them."""
    try:
        return create_backbone(config, pretrained=pretrained)
    except TypeError as error:
        if not config.backbone_args:
            raise
        raise ValueError(
            f"backbone {config.backbone!r} does not accept backbone_args "
            f"{', '.join(config.backbone_args)} ({error}). Set model.backbone_args to {{}}, or to "
            "arguments that it accepts."
        ) from error


def _input_size(config: ModelConfig, n_columns: int, n_mels: int) -> tuple[int, int]:
    """Return the size of a spectrogram after resizing."""
    return (
        max(1, round(n_columns * config.resize_time)),
        max(1, round(n_mels * config.resize_freq)),
    )


def _slope(log_mel: Tensor) -> Tensor:
    """Return the delta features over nine columns: ``Σ_k k·x[t+k] / Σ_k k²``, k = -4 … 4."""
    n = DELTA_COLUMNS
    steps = torch.arange(-n, n + 1, dtype=log_mel.dtype, device=log_mel.device)
    x = log_mel.transpose(1, 2)  # (batch, mels, columns)
    x = F.pad(x, (n, n), mode="replicate").unfold(2, 2 * n + 1, 1)
    return ((x @ steps) / steps.square().sum()).transpose(1, 2)


@torch.inference_mode()
def _try_backbone(backbone: nn.Module, x: Tensor) -> Tensor:
    """Return the output of a backbone, without changing its statistics or modes."""
    modes = {module: module.training for module in backbone.modules()}
    try:
        return backbone.eval().forward_features(x)  # type: ignore[operator, no-any-return]
    finally:
        for module, training in modes.items():
            module.training = training
