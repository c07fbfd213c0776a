"""Load the initial weights of a model before training."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from sed.errors import CheckpointError, UsageError
from sed.models.checkpoint import load_checkpoint
from sed.models.heads.attention import AttentionHead
from sed.models.network import SedModel
from sed.models.registry import DEFAULT_ALIAS, SHIPPED, find_model
from sed.text import printable, some
from train.config.train import TrainConfig

_logger = logging.getLogger("sed.train")

_CHECKED: set[str] = set()  # configs that passed `check_backbone`


def load_backbone(backbone: nn.Module, path: str | os.PathLike[str]) -> list[str]:
    """Load a backbone from a file with timm's names; return the names that it lacks.

    The file may be a checkpoint of this package, whatever its classes. Its head is ignored.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or fits another backbone.
    """
    name = printable(os.fspath(path))
    try:
        tensors = safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{name}: no such file. Check --init-weights.") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{name}: is not a safetensors file ({error}). Check --init-weights."
        ) from error
    if any(key.startswith("backbone.") for key in tensors):  # a checkpoint of this package
        tensors = {k.removeprefix("backbone."): t for k, t in tensors.items() if "backbone." in k}
    own = backbone.state_dict()
    fitting = {k: t for k, t in tensors.items() if k in own and own[k].shape == t.shape}
    missing = [k for k in own if k not in fitting and not k.endswith("num_batches_tracked")]
    if len(missing) > len(own) // 10:
        raise CheckpointError(
            f"{name}: holds {len(fitting)} of the backbone's {len(own)} tensors, the first missing "
            f"{missing[0]!r}. Set the backbone, in_channels and backbone_args it was made for."
        )
    backbone.load_state_dict(fitting, strict=False)
    return missing


def load_pretrained(
    model: SedModel, labels: Sequence[str], path: str | os.PathLike[str]
) -> list[str]:
    """Load a model from a file; return the names in its backbone that the file lacks.

    From a checkpoint of this package the head is loaded too, class by class: the class lists may
    differ, and classes that the checkpoint does not have keep their initial weights.

    Parameters
    ----------
    model
        The model to load into.
    labels
        Its class list.
    path
        A safetensors file.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or fits another backbone.
    """
    missing = load_backbone(model.backbone, path)
    if not _is_checkpoint(path):
        _load_classifier(model, path)
        return missing
    known = load_checkpoint(path)
    shapes = [[tuple(p.shape) for p in m.hidden.parameters()] for m in (model, known.model)]
    if shapes[0] != shapes[1] or model.n_features != known.model.n_features:
        return missing  # the head is of another architecture
    model.hidden.load_state_dict(known.model.hidden.state_dict())
    # The rest are classes of added heads, whose weights have another form.
    known_labels = known.labels[: known.model.n_own_classes]
    shared = [label for label in labels if label in known_labels]
    here = [labels.index(label) for label in shared]
    there = [known_labels.index(label) for label in shared]
    for own, other in zip(model.heads, known.model.heads, strict=False):
        for layer in ("classes", "attention"):
            target, source = getattr(own, layer), getattr(other, layer)
            with torch.no_grad():
                target.weight[here] = source.weight[there]
                target.bias[here] = source.bias[there]
    return missing


def _load_classifier(model: SedModel, path: str | os.PathLike[str]) -> None:
    """Load timm's classifier into a head without hidden layer, if it has as many classes.

    It was trained on the mean over time, so the attention starts equal for all frames.
    """
    tensors = safetensors.torch.load_file(path)
    weight, bias = tensors.get("classifier.weight"), tensors.get("classifier.bias")
    for head in model.heads:
        assert isinstance(head, AttentionHead)
        if weight is None or bias is None or head.classes.weight.shape != weight.shape:
            continue
        head.classes.load_state_dict({"weight": weight, "bias": bias})
        nn.init.zeros_(head.attention.weight)


def _is_checkpoint(path: str | os.PathLike[str]) -> bool:
    with safetensors.safe_open(path, "pt") as file:
        return any(key.startswith("backbone.") for key in file.keys())  # noqa: SIM118


def freeze_batch_norms(model: nn.Module) -> None:
    """Keep the statistics of all batch norms; their scale and shift are still trained.

    Call it after each ``model.train()``.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def check_backbone(config: TrainConfig) -> None:
    """Check that the backbone exists and keeps time, before anything is read.

    A config that passed once in this process is not checked again.

    Raises
    ------
    UsageError
        If it does not.
    """
    key = repr((config.model, config.log_mel))
    if key in _CHECKED:
        return
    with torch.random.fork_rng(devices=[]):
        try:
            SedModel(config.model, config.log_mel, n_classes=2)
        except ValueError as error:
            raise UsageError(str(error)) from error
    _CHECKED.add(key)


def build_model(config: TrainConfig, labels: Sequence[str]) -> tuple[SedModel, str]:
    """Return the initial model of a run, and a note on its weights for the log, or nothing.

    Random weights follow from the seed.

    Raises
    ------
    UsageError
        If the backbone does not exist or cannot keep time.
    CheckpointError
        If its weights cannot be loaded or fetched.
    """
    source = config.checkpoint.init_weights
    torch.manual_seed(config.seed)
    try:
        model = SedModel(config.model, config.log_mel, len(labels), pretrained=source == "timm")
    except ValueError as error:
        raise UsageError(str(error)) from error
    except Exception as error:  # timm's hub may raise anything
        if source != "timm":
            raise
        raise CheckpointError(
            f"{config.model.backbone}: timm's weights could not be fetched "
            f"({type(error).__name__}). Check the network, or give --init-weights a file."
        ) from error
    _logger.info("backbone %s, initial weights: %s", config.model.backbone, printable(source))
    missing: list[str] = []
    if source in (DEFAULT_ALIAS, *SHIPPED):  # without heads, whose classes have other sounds
        missing = load_backbone(model.backbone, find_model(source))
    elif source not in ("none", "timm"):
        missing = load_pretrained(model, labels, find_model(source))
    note = f"; {len(missing)} tensors start at random: {some(missing)}" if missing else ""
    return model, note
