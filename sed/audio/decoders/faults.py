"""Collect what is damaged in a file, and say it in one message."""

from __future__ import annotations

import re

from sed.errors import DamagedRecordingError
from sed.text import pluralize

MAX_FAULTS = 4  # that a message names


class Faults:
    """Damage of a file, in order.

    Parameters
    ----------
    path
        Name of the recording in messages.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._faults: list[DamagedRecordingError] = []
        self._n = 0

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._n > 0

    def add(self, seconds: float, text: str) -> None:
        """Add damage at a time of the file."""
        self._n += 1
        if self._n <= MAX_FAULTS:
            self._faults.append(DamagedRecordingError(self._path, seconds, text))

    def add_error(self, error: DamagedRecordingError | None, start_seconds: float) -> None:
        """Add what a decoder reports of a recording that starts at a time of the file."""
        if error is None:
            return
        text = re.sub(
            r"\bat (\d+\.\d{3}) s\b",
            lambda match: f"at {float(match[1]) + start_seconds:.3f} s",
            error.damage,
        )
        self.add(error.seconds + start_seconds, text)

    def error(self) -> DamagedRecordingError:
        """Return one error about all of it."""
        first, *others = self._faults
        texts = [first.damage, *(f"At {other.seconds:.3f} s: {other.damage}" for other in others)]
        if n_more := self._n - len(self._faults):
            texts.append(f"And at {pluralize(n_more, 'more place')}.")
        return DamagedRecordingError(self._path, first.seconds, " ".join(texts))
