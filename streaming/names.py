"""Names of files about live sound: they sort by time, and are safe in any shell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

MAX_SLUG_BYTES = 80  # two of them, and the rest of a name, fit into 255


def timestamp(time: datetime) -> str:
    """Return a time to the millisecond, as 20261121T121500.250Z.

    In UTC: in local time, the files of two hours would be mixed when the clocks are set back.
    """
    time = time.astimezone(UTC)
    return f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03d}Z"


def slug(text: str) -> str:
    """Return a label or the name of an input: letters and digits of any script, and hyphens."""
    plain = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text)).strip("-")
    return plain.encode()[:MAX_SLUG_BYTES].decode(errors="ignore") or "unnamed"


def deduplicate(names: Iterable[str]) -> list[str]:
    """Return names of which equal ones are told apart: Mic, Mic 2, Mic 3."""
    counts: Counter[str] = Counter()
    told = []
    for name in names:
        counts[name] += 1
        told.append(name if counts[name] == 1 else f"{name} {counts[name]}")
    return told
