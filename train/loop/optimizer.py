"""Create the optimizer, average the weights, and freeze parts of a model."""

from __future__ import annotations

import copy

import timm.layers
import timm.optim
import torch
from timm.models import group_parameters
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim import Optimizer

from sed.models.network import SedModel
from sed.text import near
from train.config.optim import OptimConfig
from train.loop.initial import freeze_batch_norms


def create_optimizer(model: SedModel, extra: nn.Module, config: OptimConfig) -> Optimizer:
    """Return the optimizer named in the config.

    The rate of each parameter group is ``group["scale"]`` times the learning rate: 1 for the head
    and `extra`, `backbone_lr_scale` for the backbone, times `layer_decay` for each layer towards
    its input. Biases and norms are not decayed. (timm's own key, ``lr_scale``, would be applied
    once more by its schedules.)

    Parameters
    ----------
    model
        The model to train.
    extra
        Other layers that are trained with it.
    config
        Optimizer, rates and weight decay.

    Raises
    ------
    ValueError
        If neither timm nor torch has the optimizer.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    depth = _depths(model.backbone) if config.layer_decay < 1 else {}
    named = [*model.named_parameters(), *extra.named_parameters(prefix="extra")]
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        scale = 1.0
        if name.startswith("backbone."):
            layers_after = depth.get(name.removeprefix("backbone."), 0)
            scale = config.backbone_lr_scale * config.layer_decay**layers_after
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    parameters = [
        {"params": members, "scale": scale, "weight_decay": decay}
        for (scale, decay), members in groups.items()
    ]
    name = config.optimizer
    if name.lower() in timm.optim.list_optimizers():
        return timm.optim.create_optimizer_v2(
            parameters, name.lower(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
    if isinstance(kind := getattr(torch.optim, name, None), type) and issubclass(kind, Optimizer):
        return kind(parameters, lr=config.learning_rate)  # type: ignore[call-arg]
    known = [str(known) for known in timm.optim.list_optimizers()]
    raise ValueError(f"unknown optimizer {name!r}. {near(name, known)}")


def _depths(backbone: nn.Module) -> dict[str, int]:
    """Return the number of layers after that of each parameter of a backbone."""
    matcher = backbone.group_matcher(coarse=False)  # type: ignore[operator]
    groups = group_parameters(backbone, matcher, reverse=True)
    last = max(groups.values())
    return {name: last - layer for name, layer in groups.items()}


class EMA:
    """Exponential moving average of a model's weights, which is validated and kept.

    avg ← d · avg + (1 − d) · weights, with a decay d that rises to `decay` (timm's warm-up), so
    that the average does not hold on to the first steps.

    Parameters
    ----------
    model
        The model to average.
    decay
        Final decay, from 0 to below 1.
    """

    def __init__(self, model: SedModel, decay: float) -> None:
        self._average = ModelEmaV3(model, decay=decay, use_warmup=True)

    @property
    def model(self) -> SedModel:
        """The averaged model."""
        return self._average.module  # type: ignore[no-any-return]

    def update(self, model: SedModel, step: int) -> None:
        """Add the weights after a step, counted from 0 over the whole run."""
        self._average.update(model, step=step)


def averaged(model: SedModel, other: SedModel, share: float) -> SedModel:
    """Return a model whose weights are a weighted mean of those of two models.

    Parameters
    ----------
    model
        The first model, unchanged.
    other
        The second one, of the same architecture.
    share
        Weight of `other`, from 0 to 1.
    """
    result = copy.deepcopy(model)
    with torch.no_grad():
        for own, weights in zip(
            result.state_dict().values(), other.state_dict().values(), strict=True
        ):
            if own.is_floating_point():
                own.lerp_(weights, share)
    return result


def freeze_stages(model: SedModel, n_stages: int) -> list[nn.Module]:
    """Exclude the first stages of the backbone from training; return the modules in them.

    Raises
    ------
    ValueError
        If the backbone has fewer stages.
    """
    if n_stages == 0:
        return []
    stages = [info["module"] for info in model.backbone.feature_info]  # type: ignore[union-attr]
    if n_stages > len(stages):
        raise ValueError(f"expected frozen_stages up to {len(stages)}, got {n_stages}")
    last = stages[n_stages - 1]
    frozen: list[nn.Module] = []
    reached = False
    for name, module in model.backbone.named_modules():
        inside = name == last or name.startswith(f"{last}.")
        if reached and not inside:
            break
        reached = reached or inside
        if name:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            frozen.append(module)
    return frozen


def freeze_pointwise(model: SedModel) -> None:
    """Exclude the pointwise convolutions of the backbone from training.

    Raises
    ------
    ValueError
        If the backbone has none.
    """
    layers = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    pointwise = [layer for layer in layers if layer.kernel_size == (1, 1)]
    if not pointwise:
        raise ValueError(
            f"{model.config.backbone} has no pointwise convolutions: leave pointwise at train"
        )
    for layer in pointwise:
        layer.requires_grad_(False)


def sync_batch_norms(model: SedModel) -> SedModel:
    """Return a model whose batch norms compute their statistics over all processes.

    By timm's converter, since torch's drops the activations that timm's norms include.
    """
    return timm.layers.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]


def train_mode(model: SedModel, frozen: list[nn.Module], *, batch_norm: str) -> None:
    """Put a model into training mode, except modules that keep their statistics.

    Parameters
    ----------
    model
        The model.
    frozen
        Modules of its frozen stages, from `freeze_stages`.
    batch_norm
        ``train``, or ``frozen`` to keep the statistics of all batch norms.
    """
    model.train()
    if batch_norm == "frozen":
        freeze_batch_norms(model)
    for module in frozen:
        module.training = False  # not of its children, which may be trained
