"""Build frozen dataclasses from the plain values of JSON and TOML."""

from __future__ import annotations

import dataclasses
import inspect
import json
import numbers
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from sed.text import near

T = TypeVar("T")


def config_from_dict(kind: type[T], values: Mapping[str, object], where: str = "") -> T:
    """Return a config with the given values, and defaults for the others.

    Nested configs are read from nested tables; lists become tuples.

    Parameters
    ----------
    kind
        The dataclass.
    values
        Field names and their values.
    where
        Name of the table in messages, such as ``log_mel``.

    Raises
    ------
    ValueError
        If a key is unknown, with similar ones, or a value has the wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    place = f" in {where}" if where else ""
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            inside = [
                f"{name}.{key}"
                for name, f in fields.items()
                if key in _fields_of(f.default_factory)
            ]
            hint = f"Did you mean {' or '.join(inside)}?" if inside else near(key, fields)
            raise ValueError(f"unknown key {key!r}{place}. {hint}")
        default: object = fields[key].default_factory
        if isinstance(default, type) and dataclasses.is_dataclass(default):
            if not isinstance(value, Mapping):
                raise ValueError(f"expected a table for {key!r}{place}, got {value!r}")
            arguments[key] = config_from_dict(default, value, f"{where}.{key}".lstrip("."))
        else:
            if "|" not in str(fields[key].type):  # a single type
                _check_kind(f"{where}.{key}".lstrip("."), value, fields[key].default)
            arguments[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"bad value{place}: {error}") from error


def field_docs(kind: type) -> dict[str, str]:
    """Return a sentence for each documented field of a dataclass, by its name.

    It is read from the ``Attributes`` section of the docstring, or from the comment behind the
    field in the source.
    """
    docs: dict[str, str] = {}
    source = inspect.getsource(kind)
    for name, comment in re.findall(r"^    (\w+): .*?  # (.*)$", source, re.MULTILINE):
        docs[name] = comment
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes\n----------\n")
    for names, text in re.findall(r"^(\w[\w, ]*)\n((?: {4}.*\n?)+)", section, re.MULTILINE):
        docs |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return docs


def toml_value(value: object) -> str:
    """Return a value as it stands in a TOML file: text, number, flag, list, or a path as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, numbers.Real):
        return repr(int(value) if isinstance(value, numbers.Integral) else float(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    # The strings of JSON, with the one character escaped that differs.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _fields_of(kind: object) -> set[str]:
    """Return the field names of a dataclass; an empty set for anything else."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return {f.name for f in dataclasses.fields(kind)}
    return set()


def _check_kind(name: str, value: object, default: object) -> None:
    """Refuse a value of another type than the default. Without a default, any value passes."""
    for kind, allowed, expected in (
        (bool, (bool,), "true or false"),
        (int, (int,), "a whole number"),
        (float, (int, float), "a number"),
        (str, (str,), "text"),
        (tuple, (list, tuple), "a list"),
    ):
        if isinstance(default, kind):
            is_flag_for_number = isinstance(value, bool) and kind is not bool
            if not isinstance(value, allowed) or is_flag_for_number:
                raise ValueError(f"expected {name} as {expected}, got {value!r}")
            return
