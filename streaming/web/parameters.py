"""Read the query parameters of the routes; what is not known or out of range is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.text import near
from streaming.sinks.record.history import EventFilter

MAX_ID = 2**63 - 1
MAX_VALUES = 200  # of one parameter
TOKEN = "token"  # any route takes it; see `streaming.web.auth`


class Parameters:
    """The query parameters of a request.

    Parameters
    ----------
    pairs
        Names and values, in the order of the request.
    known
        The names that this route takes.
    several
        Of them, those that may be given several times.

    Raises
    ------
    UsageError
        If a name is not known, or is given too often.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[str, str]],
        known: Sequence[str],
        several: Sequence[str] = (),
    ) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if name == TOKEN:
                continue
            if name not in known:
                hint = near(name, known) if known else "This address takes none."
                raise UsageError(f"unknown parameter {name!r}. {hint}")
            values = self._values.setdefault(name, [])
            values.append(value)
            if len(values) > (MAX_VALUES if name in several else 1):
                raise UsageError(f"{name} is given too often")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all values of a parameter, each once."""
        return tuple(dict.fromkeys(self._values.get(name, ())))

    def integer(self, name: str, least: int, most: int) -> int | None:
        """Return a number, or None if it is not given.

        Raises
        ------
        UsageError
            If it is none, or out of range.
        """
        text = self._value(name)
        if text is not None and (number := bounded_integer(text, least, most)) is not None:
            return number
        if text is None:
            return None
        raise UsageError(f"expected {name} from {least} to {most}")

    def score(self, name: str) -> float:
        """Return a number from 0 to 1, or 0 if it is not given.

        Raises
        ------
        UsageError
            If it is none, or out of range.
        """
        text = self._value(name)
        try:
            number = 0.0 if text is None else float(text)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1:
            raise UsageError(f"expected {name} from 0 to 1")
        return number

    def unix_time(self, name: str, *, ends_day: bool = False) -> float | None:
        """Return a day or a time in seconds since 1970, or None if it is not given.

        Parameters
        ----------
        name
            Of the parameter. Its value is in ISO 8601, in local time unless it has a UTC offset.
        ends_day
            A day is the end of that day instead of its start.

        Raises
        ------
        UsageError
            If it is none.
        """
        text = self._value(name)
        if text is None:
            return None
        try:
            # In a query a plus sign that is not escaped is a space.
            time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
            if ends_day and _is_day(text):
                time += timedelta(days=1)
            return time.timestamp()
        except (ValueError, OverflowError, OSError) as error:
            example = "2026-11-21 or 2026-11-21T13:15:00+01:00"
            raise UsageError(f"expected {name} as a day or a time, like {example}") from error

    def day(self, name: str) -> date | None:
        """Return a day, or None if it is not given.

        Raises
        ------
        UsageError
            If it is none.
        """
        text = self._value(name)
        try:
            day = None if text is None else date.fromisoformat(text)
            # The next day, and both in seconds since 1970, must exist too.
            if day is not None and not 1970 < day.year < 9999:
                raise ValueError("out of range")
            return day
        except ValueError as error:
            raise UsageError(f"expected {name} as a day, like 2026-11-21") from error

    def _value(self, name: str) -> str | None:
        return self._values.get(name, [None])[0]


def bounded_integer(text: str, least: int, most: int) -> int | None:
    """Return a number, or None if it is out of range or none; long ones are not even parsed."""
    if len(text) > len(str(most)) or not (text.isascii() and text.isdecimal()):
        return None
    return int(text) if least <= int(text) <= most else None


def event_filter(
    parameters: Parameters, hierarchy: Hierarchy, is_stored: Callable[[str], bool]
) -> EventFilter:
    """Return which events a request means.

    Parameters
    ----------
    parameters
        With ``label``, ``kind``, ``source``, ``from``, ``to`` and ``min_score``.
    hierarchy
        Of the classes of the model.
    is_stored
        Whether there are events of a class; it may be one of another model.

    Raises
    ------
    UsageError
        If a value is not valid, or there is no such class or kind.
    """
    labels: dict[str, None] = {}
    for label in parameters.texts("label"):
        if label not in hierarchy.names and not is_stored(label):
            raise UsageError(f"there is no class {label!r}. {near(label, hierarchy.names)}")
        labels[label] = None
    for kind in parameters.texts("kind"):
        if kind not in hierarchy.names:
            raise UsageError(f"there is no kind {kind!r}. {near(kind, hierarchy.kinds)}")
        labels |= dict.fromkeys([kind, *hierarchy.branch(kind)])
    return EventFilter(
        tuple(labels),
        parameters.texts("source"),
        parameters.unix_time("from"),
        parameters.unix_time("to", ends_day=True),
        parameters.score("min_score"),
    )


def _is_day(text: str) -> bool:
    return "T" not in text and ":" not in text
