"""Find the classes that an input reports all the time, and thresholds that would quiet them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from sed.events.sqlite import read_live_record

HOUR_SECONDS = 3_600.0
STEP = 1_000  # thresholds are multiples of 1 / STEP
_SCORES = "SELECT source, label, score, unix_time, substr(time, 12, 2) FROM events"
_SESSIONS = """
SELECT started, ended, (SELECT max(unix_time) FROM events WHERE session_id = sessions.id)
FROM sessions
"""


@dataclass(frozen=True)
class ClassRate:
    """How often a class is found by an input.

    Attributes
    ----------
    source
        Name of the input.
    label
        The class.
    n_events
        All of its events.
    per_hour
        Events for each hour that was listened.
    of_hours
        Events in each hour of the local day, 24 numbers.
    threshold
        The lowest score, in steps of a thousandth, that leaves no more than the wanted events per
        hour; None if there is none up to 1.
    per_hour_left
        Events per hour that reach it.
    """

    source: str
    label: str
    n_events: int
    per_hour: float
    of_hours: tuple[int, ...]
    threshold: float | None
    per_hour_left: float

    @property
    def n_hours_of_day(self) -> int:
        """The hours of the day, of 24, in which it was found."""
        return sum(n > 0 for n in self.of_hours)


def frequent_classes(
    path: str | os.PathLike[str], max_per_hour: float
) -> tuple[list[ClassRate], float]:
    """Return the classes that an input finds more often than wanted, the most frequent first.

    Parameters
    ----------
    path
        A database of live events.
    max_per_hour
        Events per hour that are wanted at most.

    Returns
    -------
    rates
        One for each class and input.
    hours
        That were listened.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_live_record(path) as connection:
        rows = connection.execute(_SCORES).fetchall()
        hours = _listened_hours(connection.execute(_SESSIONS).fetchall())
    if not rows:
        return [], hours
    keys: dict[tuple[str, str], int] = {}
    number = np.array([keys.setdefault(row[:2], len(keys)) for row in rows])
    score = np.array([row[2] for row in rows], np.float64)
    hour = np.array([int(row[4]) for row in rows])
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number))
    # Sessions of a database that was cut may be shorter than its events.
    times = np.array([row[3] for row in rows], np.float64)
    hours = max(hours, 1.0 / 60.0) if hours else max(np.ptp(times) / HOUR_SECONDS, 1.0 / 60.0)
    allowed = math.floor(max_per_hour * hours)
    rates = []
    for (source, label), begin, end in zip(keys, [0, *ends[:-1]], ends, strict=True):
        if (n := int(end - begin)) <= allowed:
            continue
        of_class = order[begin:end]
        threshold = lowest_threshold(score[of_class], allowed)
        n_left = 0 if threshold is None else int((score[of_class] >= threshold).sum())
        of_hours = tuple(np.bincount(hour[of_class], minlength=24).tolist())
        rates.append(ClassRate(source, label, n, n / hours, of_hours, threshold, n_left / hours))
    return sorted(rates, key=lambda each: -each.n_events), hours


def lowest_threshold(score: np.ndarray, allowed: int) -> float | None:
    """Return the lowest multiple of 1 / `STEP` that at most so many scores reach; None above 1.

    Parameters
    ----------
    score
        More than `allowed` scores, shape (events,).
    allowed
        How many may reach the threshold.
    """
    first_left_out = float(np.sort(score)[::-1][allowed])
    threshold = (math.floor(first_left_out * STEP) + 1) / STEP
    return threshold if threshold <= 1 else None


def _listened_hours(sessions: list[tuple[str, str | None, float | None]]) -> float:
    """Return the hours of all sessions; of those that overlap each hour counts once."""
    spans = []
    for started, ended, last in sessions:
        start = datetime.fromisoformat(started).timestamp()
        stop = datetime.fromisoformat(ended).timestamp() if ended else last
        spans.append((start, max(start, start if stop is None else stop)))
    total, until = 0.0, -math.inf
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, until))
        until = max(until, stop)
    return total / HOUR_SECONDS
