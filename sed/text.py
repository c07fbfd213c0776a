"""Format text: names, counts, times and hints for people, and parts of file names."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile("'*[ \ufeff]*[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MAX_REASON = 250  # characters of a library's message in one of ours
MAX_SLUG_BYTES = 80  # two slugs, a timestamp and an extension fit into the usual 255 bytes


def printable(name: str) -> str:
    """Return a file name that fits on one line of a terminal, quoted only where it has to be."""
    return name if name.isprintable() and name else repr(name)


def without_controls(text: str) -> str:
    r"""Return text in which characters that steer a terminal are escapes, as ``\x1b``.

    They are control characters, and marks that change the direction of what follows; tabs and line
    breaks stay. Text that others wrote must not move the cursor, set a title, or show a name in
    reverse.
    """
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


def spreadsheet_cell(text: str) -> str:
    """Return the text of a cell so that a spreadsheet does not take it for a formula.

    An apostrophe is put before a text that starts as one, with ``=``, ``+``, ``-``, ``@``, their
    full-width forms, a tab or a line break (OWASP, *CSV Injection*). Numbers stay numbers. A text
    that starts so behind apostrophes gets another one, so that `from_spreadsheet_cell` is exact.
    """
    return f"'{text}" if _is_formula(text) else text


def from_spreadsheet_cell(cell: str) -> str:
    """Return the text that `spreadsheet_cell` was given."""
    return cell[1:] if cell[:1] == "'" and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and not _NUMBER.fullmatch(text)


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


def message_of(error: BaseException) -> str:
    """Return the message of a library on one line, cut to what fits into a message of ours."""
    return without_controls(" ".join(str(error).split())[:MAX_REASON])


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in a list joined by commas; spaces around them are dropped."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


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
    """Return a time in ISO 8601 with milliseconds, and UTC offset if known; empty without one."""
    return time.isoformat(timespec="milliseconds") if time else ""


def timestamp(time: datetime) -> str:
    """Return a time in UTC with milliseconds: ``20261121T121500.250Z``.

    UTC, because in local time the files of two hours would be mixed when the clocks are set back.
    """
    time = time.astimezone(UTC)
    return f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03d}Z"


def slug(text: str) -> str:
    """Return a label or the name of an input reduced to letters, digits (any script) and hyphens.

    The result has 1 to `MAX_SLUG_BYTES` bytes in UTF-8.
    """
    plain = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text)).strip("-")
    return plain.encode()[:MAX_SLUG_BYTES].decode(errors="ignore") or "unnamed"


def deduplicate(names: Iterable[str]) -> list[str]:
    """Return names in which repeated ones are numbered: ``Mic``, ``Mic 2``, ``Mic 3``."""
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        counts[name] += 1
        unique.append(name if counts[name] == 1 else f"{name} {counts[name]}")
    return unique
