"""Where the weights of the backbone come from before training."""

from __future__ import annotations

import os

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from sed.errors import CheckpointError, printable


def load_backbone(backbone: nn.Module, path: str | os.PathLike[str]) -> list[str]:
    """Fill a backbone from a file with timm's names; return the names left as they were.

    The file may be a checkpoint of ours, whatever its classes. A classifier in it is passed over.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or fits another backbone.
    """
    name = printable(os.fspath(path))
    try:
        tensors = safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{name}: no such file. Check the initial weights.") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{name}: is no safetensors file ({error}). Check the initial weights."
        ) from error
    if any(key.startswith("backbone.") for key in tensors):  # a checkpoint of ours
        tensors = {k.removeprefix("backbone."): t for k, t in tensors.items() if "backbone." in k}
    own = backbone.state_dict()
    fitting = {k: t for k, t in tensors.items() if k in own and own[k].shape == t.shape}
    missing = [k for k in own if k not in fitting and not k.endswith("num_batches_tracked")]
    if len(missing) > len(own) // 10:
        raise CheckpointError(
            f"{name}: holds {len(fitting)} of the backbone's {len(own)} tensors, the first missing "
            f"{missing[0]!r}. Choose the backbone, in_channels and backbone_args it was made for."
        )
    backbone.load_state_dict(fitting, strict=False)
    return missing


def freeze_batch_norms(model: nn.Module) -> None:
    """Keep the statistics of all batch norms as they are; their scale and shift go on learning.

    Call it after each ``model.train()``.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
