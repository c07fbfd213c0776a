"""Count events, and add up their minutes, by time and place."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from sed.audio.start_time import recording_start
from sed.events.event_table import EventTable
from sed.events.sites import site_names
from streaming.results.summary.effort import ClockHours, RecordedSpan, clock_hours

GROUPINGS = ("hour", "day", "week", "site", "file")
TIMED = ("hour", "day", "week")
MINUTE = timedelta(minutes=1)
UNKNOWN = ""  # the group of events and recordings whose time is unknown

Counts = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Grouped:
    """Counts by one grouping.

    Attributes
    ----------
    groups
        Names of the groups, sorted: ``00`` to ``23`` for hours of the day, ``2026-05-01``,
        ``2026-W18``, sites or files.
    events
        Events of each class that begin in each group, shape (groups, classes).
    seconds
        Seconds of events in each group, shape (groups, classes); events that last beyond an hour of
        the clock count in each hour that they reach into.
    recorded_seconds
        Of each group, shape (groups,); None if no recording was found.
    """

    groups: tuple[str, ...]
    events: Counts
    seconds: Seconds
    recorded_seconds: Seconds | None


def with_local_times(events: EventTable, spans: Sequence[RecordedSpan]) -> EventTable:
    """Return events with a time of day where the table has none, by their recordings.

    Parameters
    ----------
    events
        Events; those with a time keep it.
    spans
        Recordings, whose start times are known already. Others are read from names and headers.
    """
    if not np.isnat(events.local_time).any():
        return events
    starts: dict[str, datetime | None] = {span.file: span.start for span in spans}
    of_files = []
    for file in events.files:
        if file not in starts:
            start = recording_start(file)
            starts[file] = start and start.replace(tzinfo=None)
        of_files.append(starts[file])
    begin = np.array(of_files, "datetime64[us]")[events.file]
    onset = np.rint(events.onset * 1e6).astype("timedelta64[us]")
    times = np.where(np.isnat(events.local_time), begin + onset, events.local_time)
    return dataclasses.replace(events, local_time=times)


def with_clock_of(events: EventTable, spans: Sequence[RecordedSpan]) -> list[RecordedSpan]:
    """Return recordings whose starts are on the clock that the times of a table are of.

    A scan may have written them for another time zone than that of the recorder. A recording
    without an event is shifted as the one that is nearest in time.

    Parameters
    ----------
    events
        Events with the times that the table has.
    spans
        Recordings.
    """
    timed = np.flatnonzero(~np.isnat(events.local_time))
    onset = np.rint(events.onset[timed] * 1e6).astype("timedelta64[us]")
    files, first = np.unique(events.file[timed], return_index=True)
    begin = (events.local_time[timed] - onset)[first].tolist()
    starts = {events.files[file]: start for file, start in zip(files, begin, strict=True)}
    # Times in tables may be in whole seconds; clocks differ by minutes at least.
    shifts = sorted(
        (span.start, timedelta(minutes=round((starts[span.file] - span.start) / MINUTE)))
        for span in spans
        if span.start is not None and span.file in starts
    )

    def shifted(span: RecordedSpan) -> RecordedSpan:
        if span.start is None:
            return dataclasses.replace(span, start=starts.get(span.file))
        if not shifts:
            return span
        place, start = bisect_left(shifts, (span.start,)), span.start
        _, shift = min(shifts[max(0, place - 1) : place + 1], key=lambda one: abs(one[0] - start))
        return dataclasses.replace(span, start=start + shift)

    return [shifted(span) for span in spans]


def group_by(grouping: str, events: EventTable, spans: Sequence[RecordedSpan] | None) -> Grouped:
    """Count events by one of `GROUPINGS`.

    Parameters
    ----------
    grouping
        hour (of the day), day, week, site or file.
    events
        Events with their times, see `with_local_times`. Events without one are in the last group,
        `UNKNOWN`, of groupings by time.
    spans
        All recordings, also those without events; None if they are not known.
    """
    files = [*events.files, *(span.file for span in spans or ())]
    sites = dict(zip(files, site_names(files), strict=True))
    parts = _parts(grouping, events, sites)
    recorded = None if spans is None else _recorded(grouping, spans, sites)
    names = sorted({*parts.names, *(recorded or ())} - {UNKNOWN})
    names += [UNKNOWN] * (UNKNOWN in parts.names)
    places = {name: i for i, name in enumerate(names)}
    place = np.array([places[name] for name in parts.names], np.intp)[parts.group]
    shape = len(names), len(events.labels)
    counts, seconds = np.zeros(shape, np.int64), np.zeros(shape)
    label = events.label[parts.event]
    np.add.at(counts, (place[parts.is_first], label[parts.is_first]), 1)
    np.add.at(seconds, (place, label), parts.seconds)
    effort = None if recorded is None else np.array([recorded.get(name, 0.0) for name in names])
    return Grouped(tuple(names), counts, seconds, effort)


@dataclass(frozen=True)
class _Parts:
    """Parts of events, each in one group; all arrays (parts,)."""

    names: list[str]  # of the groups
    group: NDArray[np.intp]
    event: NDArray[np.intp]  # its row
    seconds: Seconds
    is_first: NDArray[np.bool_]  # whether the event begins here


def _parts(grouping: str, events: EventTable, sites: Mapping[str, str]) -> _Parts:
    lasting = np.maximum(0.0, events.offset - events.onset)
    if grouping not in TIMED:
        of_files = [sites[file] if grouping == "site" else file for file in events.files]
        names, group = _numbered(of_files, events.file)
        rows = np.arange(len(events))
        return _Parts(names, group, rows, lasting, np.ones(len(events), bool))
    timed = np.flatnonzero(~np.isnat(events.local_time))
    untimed = np.flatnonzero(np.isnat(events.local_time))
    hours = clock_hours(events.local_time[timed], lasting[timed])
    names, group = _named_hours(grouping, hours)
    if len(untimed):
        names.append(UNKNOWN)
    return _Parts(
        names,
        np.concatenate([group, np.full(len(untimed), len(names) - 1, np.intp)]),
        np.concatenate([timed[hours.span], untimed]),
        np.concatenate([hours.seconds, lasting[untimed]]),
        np.concatenate([np.diff(hours.span, prepend=-1) > 0, np.ones(len(untimed), bool)]),
    )


def _named_hours(grouping: str, parts: ClockHours) -> tuple[list[str], NDArray[np.intp]]:
    """Return the names of groups, and the number of the group of each part."""
    hours, numbers = np.unique(parts.hour, return_inverse=True)
    names, groups = _numbered([_name(grouping, hour) for hour in hours.tolist()], numbers)
    return names, groups


def _name(grouping: str, hour: datetime) -> str:
    if grouping == "hour":
        return f"{hour:%H}"
    if grouping == "week":
        year, week, _ = hour.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{hour:%Y-%m-%d}"


def _numbered(
    names: Sequence[str], rows: NDArray[np.integer]
) -> tuple[list[str], NDArray[np.intp]]:
    """Return names once, and for each row, which has one of `names`, the number of its own."""
    numbers: dict[str, int] = {}
    own = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.intp)
    return list(numbers), own[rows]


def _recorded(
    grouping: str, spans: Sequence[RecordedSpan], sites: Mapping[str, str]
) -> dict[str, float]:
    """Return the recorded seconds of each group."""
    lengths = [span for span in spans if span.seconds is not None]
    totals: dict[str, float] = {}
    if grouping in TIMED:
        lengths = [span for span in lengths if span.start is not None]
        start = np.array([span.start for span in lengths], "datetime64[us]")
        hours = clock_hours(start, np.array([span.seconds for span in lengths], float))
        names, group = _named_hours(grouping, hours)
        sums = np.bincount(group, hours.seconds, len(names))
        return dict(zip(names, sums.tolist(), strict=True))
    for span in lengths:
        name = sites[span.file] if grouping == "site" else span.file
        totals[name] = totals.get(name, 0.0) + (span.seconds or 0.0)
    return totals
