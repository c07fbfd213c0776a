"""Define the command `sed summary`. Heavy libraries are imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sed.errors import FAILED, SedError
from streaming.results.cli.options import INPUT, OUTPUT, Classes, Events, MinScore, Quiet


def summary(
    events: Events,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the tables, the pictures and the page.",
            rich_help_panel=OUTPUT,
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            metavar="hour|day|week|site|file",
            help="What the table of counts is by: the hour of the day, date, week, site (the first "
            "folder below the one that all recordings are in) or file.",
            rich_help_panel=OUTPUT,
        ),
    ] = "hour",
    classes: Classes = "",
    min_score: MinScore = 0.0,
    audio: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder with all recordings, also those without events, whose hours counts relate "
            "to. May be repeated.",
            show_default="the folders of the recordings in the table",
            rich_help_panel=INPUT,
        ),
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(
            help="Time zone of the site, where times come from recordings.", rich_help_panel=INPUT
        ),
    ] = None,
    recorder_zone: Annotated[
        str | None,
        typer.Option(
            help="Time zone of the recorder's clock, where it did not write one.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Count events per class by hour, date, week, site or file, allowing for the hours recorded.

    Writes tables, heat maps and one page (summary.html) that needs no other file.
    """
    from sed.audio.start_time import time_zone as parsed
    from sed.cli import show_log
    from sed.errors import check_extra
    from sed.text import pluralize
    from streaming.results.cli.reading import (
        Bar,
        folders_of,
        print_error,
        read_events,
        with_paths,
    )
    from streaming.results.summary.effort import recorded_spans
    from streaming.results.summary.summarise import PAGE, summarise

    show_log(quiet=quiet)
    check_extra("matplotlib", "sed summary")
    table = with_paths(read_events(events, classes), events)
    table = table.take(table.score >= min_score)
    zone, clock = (name and parsed(name) for name in (time_zone, recorder_zone))
    errors: list[SedError] = []

    def on_error(error: SedError) -> None:
        errors.append(error)
        print_error(error, Bar(None, None))

    sources = audio or folders_of(table)
    spans = recorded_spans(sources, zone or None, clock or None, on_error) if sources else None
    found = summarise(table, output, by=by, recordings=spans or None)
    if not quiet:
        hours = f" in {found.recorded_hours:,.1f} h" if found.recorded_hours is not None else ""
        print(f"{pluralize(found.n_events, 'event')}{hours}; look at {output / PAGE}")
        if found.n_untimed:
            print(
                f"sed: the time of day of {pluralize(found.n_untimed, 'event')} is unknown",
                file=sys.stderr,
            )
    if errors:
        raise typer.Exit(FAILED)
