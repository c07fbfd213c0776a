"""Format a recipe as TOML with every key, its value and what it means."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Literal, get_args, get_origin, get_type_hints

from sed.config import field_docs
from sed.models.losses import LOSSES
from train.config.optim import METRIC_NAMES, CheckpointConfig, LossConfig
from train.config.train import TrainConfig

_COMMENT_COLUMN = 40
# Values of fields whose type does not list them.
_CHOICES: dict[tuple[type, str], Iterable[str]] = {
    (CheckpointConfig, "monitor"): METRIC_NAMES,
    (LossConfig, "name"): LOSSES,
}


def format_config(config: TrainConfig) -> str:
    """Return a recipe as TOML that `load_recipe` reads, with a comment for each key.

    A key without a value, which TOML cannot express, is a comment itself.
    """
    lines = []
    tables = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            tables.append(field.name)
        else:
            lines.append(_line(field.name, value, _comments(TrainConfig)[field.name]))
    for name in tables:
        table = getattr(config, name)
        comments = _comments(type(table))
        lines += ["", f"[{name}]"]
        for field in dataclasses.fields(table):
            lines.append(_line(field.name, getattr(table, field.name), comments[field.name]))
    return "\n".join(lines)


def _comments(kind: type) -> dict[str, str]:
    """Return a sentence for each field, and the values that it may have if they are few."""
    types = get_type_hints(kind)
    docs = field_docs(kind)
    comments = {}
    for name in types:
        literals = get_args(types[name]) if get_origin(types[name]) is Literal else ()
        values = _CHOICES.get((kind, name), literals)
        choices = f"One of {'|'.join(map(str, values))}." if values else ""
        comments[name] = f"{docs.get(name, '')} {choices}".strip().replace("``", "")
    return comments


def _line(key: str, value: object, comment: str) -> str:
    text = f"# {key} = (none)" if value is None else f"{key} = {_toml(value)}"
    return f"{text:<{_COMMENT_COLUMN}} # {comment}" if comment else text


def _toml(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return repr(value)
