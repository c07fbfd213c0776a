"""Begin a file of lines anew when it is large or old, and keep the last ones, as logrotate does.

::

    events.jsonl      being written
    events.1.jsonl    the one before
    events.2.jsonl    …
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sed.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(k|M|G)B?", re.IGNORECASE)
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
MAX_KEPT = 9_999


@dataclass(frozen=True)
class RotationConfig:
    """When a file is begun anew, and how many are kept.

    Attributes
    ----------
    every
        ``day`` or ``week``, which begin at midnight, local time, and on Monday; or a size such as
        ``10MB``, which a file exceeds by a line at most. Never if empty.
    keep
        Files that are kept besides the one that is written.
    """

    every: str = ""
    keep: int = 7

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        is_size = _SIZE.fullmatch(self.every) is not None and self.max_bytes > 0
        if self.every not in ("", "day", "week") and not is_size:
            raise UsageError(
                f"expected a rotation every day, week or size such as 10MB, got {self.every!r}"
            )
        if not 1 <= self.keep <= MAX_KEPT:
            raise UsageError(f"expected 1 to {MAX_KEPT:,} rotated files to keep, got {self.keep}")

    @property
    def max_bytes(self) -> float:
        """The size; infinite if it is not what counts."""
        match = _SIZE.fullmatch(self.every)
        return float(match[1]) * _UNITS[match[2].lower()] if match else float("inf")


class Rotation:
    """Decides when a file is begun anew, and renames those before.

    Parameters
    ----------
    path
        The file that is written.
    config
        When, and how many are kept.
    now
        Returns the local time.
    """

    def __init__(
        self,
        path: Path,
        config: RotationConfig,
        *,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._path, self._config, self._now = path, config, now
        self._period = ""  # of the file

    def take(self) -> None:
        """Take the file that was opened: it belongs to the day or week of its last line."""
        with suppress(OSError):
            found = os.stat(self._path)
            last = datetime.fromtimestamp(found.st_mtime) if found.st_size else self._now()
            self._period = self._name(last)

    def is_due(self, size: int) -> bool:
        """Return whether a file of some bytes is to be begun anew before the next line."""
        return (
            bool(self._config.every)
            and size > 0
            and (size >= self._config.max_bytes or self._name(self._now()) != self._period)
        )

    def rotate(self) -> None:
        """Rename the file and those before; delete the oldest beyond those that are kept.

        Raises
        ------
        OSError
            If the file cannot be renamed.
        """
        last = next(n for n in range(1, MAX_KEPT + 2) if not self._numbered(n).exists())
        for n in range(last, self._config.keep, -1):
            self._numbered(n).unlink(missing_ok=True)
        for n in range(min(last, self._config.keep), 1, -1):
            os.replace(self._numbered(n - 1), self._numbered(n))
        os.replace(self._path, self._numbered(1))

    def _numbered(self, n: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{n}{self._path.suffix}")

    def _name(self, time: datetime) -> str:
        """Return the day or week of a time; nothing if they do not count."""
        formats = {"day": "%Y-%m-%d", "week": "%G-W%V"}
        return time.strftime(formats.get(self._config.every, ""))
