"""Hold what `sed listen` is to do: of the command line, else of a file, else the defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sed.text import printable
from streaming.cli.live.config_file import LiveOption, config_text, read_config, rules_text
from streaming.cli.live.outputs import LiveOutputs
from streaming.engines.graphs.labels import class_names
from streaming.live.rules.config import TABLES, RulesConfig, rules_from_tables
from streaming.pipeline.config import DetectorConfig, parse_thresholds

COMMAND_LINE, ENVIRONMENT = "COMMANDLINE", "ENVIRONMENT"


@dataclass(frozen=True)
class LiveSettings:
    """All that `sed listen` does.

    Attributes
    ----------
    values
        The value of each option, by parameter.
    rules
        Those of the file.
    """

    values: Mapping[str, Any]
    rules: RulesConfig

    def detection(self) -> DetectorConfig:
        """Return the configuration of the detector."""
        values = self.values
        common, of_classes = parse_thresholds(values["threshold"])
        names = {field.name for field in fields(DetectorConfig)} & values.keys()
        given = {name: values[name] for name in names - {"threshold", "classes"}}
        return DetectorConfig(
            **given,
            mode="sliding_window",
            threshold=common,
            class_thresholds=of_classes,
            classes=class_names(values["classes"], values["species_list"]),
        )

    def outputs(self) -> LiveOutputs:
        """Return where the results go."""
        return LiveOutputs(**{field.name: self.values[field.name] for field in fields(LiveOutputs)})


class SettingsReader:
    """Reads the settings of a run; may be asked again when the file has changed.

    Parameters
    ----------
    options
        Those of the command, by key.
    given
        Values by parameter, as the command has received them.
    source
        Returns where a parameter comes from: ``COMMANDLINE``, ``ENVIRONMENT``, or elsewhere.
    path
        The file of the other options; None if there is none.
    """

    def __init__(
        self,
        options: Mapping[str, LiveOption],
        given: Mapping[str, Any],
        source: Callable[[str], str],
        path: Path | None,
    ) -> None:
        self.options = options
        self.path = path
        self._defaults = {option.name: option.default for option in options.values()}
        of_command = {option.name: given[option.name] for option in options.values()}
        sources = {name: source(name) for name in of_command}
        self._written = {n: v for n, v in of_command.items() if sources[n] == COMMAND_LINE}
        self._set = self._written | {
            n: v for n, v in of_command.items() if sources[n] == ENVIRONMENT
        }

    def file_text(self) -> str:
        """Return a file of these settings, with all that has its default as a comment.

        What the environment sets is left out: it may be secret.

        Raises
        ------
        UsageError, SedError
            If the file cannot be read.
        """
        values, rules = self._read_file()
        return f"{config_text(self.options, values | self._written)}\n{rules_text(rules)}"

    def file_values(self) -> dict[str, Any]:
        """Return the values that the file sets, by parameter.

        Raises
        ------
        UsageError, SedError
            If the file cannot be read.
        """
        return self._read_file()[0]

    def _read_file(self) -> tuple[dict[str, Any], RulesConfig]:
        if self.path is None:
            return {}, RulesConfig()
        values, tables = read_config(self.path, self.options, TABLES)
        return values, rules_from_tables(tables, printable(os.fspath(self.path)))

    def read(self) -> LiveSettings:
        """Return the settings: of the command line, else of the file, else the defaults.

        Raises
        ------
        UsageError, SedError
            If the file cannot be read.
        """
        values, rules = self._read_file()
        return LiveSettings(self._defaults | values | self._set, rules)
