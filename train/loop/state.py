"""Everything that a run needs to go on as if it had never stopped, in one file.

``state.safetensors`` holds the weights, their average and the optimizer's memory as tensors, and
the rest (where in which epoch, the history, the rates) as JSON in its header. It is written whole,
so a crash leaves the one before it. Random numbers need no state: they follow from seed and step.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sed.errors import CheckpointError
from sed.files import written_whole
from sed.text import printable


@dataclass
class State:
    """What moves during training, by name; each is filled in place on loading."""

    modules: dict[str, nn.Module]
    optimizer: Optimizer
    values: dict[str, Any]  # plain values for JSON


def save_state(path: str | os.PathLike[str], state: State) -> None:
    """Write the state, whole or not at all."""
    tensors = {
        f"{name}/{key}": tensor.detach().cpu().contiguous()
        for name, module in state.modules.items()
        for key, tensor in module.state_dict().items()
    }
    cached_json = state.optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for index, entry in cached_json["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value.detach().cpu().contiguous()
            else:
                plain.setdefault(str(index), {})[key] = value
    groups = []
    for index, group in enumerate(cached_json["param_groups"]):
        tensors |= {
            f"group/{index}/{key}": value.detach().cpu()
            for key, value in group.items()
            if isinstance(value, Tensor)
        }
        groups.append({k: v for k, v in group.items() if not isinstance(v, Tensor)})
    header = {
        "values": state.values,
        "optimizer_values": plain,
        "optimizer_groups": groups,
    }
    with written_whole(path) as part:
        part.write_bytes(safetensors.torch.save(tensors, {"state": json.dumps(header)}))


def load_state(path: str | os.PathLike[str], state: State) -> None:
    """Fill modules, optimizer and values from a file that `save_state` wrote.

    Raises
    ------
    CheckpointError
        If the file is none of ours, or of another model.
    """
    name = printable(os.fspath(path))
    try:
        with safetensors.safe_open(Path(path), "pt") as file:
            header = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        entries: dict[int, dict[str, Any]] = {
            int(index): dict(values) for index, values in header["optimizer_values"].items()
        }
        for key, tensor in tensors.items():
            owner, _, rest = key.partition("/")
            index, _, what = rest.partition("/")
            if owner == "optimizer":
                entries.setdefault(int(index), {})[what] = tensor
            elif owner == "group":
                header["optimizer_groups"][int(index)][what] = tensor
        for owner, module in state.modules.items():
            prefix = f"{owner}/"
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        state.optimizer.load_state_dict(
            {"state": entries, "param_groups": header["optimizer_groups"]}
        )
    except (
        safetensors.SafetensorError,
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as e:
        reason = " ".join(str(e).split())[:300]
        raise CheckpointError(
            f"{name}: cannot go on from it ({reason}). Delete it to begin anew."
        ) from e
    state.values.clear()
    state.values.update(header["values"])
