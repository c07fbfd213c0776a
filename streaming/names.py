"""Create file names of live recordings: they sort by time and are safe in any shell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

MAX_SLUG_BYTES = 80  # two slugs, a timestamp and an extension fit into the usual 255 bytes


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
