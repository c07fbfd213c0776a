"""Format a recipe as TOML with every key, its value and what it means."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from sed.config import field_docs
from train.config.train import TrainConfig

_COMMENT_COLUMN = 40


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
            lines.append(_line(field.name, value, field_docs(TrainConfig).get(field.name, "")))
    for name in tables:
        table = getattr(config, name)
        docs = field_docs(type(table))
        lines += ["", f"[{name}]"]
        for field in dataclasses.fields(table):
            lines.append(_line(field.name, getattr(table, field.name), docs.get(field.name, "")))
    return "\n".join(lines)


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
