"""Columns to classes: a timm backbone that keeps time, and attention heads that look along it.

::

    samples ─ LogMel ─▶ (columns, mels) ─ backbone ─▶ (features, frames, bands)
            ─ mean over bands, or all of them ─ max + mean over three frames
            ─ hidden layer ─▶ (frames, hidden)
            ─ attention heads, averaged ─▶ frame_logits, clip_logits, clip_probs, attention

The head is the one of PANNs (Kong et al., 2020, arXiv:1912.10211) in the form that BirdCLEF
competitors gave it. Time lies on the height axis of the picture.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sed.features.log_mel import LogMelConfig
from sed.features.log_mel_torch import LogMel
from sed.text import near
from sed.timeline import frame_edges

# Arguments of timm.create_model that open files or fetch them: no config may ask for that.
_LOADING = {
    "pretrained",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
}

Arguments = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class ModelConfig:
    """What the network is made of; `LogMelConfig` says what it sees."""

    backbone: str = "mobilenetv1_100"  # any convolutional model of timm, by name
    backbone_args: Arguments = field(default_factory=dict)  # passed to timm.create_model
    in_channels: int = 1  # 1, or 3 to repeat the picture for weights that know colours
    input_channels_mode: Literal["repeat", "delta"] = "repeat"  # delta: log-mel and two slopes
    resize_time: float = 1.0  # the picture is resized by this along time before the backbone
    resize_freq: float = 1.0  # and by this along frequency
    freq_pooling: Literal["mean", "concat"] = "mean"  # of the last layer: averaged, or kept apart
    hidden: int = 512  # width of the layer between backbone and heads
    n_heads: int = 1  # attention heads whose outputs are averaged
    dropout: float = 0.5  # before the hidden layer and before the heads
    class_prior: float | None = None  # initial probability of a class in a frame; None: 1 / classes

    def __post_init__(self) -> None:
        """Refuse what cannot be built, and what would read or fetch files by itself."""
        if loading := sorted(_LOADING & set(self.backbone_args)):
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


class SedOutput(NamedTuple):
    """What the model says about a batch of windows."""

    frame_logits: Tensor  # (batch, frames, classes)
    clip_logits: Tensor  # (batch, classes): attention-weighted mean of the frame logits
    clip_probs: Tensor  # (batch, classes): attention-weighted mean of the frame probabilities
    attention: Tensor  # (batch, frames, classes), sums to one over frames

    @property
    def frame_probs(self) -> Tensor:
        """Probability of each class in each frame, shape (batch, frames, classes)."""
        return self.frame_logits.sigmoid()


class HeadOutput(NamedTuple):
    """What the model says about frames, before anything is pooled over windows.

    Of a window of any length, the probability of a class is, averaged over heads,
    Σ weight · probability / Σ weight over its frames: `SedOutput.clip_probs`.
    """

    frame_probs: Tensor  # (batch, frames, classes)
    head_probs: Tensor  # (batch, frames, heads, classes), of which those are the mean in logits
    head_weights: Tensor  # (batch, frames, heads, classes): attention, not yet normalised


class AttentionHead(nn.Module):
    """One attention head: what is in each frame, and which frames count for the clip."""

    def __init__(self, width: int, n_classes: int, prior: float) -> None:
        super().__init__()
        self.classes = nn.Linear(width, n_classes)
        self.attention = nn.Linear(width, n_classes)
        for layer in (self.classes, self.attention):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Starting at the prior spares the first epochs, in which BCE would only learn this bias.
        nn.init.constant_(self.classes.bias, math.log(prior / (1 - prior)))

    def forward(self, x: Tensor) -> SedOutput:
        """Map (batch, frames, width) to a `SedOutput`."""
        frame_logits, scores = self.logits_and_attention(x)
        attention = torch.softmax(scores, dim=1)
        return SedOutput(
            frame_logits,
            (attention * frame_logits).sum(1),
            (attention * frame_logits.sigmoid()).sum(1),
            attention,
        )

    def logits_and_attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, frames, width) to frame logits and the logarithm of what frames count."""
        return self.classes(x), torch.tanh(self.attention(x))


class SedModel(nn.Module):
    """A frame-wise and clip-wise sound classifier.

    Parameters
    ----------
    config
        Backbone and head.
    log_mel
        The front end.
    n_classes
        Number of labels.
    pretrained
        Fetch timm's pretrained weights of the backbone from its hub.

    Raises
    ------
    ValueError
        If timm does not know the backbone, or the backbone does not keep time.
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
        self._n_frames: dict[int, int] = {}  # of a picture, by its columns
        self.log_mel = LogMel(log_mel)
        self.backbone, shape, self.frame_columns = _backbone_that_keeps_time(
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
        """Classify clips, shape (batch, samples), at the sample rate of the front end."""
        return self.forward_log_mel(self.log_mel.forward_padded(samples))

    def forward_log_mel(self, columns: Tensor) -> SedOutput:
        """Classify log-mel pictures, shape (batch, columns, mels)."""
        return self.forward_head(self.frame_features(columns))

    def frame_features(self, columns: Tensor) -> Tensor:
        """Map pictures (batch, columns, mels) to frames of features, (batch, frames, features)."""
        return self.forward_features(self.prepare_input(columns))

    def prepare_input(self, columns: Tensor) -> Tensor:
        """Map log-mels (batch, columns, mels) to what the backbone sees.

        Out: (batch, channels, columns, mels), the last two scaled as the config says.
        """
        config = self.config
        if config.input_channels_mode == "delta":
            slope = _slope(columns)
            x = torch.stack([columns, slope, _slope(slope)], dim=1)
        else:
            x = columns.unsqueeze(1).expand(-1, config.in_channels, -1, -1)
        if config.resize_time != 1.0 or config.resize_freq != 1.0:
            size = _scaled(config, *columns.shape[1:])
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return x

    def forward_features(self, picture: Tensor) -> Tensor:
        """Map what the backbone sees to frames of features, (batch, frames, features)."""
        x = picture.contiguous(memory_format=torch.channels_last)
        x = self.backbone.forward_features(x)  # type: ignore[operator]
        # (batch, channels, frames, bands) to (batch, features, frames)
        x = x.mean(dim=3) if self.config.freq_pooling == "mean" else x.transpose(2, 3).flatten(1, 2)
        # In two dimensions, since torch.export takes the length of max_pool1d for a constant.
        highest = F.max_pool2d(x[:, :, None], (1, 3), stride=1, padding=(0, 1))[:, :, 0]
        mean = F.avg_pool1d(x, 3, stride=1, padding=1, count_include_pad=False)
        return (highest + mean).transpose(1, 2)

    def forward_head(self, features: Tensor) -> SedOutput:
        """Map frame features to what the heads say, averaged."""
        x = self._hidden(features)
        outputs = [head(x) for head in self.heads]
        if len(outputs) == 1:
            return outputs[0]  # type: ignore[no-any-return]
        return SedOutput(*(torch.stack(parts).mean(0) for parts in zip(*outputs, strict=True)))

    def frame_outputs(self, features: Tensor) -> HeadOutput:
        """Map frame features to what the heads say of each frame, whatever window it is in."""
        x = self._hidden(features)
        scores = [head.logits_and_attention(x) for head in self.heads]  # type: ignore[operator]
        logits, weights = (torch.stack(parts, dim=2) for parts in zip(*scores, strict=True))
        return HeadOutput(logits.mean(dim=2).sigmoid(), logits.sigmoid(), weights.exp())

    def _hidden(self, features: Tensor) -> Tensor:
        x = F.relu(self.hidden(self.dropout(features)))  # (batch, frames, hidden)
        return self.dropout(x)  # type: ignore[no-any-return]

    def n_frames(self, n_columns: int) -> int:
        """Return how many frames the backbone makes of a picture so many columns long."""
        if n_columns not in self._n_frames:
            mels = self.log_mel.config.n_mels
            size = _scaled(self.config, n_columns, mels)
            picture = next(self.parameters()).new_zeros(1, self.config.in_channels, *size)
            self._n_frames[n_columns] = _features(self.backbone, picture).shape[2]
        return self._n_frames[n_columns]

    def frame_edges(self, n_columns: int) -> NDArray[np.int64]:
        """Return where the frames of so long a window begin and end; see `sed.timeline`."""
        return frame_edges(self.n_frames(n_columns), self.frame_columns, n_columns)

    def as_dict(self) -> dict[str, Any]:
        """Return what rebuilds this model, without its weights; plain values for JSON."""
        return {
            "model": dataclasses.asdict(self.config),
            "log_mel": dataclasses.asdict(self.log_mel.config),
        }


def create_backbone(config: ModelConfig, *, pretrained: bool = False) -> nn.Module:
    """Create the timm model named in the config, without its classifier."""
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


def _backbone_that_keeps_time(
    config: ModelConfig, n_mels: int, *, pretrained: bool
) -> tuple[nn.Module, tuple[int, ...], int]:
    """Return a backbone, the shape of what it makes, and its columns per frame, or refuse it."""
    refusal = (
        f"backbone {config.backbone!r} does not keep time: expected features of shape (batch, "
        "features, frames, bands) for a picture of any length, got {}. Choose a convolutional "
        "one, for example efficientnet_b0, resnet34, eca_nfnet_l0 or convnext_tiny."
    )
    n_frames = 8
    try:
        backbone = create_backbone(config, pretrained=pretrained)
        stride = int(backbone.feature_info[-1]["reduction"])  # type: ignore[index]
        picture = torch.zeros(
            1, config.in_channels, n_frames * stride, _scaled(config, 1, n_mels)[1]
        )
        shape = tuple(_features(backbone, picture).shape)
    except (AssertionError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(refusal.format(f"'{error}'")) from error
    except RuntimeError as error:
        if pretrained:  # the hub, not the shape
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


def _scaled(config: ModelConfig, n_columns: int, n_mels: int) -> tuple[int, int]:
    """Return the size of a picture after it is resized."""
    return (
        max(1, round(n_columns * config.resize_time)),
        max(1, round(n_mels * config.resize_freq)),
    )


def _slope(columns: Tensor) -> Tensor:
    """Return the slope of each band over nine columns, by regression: the usual delta."""
    reach = 4
    steps = torch.arange(-reach, reach + 1, dtype=columns.dtype, device=columns.device)
    x = columns.transpose(1, 2)  # (batch, mels, columns)
    x = F.pad(x, (reach, reach), mode="replicate").unfold(2, 2 * reach + 1, 1)
    return ((x @ steps) / steps.square().sum()).transpose(1, 2)


@torch.inference_mode()
def _features(backbone: nn.Module, picture: Tensor) -> Tensor:
    """Try a backbone on a picture, and leave it as it was: statistics and modes too."""
    modes = {module: module.training for module in backbone.modules()}
    try:
        return backbone.eval().forward_features(picture)  # type: ignore[operator, no-any-return]
    finally:
        for module, training in modes.items():
            module.training = training
