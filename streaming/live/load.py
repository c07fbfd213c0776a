"""Measure how much of the time of this machine live sound takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

STATUS_SECONDS = 0.5  # from one `Status` to the next
N_RECENT = 20  # statuses and windows over which real-time factor and latency are taken


class Load:
    """Measures the real-time factor: seconds of work per second of sound, recently."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, float]] = deque(maxlen=N_RECENT)  # seconds: work, sound
        self._updated_at = time.monotonic()
        self._idle_seconds = 0.0
        self._processed_seconds: Sequence[float] = [0.0]

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Do not count the body of a `with` as work."""
        started = time.monotonic()
        yield
        self._idle_seconds += time.monotonic() - started

    def update(self, processed_seconds: Sequence[float]) -> bool:
        """Take the seconds that each input has processed; return whether a status is due.

        The input with the most new sound counts: others may have ended or be disconnected.
        """
        passed = time.monotonic() - self._updated_at
        if passed < STATUS_SECONDS:
            return False
        sound = float(np.max(np.subtract(processed_seconds, self._processed_seconds)))
        self._history.append((passed - self._idle_seconds, sound))
        self._updated_at += passed
        self._idle_seconds, self._processed_seconds = 0.0, processed_seconds
        return True

    def real_time_factor(self) -> float:
        """Return it; 0 before anything was processed."""
        work, sound = np.sum(self._history, axis=0) if self._history else (0.0, 0.0)
        return float(work / sound) if sound else 0.0
