"""Save and load the state of a run, so that resuming gives what an unbroken run gives.

``state.safetensors`` holds the weights, their average and the optimizer's state as tensors, and the
rest (epoch and batch, history, learning rates) as JSON in its header, which also has a checksum of
the file. It is written whole, so that a crash leaves the one before it. Random generators have no
state: they follow from seed and step.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sed.errors import CheckpointError
from sed.files import parse_json, written_whole
from sed.text import message_of, printable

FORMAT_VERSION = 3
UNCHECKED_VERSION = 2  # of earlier releases: the same without a checksum
NO_CHECKSUM = "0" * 64  # in its place while the checksum is computed

EpochMetrics = dict[str, float]  # a row of history.csv


@dataclass
class TrainState:
    """Progress of a run: plain values, saved in its state."""

    epoch: int = 0  # the current one, counted from 0
    batch: int = 0  # the next one of it
    losses: list[float] = field(default_factory=list)  # of its batches so far
    history: list[EpochMetrics] = field(default_factory=list)  # of the epochs before
    best: float = -math.inf  # monitored metric of the best epoch
    best_epoch: int = 0  # counted from 1; 0: none yet

    def __post_init__(self) -> None:
        """Refuse values of other kinds, which a damaged file may give."""
        counts = (self.epoch, self.batch, self.best_epoch)
        numbers = [self.best, *self.losses, *(x for row in self.history for x in row.values())]
        is_right = all(type(n) is int and n >= 0 for n in counts) and all(map(_is_number, numbers))
        if not is_right:
            raise ValueError("its progress is none of a run")


@dataclass
class ResumableState:
    """What changes during training; loading updates it in place."""

    modules: dict[str, nn.Module]
    optimizer: Optimizer
    values: dict[str, Any]  # plain values for JSON


def save_state(path: str | os.PathLike[str], state: ResumableState) -> None:
    """Write the state, whole or not at all.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    tensors = {
        f"{name}/{key}": tensor.detach().cpu().contiguous()
        for name, module in state.modules.items()
        for key, tensor in module.state_dict().items()
    }
    optimizer = state.optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for index, entry in optimizer["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value.detach().cpu().contiguous()
            else:
                plain.setdefault(str(index), {})[key] = value
    groups = []
    for index, group in enumerate(optimizer["param_groups"]):
        tensors |= {
            f"group/{index}/{key}": value.detach().cpu()
            for key, value in group.items()
            if isinstance(value, Tensor)
        }
        groups.append({k: v for k, v in group.items() if not isinstance(v, Tensor)})
    header = {
        "format_version": FORMAT_VERSION,
        "values": state.values,
        "optimizer_values": plain,
        "optimizer_groups": groups,
    }
    content = safetensors.torch.save(tensors, {"state": json.dumps(header), "sha256": NO_CHECKSUM})
    with written_whole(path) as part, open(part, "wb") as file:
        file.write(content)
        file.seek(content.index(NO_CHECKSUM.encode()))
        file.write(hashlib.sha256(content).hexdigest().encode())


def load_state(path: str | os.PathLike[str], state: ResumableState) -> None:
    """Load modules, optimizer and values from a file that `save_state` wrote.

    Raises
    ------
    CheckpointError
        If the file is not a state, damaged, of another format version, or of another model.
    """
    with resume_errors(path):
        content = Path(path).read_bytes()
        header = _checked_header(content)
        tensors = safetensors.torch.load(content)
        entries: dict[int, dict[str, Any]] = {
            int(index): dict(values) for index, values in header["optimizer_values"].items()
        }
        groups = header["optimizer_groups"]
        for own, saved in zip(state.optimizer.param_groups, groups, strict=True):
            if odd := [k for k in saved if _is_number(own.get(k)) and not _is_number(saved[k])]:
                raise ValueError(f"no number for {odd[0]}")
        for key, tensor in tensors.items():
            owner, _, rest = key.partition("/")
            index, _, name_in_entry = rest.partition("/")
            if owner == "optimizer":
                entries.setdefault(int(index), {})[name_in_entry] = tensor
            elif owner == "group":
                groups[int(index)][name_in_entry] = tensor
        values = dict(header["values"])
        for owner, module in state.modules.items():
            prefix = f"{owner}/"
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        state.optimizer.load_state_dict({"state": entries, "param_groups": groups})
        state.values.clear()
        state.values.update(values)


@contextmanager
def resume_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a damaged state causes into a `CheckpointError` with the remedy."""
    try:
        yield
    # Optimizers and schedules of any library check nothing: they raise any exception.
    except Exception as error:
        if isinstance(error, CheckpointError):
            raise
        name = printable(os.fspath(path))
        last = printable(str(Path(path).with_name("last.safetensors")))
        raise CheckpointError(
            f"{name}: cannot resume from it ({message_of(error)}). Go on from the weights of its "
            f"last epoch with --init-weights {last} and another --output, or delete the run to "
            "start again."
        ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked_header(content: bytes) -> dict[str, Any]:
    """Return the plain values of a state, after comparing its version and its checksum."""
    n_bytes = int.from_bytes(content[:8], "little")
    metadata = parse_json(content[8 : 8 + n_bytes])["__metadata__"]
    header: dict[str, Any] = parse_json(metadata["state"])
    version, checksum = header.get("format_version", 1), metadata.get("sha256", "")
    if checksum or version == FORMAT_VERSION:
        empty = content.replace(checksum.encode(), NO_CHECKSUM.encode(), 1)
        if hashlib.sha256(empty).hexdigest() != checksum:
            raise ValueError("its checksum differs: the file is damaged")
    if version not in (FORMAT_VERSION, UNCHECKED_VERSION):
        raise ValueError(f"state of format version {version}, expected {FORMAT_VERSION}")
    return header
