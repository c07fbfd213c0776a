"""Format text for people: names, counts, times and hints on one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import datetime


def printable(name: str) -> str:
    """Return a file name that fits on one line of a terminal, quoted only where it has to be."""
    return name if name.isprintable() and name else repr(name)


def to_utf8(text: str) -> str:
    r"""Return text that UTF-8 can encode.

    A file name may hold bytes that are not UTF-8; Python keeps them as lone surrogates. They
    become escapes: ``\xff``.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that does not stand for a byte, from JSON for example
        data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def some(names: Sequence[str], most: int = 10) -> str:
    """Return the first `most` names on one line, and how many more there are."""
    more = f" and {len(names) - most} more" * (len(names) > most)
    return ", ".join(printable(name) for name in names[:most]) + more


def lines(items: Sequence[str], most: int = 20) -> str:
    """Return the first `most` items, each on an indented line, and how many more there are."""
    more = [f"… and {len(items) - most} more"] * (len(items) > most)
    return "".join(f"\n  {item}" for item in [*items[:most], *more])


def near(name: str, known: Iterable[str]) -> str:
    """Return the hint that follows an unknown name: similar known names, or else all of them."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(close) + "?"
    shown = ", ".join(choices[:12])
    return f"Known: {shown}" + (f" and {len(choices) - 12} more." if len(choices) > 12 else ".")


def pluralize(n: int, noun: str) -> str:
    """Return a count with its noun: ``1 file``, ``1,024 files``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def clock_time(seconds: int) -> str:
    """Return a duration in whole seconds as ``h:mm:ss``."""
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def iso_time(time: datetime | None) -> str:
    """Return a time in ISO 8601 with milliseconds and UTC offset; empty if the time is unknown."""
    return time.isoformat(timespec="milliseconds") if time else ""
