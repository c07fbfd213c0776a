"""Read the options of `sed listen` from a TOML file, and write such a file.

A key is the name of an option, with underscores: ``--clip-pre-roll 2`` is ``clip_pre_roll = 2``.
Types, defaults and help are those of the command, so that the two cannot differ.
"""

from __future__ import annotations

import inspect
import os
import textwrap
import tomllib
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from typer.models import OptionInfo

from sed.config import field_docs, toml_value
from sed.errors import SedError, UsageError
from sed.text import near, printable, without_controls
from streaming.cli.live.options import ABOUT_FILES
from streaming.live.rules.config import RuleConfig, RulesConfig
from streaming.live.rules.schedule import Location

WIDTH = 96  # characters of a line of help
HEAD = """\
Configuration of `sed listen`: run it with --config THIS_FILE. A line that begins with # and a key
shows a default; remove the # to change it. Options on the command line override this file.
Secrets: "env:NAME" is a variable of the environment, "file:PATH" the first line of a file.
`kill -HUP` reads the file again; what needs a restart is then reported and stays as it was."""


@dataclass(frozen=True)
class LiveOption:
    """An option of `sed listen`, as the signature of the command has it.

    Attributes
    ----------
    name
        Name of the parameter.
    key
        Name in the file.
    kind
        Type of its value: ``str``, ``int``, ``float``, ``bool`` or ``Path``.
    is_list
        Whether it may be given several times.
    default
        Value without the option.
    info
        Help, panel and what else typer knows.
    """

    name: str
    key: str
    kind: type
    is_list: bool
    default: Any
    info: OptionInfo

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.key.replace('_', '-')}"

    def parse(self, value: Any) -> Any:
        """Return the value of the file as the command takes it.

        Raises
        ------
        ValueError
            If it has another type.
        """
        if self.is_list:
            return [self._parse_one(each) for each in _as_list(value)]
        # Names joined by commas are a list in a file.
        if self.key in ("classes", "home_assistant") and isinstance(value, list):
            return ",".join(self._parse_one(each) for each in value)
        return self._parse_one(value)

    def _parse_one(self, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind is bool and isinstance(value, bool):
            return value
        if self.kind is int and is_number and not isinstance(value, float):
            return value
        if self.kind is float and is_number:
            return float(value)
        if self.kind is str and (isinstance(value, str) or is_number):
            return str(value)
        if self.kind is Path and isinstance(value, str):
            return Path(value).expanduser()
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}
        raise ValueError(f"expected {self.key} as {wanted.get(self.kind, 'text')}, got {value!r}")


def live_options(command: Callable[..., None]) -> dict[str, LiveOption]:
    """Return the options of a command that a file may set, by their keys."""
    hints = typing.get_type_hints(command, include_extras=True)
    options = {}
    for name, parameter in inspect.signature(command).parameters.items():
        info = next((m for m in getattr(hints[name], "__metadata__", ()) if _is_option(m)), None)
        if info is None:
            continue
        kind = hints[name].__origin__
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        kind = parts[0] if len(parts) == 1 and kind is not list else kind
        is_list = typing.get_origin(kind) is list
        kind = typing.get_args(kind)[0] if is_list else kind
        # typer takes the first name for a default until it builds the command.
        flags = [f for f in (info.default, *(info.param_decls or ())) if str(f).startswith("--")]
        key = (flags[0].removeprefix("--") if flags else name).replace("-", "_")
        options[key] = LiveOption(name, key, kind, is_list, parameter.default, info)
    return options


def _is_option(annotation: object) -> bool:
    # Options about files of options and events are none of a file.
    return isinstance(annotation, OptionInfo) and annotation.rich_help_panel != ABOUT_FILES


def read_config(
    path: str | os.PathLike[str], options: Mapping[str, LiveOption], tables: typing.Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file; return the values of options by parameter, and the other tables by name.

    Parameters
    ----------
    path
        The file.
    options
        What it may set, by key.
    tables
        Names of tables that it may hold, too.

    Raises
    ------
    SedError
        If it cannot be read.
    UsageError
        If it is no TOML, a key is unknown, or a value has the wrong type.
    """
    name = printable(os.fspath(path))
    try:
        values = tomllib.loads(Path(path).read_bytes().decode())
        found = {key: values.pop(key) for key in tables if key in values}
        for key in values:
            if key not in options:
                raise ValueError(f"unknown key {key!r}. {near(key, [*options, *tables])}")
        return {options[key].name: options[key].parse(values[key]) for key in values}, found
    except OSError as error:
        raise SedError(
            f"{name}: cannot read the configuration: {error.strerror}. Check the name."
        ) from error
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: is no TOML: {without_controls(str(error))}") from error
    except ValueError as error:
        raise UsageError(f"{name}: {without_controls(str(error))}") from error


def config_text(options: Mapping[str, LiveOption], values: Mapping[str, Any]) -> str:
    """Return a file with every option, its help and its value.

    Parameters
    ----------
    options
        By key.
    values
        Of the options that are set, by parameter; the others are comments.
    """
    panels: dict[str, list[LiveOption]] = {}
    for option in options.values():
        panels.setdefault(str(option.info.rich_help_panel), []).append(option)
    blocks = ["\n".join(f"# {line}" for line in HEAD.splitlines())]
    for panel, members in panels.items():
        blocks.append(f"# ---- {panel} ----")
        blocks += ["\n".join(_described(option, values)) for option in members]
    return "\n\n".join(blocks) + "\n"


def rules_text(config: RulesConfig) -> str:
    """Return the tables of rules, or of an example as a comment, and what their keys mean."""
    lines = ["# ---- Rules for alerts ----", "#"]
    lines.append(
        "# Each [[rules]] passes on the events that meet all of it (docs/alerts.md). Keys:"
    )
    for field in fields(RuleConfig):
        shown = "" if field.name == "name" else f" (default: {toml_value(field.default)})"
        text = f"{field.name}{shown}: {field_docs(RuleConfig)[field.name]}"
        lines += textwrap.wrap(text, WIDTH, initial_indent="#   ", subsequent_indent="#     ")
    if config.rules or config.location is not None:
        lines += _tables(config)
    else:
        lines += [f"#{line}" if line else "" for line in _tables(EXAMPLE)]
    return "\n".join(lines) + "\n"


def _tables(config: RulesConfig) -> Iterator[str]:
    place = config.location
    if place is not None:
        yield from ("", "[location]", f"latitude = {place.latitude!r}")
        yield f"longitude = {place.longitude!r}"
    for rule in config.rules:
        yield from ("", "[[rules]]")
        for field in fields(RuleConfig):
            if (value := getattr(rule, field.name)) != field.default:
                yield f"{field.name} = {toml_value(value)}"


EXAMPLE = RulesConfig(
    (
        RuleConfig(
            "dog at night",
            classes=("dog",),
            threshold=0.8,
            hours=("sunset+30m to sunrise",),
            confirmations=2,
            within_seconds=30.0,
            cooldown_seconds=600.0,
            sinks=("on_event",),
        ),
    ),
    Location(52.52, 13.4),
)


def _described(option: LiveOption, values: Mapping[str, Any]) -> Iterator[str]:
    info = option.info
    shown = f" Default: {info.show_default}." if isinstance(info.show_default, str) else ""
    text = f"{' '.join((info.help or '').split())}{shown}"
    yield from textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
    if option.name in values:
        yield f"{option.key} = {toml_value(values[option.name])}"
    else:
        yield f"#{option.key} = {toml_value(_example(option))}"


def _example(option: LiveOption) -> Any:
    """Return the default, or what stands for a value if there is none."""
    if option.default is not None:
        return option.default
    example: Any = (option.info.metavar or option.key.upper()) if option.kind in (str, Path) else 1
    example = float(example) if option.kind is float else example
    return [example] if option.is_list else example


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
