"""Read addresses and headers that are secret from the environment or a file.

What is on a command line is in the list of processes, which every user of a machine can read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from sed.errors import SedError, UsageError
from sed.text import printable

TOKEN_VARIABLE = "SED_TOKEN"  # of the web page
MQTT_PASSWORD_VARIABLE = "SED_MQTT_PASSWORD"
SECRET_VARIABLES = frozenset([TOKEN_VARIABLE, MQTT_PASSWORD_VARIABLE])
_FROM_ENVIRONMENT, _FROM_FILE = "env:", "file:"
_IN_HEADER = re.compile(r"(?:(?P<scheme>[^\s:=,;\"']+)\s+)?(?P<secret>(?:env|file):.*)", re.DOTALL)
_ELSEWHERE = re.compile(r"(?:^|[\s=,;\"'])(?:env|file):")


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
    """Return name and value of ``NAME: VALUE``.

    The value is read by `read_secret`; one word may stand before ``env:`` or ``file:``, as in
    ``Authorization: Bearer env:TOKEN``.

    Raises
    ------
    UsageError
        If the text is no header, or there is no value; or if ``env:`` or ``file:`` stands elsewhere
        in it and would be sent. The message does not repeat the value.
    SedError
        If a file cannot be read.
    """
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(
            "expected a header as NAME: VALUE, like 'Authorization: Bearer env:MY_TOKEN' "
            "or 'Authorization: file:PATH'"
        )
    value = value.strip()
    if found := _IN_HEADER.fullmatch(value):
        secret = read_secret(found["secret"])
        return name.strip(), f"{found['scheme']} {secret}" if found["scheme"] else secret
    if _ELSEWHERE.search(value):
        raise UsageError(
            f"the header {printable(name.strip())} cannot be read: env: and file: stand alone or "
            "after one word, like 'Authorization: Bearer env:MY_TOKEN'"
        )
    return name.strip(), read_secret(value)


def secret_variables(texts: Iterable[str]) -> frozenset[str]:
    """Return the variables that hold secrets: those of this package, and those that texts name.

    Parameters
    ----------
    texts
        Values for `read_secret`, or of headers.
    """
    found = (_IN_HEADER.fullmatch(text) for text in texts)
    secrets = [match["secret"] for match in found if match]
    named = [s.removeprefix(_FROM_ENVIRONMENT) for s in secrets if s.startswith(_FROM_ENVIRONMENT)]
    return SECRET_VARIABLES | frozenset(named)


def environment_without(variables: Iterable[str]) -> dict[str, str]:
    """Return the environment of this process without some variables, for a program to run."""
    hidden = set(variables)
    return {name: value for name, value in os.environ.items() if name not in hidden}
