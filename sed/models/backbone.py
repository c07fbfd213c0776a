"""Build the backbone: a convolutional model of timm that keeps the time axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from sed.text import near

# Arguments of timm.create_model that open or download files; a config may not set them.
LOADING_ARGUMENTS = {
    "pretrained",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
}

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
    time_stride
        Columns per frame. Strides along time that would make them more become dilations; strides
        along frequency stay. 0 keeps the backbone's own.
    freq_pooling
        Frequency bands of the last layer: ``mean`` over them, or ``concat`` as features.
    smoothing_frames
        Features of a frame are the sum of maximum and mean over this many frames around it, odd;
        with 1 they are its own.
    hidden
        Width of the layer between backbone and heads; 0 is none.
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
    time_stride: int = 0
    freq_pooling: Literal["mean", "concat"] = "mean"
    smoothing_frames: int = 3
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
        if self.hidden < 0 or self.n_heads < 1:
            raise ValueError(
                f"expected hidden >= 0 and n_heads >= 1, got {self.hidden}, {self.n_heads}"
            )
        if self.smoothing_frames < 1 or self.smoothing_frames % 2 == 0:
            raise ValueError(f"expected odd smoothing_frames, got {self.smoothing_frames}")
        if self.class_prior is not None and not 0 < self.class_prior < 1:
            raise ValueError(f"expected a class_prior between 0 and 1, got {self.class_prior}")


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
    backbone = timm.create_model(
        config.backbone,
        pretrained=pretrained,
        in_chans=config.in_channels,
        num_classes=0,
        global_pool="",
        **arguments,
    )
    if config.time_stride:
        dilate_time(backbone, config.time_stride)
    return backbone


def parameters_on_paper(config: ModelConfig) -> int:
    """Return the number of weights of the backbone of a config, without memory for them.

    It is 0 if the model cannot be built without.
    """
    try:
        with torch.device("meta"):
            backbone = create_backbone(config)
    except (NotImplementedError, RuntimeError):
        return 0
    return sum(parameter.numel() for parameter in backbone.parameters())


def dilate_time(backbone: nn.Module, time_stride: int) -> None:
    """Replace the strides along time beyond `time_stride` by dilations (à trous, in place).

    Every second frame of a network so changed is a frame of the original one. Unlike timm's
    ``output_stride`` it leaves frequency alone, where the padding of a few bands is part of what
    the weights were trained with.

    Parameters
    ----------
    backbone
        A chain of convolutions; time is the height axis.
    time_stride
        Columns per frame of the result.
    """
    stride = dilation = 1
    for module in backbone.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        own, beyond = module.stride[0], dilation
        if stride * own > time_stride:
            module.stride = (1, module.stride[1])
            beyond, own = dilation * own, 1
        stride *= own
        if dilation > 1 and module.kernel_size[0] > 1:
            module.dilation = (dilation, module.dilation[1])
            if not isinstance(module.padding, str):
                module.padding = (dilation * module.padding[0], module.padding[1])
        dilation = beyond


def create_framewise_backbone(
    config: ModelConfig, n_mels: int, *, pretrained: bool
) -> tuple[nn.Module, tuple[int, ...], int]:
    """Return a backbone, the shape of its output for one input, and its columns per frame.

    Parameters
    ----------
    config
        Names the model.
    n_mels
        Mel bands of the spectrograms.
    pretrained
        Download timm's pretrained weights.

    Raises
    ------
    ValueError
        If timm does not have the backbone, or its output has no time axis.
    """
    refusal = (
        f"backbone {config.backbone!r} does not keep the time axis: expected output of shape "
        "(batch, features, frames, bands) for an input of any length, got {}. Choose a "
        "convolutional one, for example efficientnet_b0, resnet34, eca_nfnet_l0 or convnext_tiny."
    )
    if config.time_stride:
        refusal = (
            f"time_stride {config.time_stride} needs a chain of convolutions with larger strides: "
            f"{config.backbone!r} gives {{}}. Choose for example mobilenetv1_100, or time_stride 0."
        )
    n_frames = 8
    try:
        backbone = _create_with_arguments(config, pretrained=pretrained)
        stride = config.time_stride or int(backbone.feature_info[-1]["reduction"])  # type: ignore[index]
        x = torch.zeros(1, config.in_channels, n_frames * stride, input_size(config, 1, n_mels)[1])
        shape = tuple(try_backbone(backbone, x).shape)
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


def input_size(config: ModelConfig, n_columns: int, n_mels: int) -> tuple[int, int]:
    """Return the size of a spectrogram after resizing."""
    return (
        max(1, round(n_columns * config.resize_time)),
        max(1, round(n_mels * config.resize_freq)),
    )


@torch.inference_mode()
def try_backbone(backbone: nn.Module, x: Tensor) -> Tensor:
    """Return the output of a backbone, without changing its statistics or modes."""
    modes = {module: module.training for module in backbone.modules()}
    try:
        return backbone.eval().forward_features(x)  # type: ignore[operator, no-any-return]
    finally:
        for module, training in modes.items():
            module.training = training
