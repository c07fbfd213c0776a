"""Summarise events: counts and minutes per class by time and place, pictures, and a page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sed.errors import OutputError, UsageError, check_extra
from sed.events.event_table import EventTable
from sed.text import near, pluralize
from streaming.results.output import write_table
from streaming.results.summary.counts import (
    GROUPINGS,
    Grouped,
    group_by,
    with_clock_of,
    with_local_times,
)
from streaming.results.summary.effort import RecordedSpan
from streaming.results.summary.page import PageTable, write_summary

PAGE = "summary.html"
TITLES = {"hour": "hour of the day", "day": "date", "week": "week", "site": "site", "file": "file"}


@dataclass(frozen=True)
class EventSummary:
    """What a summary found.

    Attributes
    ----------
    n_events, n_classes, n_files
        Events, classes and recordings with events.
    n_untimed
        Events whose time of day is unknown.
    recorded_hours
        Of all recordings; None if they are not known.
    n_unknown_lengths
        Recordings whose headers do not say how long they are.
    """

    n_events: int
    n_classes: int
    n_files: int
    n_untimed: int
    recorded_hours: float | None
    n_unknown_lengths: int


def summarise(
    events: EventTable,
    output: str | os.PathLike[str],
    *,
    by: str = "hour",
    recordings: Sequence[RecordedSpan] | None = None,
) -> EventSummary:
    """Write counts and minutes per class as CSV, pictures and a page into a folder.

    ::

        classes.csv      label, events, minutes, and where recordings are known events_per_hour
        by_hour.csv      hour, label, events, minutes, events_per_hour; or by_day.csv, …
        effort.csv       hour, recorded_hours, of all hours that were recorded
        hours.png        heat map of classes by the hour of the day
        dates.png        heat map of classes by date
        activity.png     events by the hour of the day, per recorded hour
        summary.html     all of it on one page that needs no other file

    Parameters
    ----------
    events
        Events of any number of recordings. Those without a time of day get that of the recording's
        start, by its name or header.
    output
        The folder.
    by
        ``hour`` (of the day), ``day``, ``week``, ``site`` or ``file``.
    recordings
        All recordings, also those without events, as
        `streaming.results.summary.effort.recorded_spans` finds them. Without them rates per
        recorded hour are left out.

    Raises
    ------
    UsageError
        If `by` is unknown.
    OutputError
        If the folder cannot be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    if by not in GROUPINGS:
        raise UsageError(f"unknown grouping {by!r}. {near(by, GROUPINGS)}")
    check_extra("matplotlib", "sed summary")
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(folder, error) from error
    recordings = None if recordings is None else with_clock_of(events, recordings)
    events = with_local_times(events, recordings or ())
    grouped = {name: group_by(name, events, recordings) for name in {by, "hour", "day", "week"}}
    labels = events.labels
    total = None if recordings is None else sum(span.seconds or 0.0 for span in recordings)
    classes = _class_rows(events, total)
    write_table(folder / "classes.csv", _class_header(total), classes)
    effort = grouped[by].recorded_seconds
    header = [by, "label", "events", "minutes"] + ["events_per_hour"] * (effort is not None)
    write_table(folder / f"by_{by}.csv", header, _group_rows(grouped[by], labels))
    if effort is not None:
        rows = zip(grouped[by].groups, (f"{s / 3600:.4f}" for s in effort), strict=True)
        write_table(folder / "effort.csv", [by, "recorded_hours"], rows)
    n_untimed = int(np.isnat(events.local_time).sum())
    summary = EventSummary(
        len(events),
        len(np.unique(events.label)),
        len(np.unique(events.file)),
        n_untimed,
        None if total is None else total / 3600,
        sum(span.seconds is None for span in recordings or ()),
    )
    pictures = _pictures(folder, grouped, labels) if n_untimed < len(events) else {}
    write_summary(
        folder / PAGE,
        title="Summary of events",
        facts=_facts(summary, events),
        notes=_notes(summary),
        pictures=pictures,
        tables=[
            PageTable("Classes", _class_header(total), classes),
            PageTable(f"By {TITLES[by]}", *_total_rows(by, grouped[by])),
        ],
    )
    return summary


def _pictures(folder: Path, grouped: dict[str, Grouped], labels: Sequence[str]) -> dict[str, Path]:
    # Importing matplotlib is slow.
    from streaming.results.summary.plots import plot_activity, plot_by_date, plot_by_hour

    hours, dates, activity = (folder / f"{name}.png" for name in ("hours", "dates", "activity"))
    plot_activity(activity, grouped["hour"])
    plot_by_hour(hours, grouped["hour"], labels)
    plot_by_date(dates, grouped["day"], grouped["week"], labels)
    return {
        "events by the hour of the day": activity,
        "classes by the hour of the day": hours,
        "classes by date": dates,
    }


def _class_header(total_seconds: float | None) -> list[str]:
    return ["label", "events", "minutes", "mean_score", "best_score"] + ["events_per_hour"] * bool(
        total_seconds
    )


def _class_rows(events: EventTable, total_seconds: float | None) -> list[list[str]]:
    n = len(events.labels)
    counts = np.bincount(events.label, minlength=n)
    seconds = np.bincount(events.label, np.maximum(0.0, events.offset - events.onset), n)
    means = np.bincount(events.label, events.score, n) / np.maximum(1, counts)
    # Scores of other programs may be negative, such as decibels.
    best = np.full(n, -np.inf)
    np.maximum.at(best, events.label, events.score)
    return [
        [
            events.labels[c],
            str(counts[c]),
            f"{seconds[c] / 60:.3f}",
            f"{means[c]:.3f}",
            f"{best[c]:.3f}",
        ]
        + [f"{counts[c] / total_seconds * 3600:.4f}" for _ in [0] if total_seconds]
        for c in np.argsort(-counts, kind="stable").tolist()
        if counts[c]
    ]


def _group_rows(grouped: Grouped, labels: Sequence[str]) -> Iterator[list[str]]:
    effort = grouped.recorded_seconds
    for g, c in np.argwhere((grouped.events > 0) | (grouped.seconds > 0)).tolist():
        row = [grouped.groups[g], labels[c], str(grouped.events[g, c])]
        row.append(f"{grouped.seconds[g, c] / 60:.3f}")
        if effort is not None:
            row.append(f"{grouped.events[g, c] / effort[g] * 3600:.4f}" if effort[g] else "")
        yield row


def _total_rows(by: str, grouped: Grouped) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table of all classes together."""
    effort = grouped.recorded_seconds
    rows = []
    for g, name in enumerate(grouped.groups):
        n = int(grouped.events[g].sum())
        row = [name or "unknown", str(n), f"{grouped.seconds[g].sum() / 60:.1f}"]
        if effort is not None:
            row.append(f"{effort[g] / 3600:.2f}")
            row.append(f"{n / effort[g] * 3600:.2f}" if effort[g] else "")
        rows.append(row)
    more = ["recorded hours", "events per hour"] if effort is not None else []
    return [TITLES[by], "events", "minutes", *more], rows


def _facts(summary: EventSummary, events: EventTable) -> dict[str, str]:
    facts = {
        "events": f"{summary.n_events:,}",
        "classes": f"{summary.n_classes:,}",
        "recordings with events": f"{summary.n_files:,}",
    }
    if summary.recorded_hours is not None:
        facts["hours recorded"] = f"{summary.recorded_hours:,.1f}"
    known = events.local_time[~np.isnat(events.local_time)]
    if len(known):
        first, last = (str(day.astype("datetime64[D]")) for day in (known.min(), known.max()))
        facts["from"], facts["to"] = first, last
    return facts


def _notes(summary: EventSummary) -> list[str]:
    notes = []
    if summary.n_untimed:
        notes.append(
            f"The time of day of {pluralize(summary.n_untimed, 'event')} is unknown: neither the "
            "table, nor the name or the header of the recording has it."
        )
    if summary.recorded_hours is None:
        notes.append("Counts do not allow for the hours that were recorded, which are unknown.")
    if summary.n_unknown_lengths:
        notes.append(
            f"{pluralize(summary.n_unknown_lengths, 'recording')} without a length in the header "
            "did not count as recorded."
        )
    notes.append(
        "An event counts where it begins; its minutes count in each hour that it reaches into."
    )
    return notes
