"""Notice that the clock of the system was set, or that the machine was suspended."""

from __future__ import annotations

import time
from collections.abc import Callable

STEP_SECONDS = 2.0  # a smaller correction is followed without correcting what was reported
MIN_SUSPEND_SECONDS = 0.2  # more than reading the clocks may take
MAX_READING_SECONDS = 0.1  # between two clocks that are compared


def elapsed_seconds() -> float:
    """Return seconds on a clock that is never set and, on Linux, goes on while the machine sleeps.

    Else a sleep would look like a clock that was set.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class SystemClock:
    """The clock of the system, compared with one that is never set.

    Parameters
    ----------
    now
        Returns the seconds since 1970.
    elapsed
        Returns seconds on a clock that is never set and goes on while the machine sleeps.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = elapsed_seconds,
    ) -> None:
        self._now, self._elapsed = now, elapsed
        self._difference: float | None = None  # of the two clocks, when they were last compared
        self._offset = now() - elapsed()

    def step(self) -> float:
        """Return by how many seconds the clock was set since the last call; mostly 0."""
        before = self._elapsed()
        now = self._now()
        after = self._elapsed()
        # This process had to wait between the clocks: compare them the next time.
        if not 0 <= after - before < MAX_READING_SECONDS:
            return 0.0
        difference = self._offset = now - before
        last, self._difference = self._difference, difference
        if last is None or abs(difference - last) < STEP_SECONDS:
            return 0.0
        return difference - last

    def time(self, elapsed: float) -> float:
        """Return a moment of `elapsed_seconds` in seconds since 1970, as of the last `step`."""
        return elapsed + self._offset


class SuspendClock:
    """Compares a clock that stops while the machine is suspended with one that goes on.

    Only Linux has both; elsewhere nothing is noticed.
    """

    def __init__(self) -> None:
        self._difference: float | None = None  # of the two clocks, when they were last compared

    def step(self) -> float:
        """Return for how many seconds the machine was suspended since the last call; mostly 0."""
        before = time.monotonic()
        difference = elapsed_seconds() - before
        # This process had to wait between the clocks: compare them the next time.
        if time.monotonic() - before >= MAX_READING_SECONDS:
            return 0.0
        last, self._difference = self._difference, difference
        suspended = 0.0 if last is None else difference - last
        return suspended if suspended >= MIN_SUSPEND_SECONDS else 0.0


def describe_step(seconds: float) -> str:
    """Return what a user reads when the clock was set.

    Parameters
    ----------
    seconds
        By which it is later now.
    """
    direction, amount = "forward" if seconds > 0 else "back", abs(seconds)
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if amount >= 2 * size:
            return f"the clock was set {direction} by {amount / size:,.1f} {unit}"
    return f"the clock was set {direction} by {amount:.1f} s"
