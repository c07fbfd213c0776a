"""Give events the time of day at which they began."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sed.events.tracker import Event


def with_timestamps(events: Iterable[Event], start: datetime | None) -> list[Event]:
    """Return events with the time of day of their onsets, given the start of the recording.

    Seconds are added in UTC, so that a change of the clocks does not shift events. Times have a
    fixed UTC offset, as when read from a file, and not a named zone: in Python, a time of a named
    zone in an hour that occurs twice equals no time of another zone.

    Parameters
    ----------
    events
        Events of one recording.
    start
        Start time, without a zone if that is unknown: then events have the time of the same clock.
        None if it is unknown, then events are returned unchanged.
    """
    if start is None:
        return list(events)
    return [replace(event, time=later(start, event.onset)) for event in events]


def later(start: datetime, seconds: float) -> datetime:
    """Return a moment of a recording that began at `start`; see `with_timestamps`."""
    if start.tzinfo is None:
        return start + timedelta(seconds=seconds)
    time = (start.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(start.tzinfo)
    return datetime.fromisoformat(time.isoformat())
