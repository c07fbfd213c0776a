"""Frozen dataclasses from plain values, as JSON and TOML hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from sed.errors import near

T = TypeVar("T")


def config_from_dict(kind: type[T], values: Mapping[str, object], where: str = "") -> T:
    """Return the config `kind` with `values` in place of its defaults.

    Nested configs take nested tables; lists become tuples.

    Raises
    ------
    ValueError
        If a key is unknown; the message names the place and the near ones.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    place = f" in {where}" if where else ""
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ValueError(f"unknown key {key!r}{place}. {near(key, fields)}")
        default: object = fields[key].default_factory
        if isinstance(default, type) and dataclasses.is_dataclass(default):
            if not isinstance(value, Mapping):
                raise ValueError(f"expected a table for {key!r}{place}, got {value!r}")
            arguments[key] = config_from_dict(default, value, f"{where}.{key}".lstrip("."))
        else:
            arguments[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"bad value{place}: {error}") from error
