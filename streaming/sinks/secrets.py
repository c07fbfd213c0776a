"""Read addresses and headers that are secret from the environment or a file.

What is on a command line is in the list of processes, which every user of a machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sed.errors import SedError, UsageError
from sed.text import printable

TOKEN_VARIABLE = "SED_TOKEN"  # of the web page
MQTT_PASSWORD_VARIABLE = "SED_MQTT_PASSWORD"
SECRET_VARIABLES = frozenset([TOKEN_VARIABLE, MQTT_PASSWORD_VARIABLE])
_FROM_ENVIRONMENT, _FROM_FILE = "env:", "file:"


def read_secret(text: str) -> str:
    """Return the value of ``env:NAME``, the first line of ``file:PATH``, or a text as it is.

    Raises
    ------
    UsageError
        If there is no such variable, or the value is empty.
    SedError
        If the file cannot be read.
    """
    value = text
    if text.startswith(_FROM_ENVIRONMENT):
        value = os.environ.get(text.removeprefix(_FROM_ENVIRONMENT), "").strip()
    elif text.startswith(_FROM_FILE):
        path = text.removeprefix(_FROM_FILE)
        try:
            value = (Path(path).read_text("utf-8").strip().splitlines() or [""])[0]
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text in UTF-8"
            raise SedError(
                f"{printable(path)}: cannot be read: {reason}. It shall hold an address or a value."
            ) from error
    if not value:
        raise UsageError(f"{printable(text)}: there is no value. Set it, or write it to the file")
    return value


def read_header(text: str) -> tuple[str, str]:
    """Return name and value of ``NAME: VALUE``; the value is read by `read_secret`.

    Raises
    ------
    UsageError
        If the text is no header, or there is no value. The message does not repeat the value.
    SedError
        If a file cannot be read.
    """
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(
            "expected a header as NAME: VALUE, like 'Authorization: env:MY_TOKEN' or "
            "'Authorization: file:PATH'"
        )
    return name.strip(), read_secret(value.strip())


def secret_variables(texts: Iterable[str]) -> frozenset[str]:
    """Return the variables that hold secrets: those of this package, and those that texts name.

    Parameters
    ----------
    texts
        Values for `read_secret`.
    """
    named = (t.removeprefix(_FROM_ENVIRONMENT) for t in texts if t.startswith(_FROM_ENVIRONMENT))
    return SECRET_VARIABLES | frozenset(named)


def environment_without(variables: Iterable[str]) -> dict[str, str]:
    """Return the environment of this process without some variables, for a program to run."""
    hidden = set(variables)
    return {name: value for name, value in os.environ.items() if name not in hidden}
