"""Say whether a moment is within spans of a day, which may depend on the sun."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from sed.text import near

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_SECONDS = 86_400
NOON = DAY_SECONDS // 2
SUN = ("dawn", "sunrise", "sunset", "dusk")
_POINT = r"(?:\d{1,2}:\d\d|(?:dawn|sunrise|sunset|dusk)(?:\s*[+-]\s*\d+\s*(?:min|m|h))?)"
_SPAN = re.compile(rf"\s*({_POINT})\s*(?:to|-|–)\s*({_POINT})\s*", re.IGNORECASE)
_SUN_POINT = re.compile(r"([a-z]+)(?:([+-])(\d+)(min|m|h))?")


@dataclass(frozen=True)
class Location:
    """A place on the earth.

    Attributes
    ----------
    latitude
        Degrees, north is positive.
    longitude
        Degrees, east is positive.
    """

    latitude: float = 0.0
    longitude: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no place."""
        if not -90 <= self.latitude <= 90 or not -180 <= self.longitude <= 180:
            raise ValueError(
                "expected a latitude from -90 to 90 and a longitude from -180 to 180, got "
                f"{self.latitude:g} and {self.longitude:g}"
            )


@dataclass(frozen=True)
class DayPoint:
    """A time of day.

    Attributes
    ----------
    seconds
        Seconds after midnight on the clock, or after the event of the sun.
    sun
        One of `SUN`; empty for a time on the clock.
    """

    seconds: int
    sun: str = ""


@dataclass(frozen=True)
class Span:
    """A span of the day; one that ends before it starts ends on the next day.

    Attributes
    ----------
    start, stop
        The stop is not part of it.
    """

    start: DayPoint
    stop: DayPoint

    @property
    def needs_sun(self) -> bool:
        """Whether a location is needed."""
        return bool(self.start.sun or self.stop.sun)


def parse_span(text: str) -> Span:
    """Return the span in a text such as ``22:00 to 06:00`` or ``sunset-30m to sunrise+1h``.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(
            f"expected hours as '22:00 to 06:00' or 'sunset-30m to sunrise+1h', got {text!r}"
        )
    return Span(_point(match[1], text), _point(match[2], text))


def _point(text: str, whole: str) -> DayPoint:
    text = re.sub(r"\s", "", text.lower())
    if ":" in text:
        hours, minutes = map(int, text.split(":"))
        if minutes > 59 or hours * 60 + minutes > 24 * 60:
            raise ValueError(f"there is no time {text} in {whole!r}: expected 00:00 to 24:00")
        return DayPoint(3600 * hours + 60 * minutes)
    match = _SUN_POINT.fullmatch(text)
    assert match is not None  # as the span has matched
    offset = int(match[3] or 0) * (3600 if match[4] == "h" else 60)
    return DayPoint(-offset if match[2] == "-" else offset, match[1])


def parse_days(texts: Iterable[str]) -> frozenset[int]:
    """Return the numbers of days of the week, Monday is 0, in texts such as ``mon`` or ``sat-mon``.

    Raises
    ------
    ValueError
        If one is no day.
    """
    found: set[int] = set()
    for text in texts:
        ends = [_day(part) for part in re.split(r"\s*(?:to|-|–)\s*", text.strip(), maxsplit=1)]
        n_days = (ends[-1] - ends[0]) % 7 + 1
        found |= {(ends[0] + n) % 7 for n in range(n_days)}
    return frozenset(found)


def _day(text: str) -> int:
    short = text.lower()[:3]
    if short not in DAYS:
        raise ValueError(f"there is no day {text!r}. {near(short, DAYS)}")
    return DAYS.index(short)


@dataclass(frozen=True)
class Schedule:
    """The times at which a rule is in force.

    Attributes
    ----------
    spans
        Spans of a day; the whole day if empty.
    days
        Days of the week, Monday is 0, on which a span starts.
    location
        For spans that depend on the sun.
    """

    spans: tuple[Span, ...] = ()
    days: Collection[int] = frozenset(range(7))
    location: Location | None = None

    @property
    def is_always(self) -> bool:
        """Whether every time is in it."""
        return not self.spans and len(self.days) == 7

    def contains(self, moment: datetime) -> bool:
        """Return whether a local time is in it: the time that a clock on the wall shows."""
        if not self.spans:
            return moment.weekday() in self.days
        today = moment.date()
        seconds = 3600 * moment.hour + 60 * moment.minute + moment.second
        # A span of the day before may last until now, and one of the next day have started.
        for shift in (0, -1, 1):
            day = today + timedelta(days=shift)
            if day.weekday() in self.days and any(
                self._is_in(span, day, seconds - shift * DAY_SECONDS, moment.tzinfo)
                for span in self.spans
            ):
                return True
        return False

    def _is_in(self, span: Span, day: date, seconds: int, zone: tzinfo | None) -> bool:
        start, stop = (self._seconds(point, day, zone) for point in (span.start, span.stop))
        return start <= seconds < (stop if stop > start else stop + DAY_SECONDS)

    def _seconds(self, point: DayPoint, day: date, zone: tzinfo | None) -> int:
        """Return the seconds from midnight of a day to a point."""
        if not point.sun or self.location is None:
            return point.seconds
        # Only the offset counts, so that one entry of the cache serves a day.
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone)
        offset = noon.utcoffset() or timedelta()
        return point.seconds + sun_seconds(self.location, point.sun, day, offset)


@lru_cache(4096)
def sun_seconds(location: Location, event: str, day: date, offset: timedelta) -> int:
    """Return the seconds from midnight to an event of the sun, such as sunrise.

    Where the sun does not set, the day lasts from midnight to midnight; where it does not rise, for
    one second before noon.

    Parameters
    ----------
    location
        The place.
    event
        One of `SUN`.
    day
        The date there.
    offset
        Offset of the local time to UTC.
    """
    from astral import Observer
    from astral.sun import dawn, dusk, elevation, sunrise, sunset

    observer = Observer(location.latitude, location.longitude)
    zone = timezone(offset)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    functions: dict[str, Any] = {"dawn": dawn, "sunrise": sunrise, "sunset": sunset, "dusk": dusk}
    find: Callable[..., datetime] = functions[event]
    is_start = event in ("dawn", "sunrise")
    try:
        moment = find(observer, date=day, tzinfo=zone)
    except ValueError:  # there is none on this day
        highest = max(elevation(observer, midnight + timedelta(hours=h)) for h in range(0, 24, 2))
        if highest > (-6 if event in ("dawn", "dusk") else -0.83):
            return 0 if is_start else DAY_SECONDS
        return NOON - 1 if is_start else NOON
    return round((moment - midnight).total_seconds())
