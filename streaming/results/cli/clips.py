"""Define the command `sed clips`. Heavy libraries are imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sed.errors import FAILED, SedError, UsageError
from streaming.results.cli.options import (
    CHOICE,
    OUTPUT,
    Audio,
    Classes,
    Events,
    MaxFrequency,
    MinScore,
    Quiet,
)


def clips(
    events: Events,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the clips, their pictures, clips.csv and index.html.",
            rich_help_panel=OUTPUT,
        ),
    ],
    per_class: Annotated[
        int,
        typer.Option(
            metavar="N", help="Clips of each class; 0 for all events.", rich_help_panel=CHOICE
        ),
    ] = 10,
    pick: Annotated[
        str,
        typer.Option(
            metavar="best|random|spread|uncertain",
            help="Which events: the highest scores, any, evenly from the highest score to the "
            "lowest, or scores nearest to 0.5.",
            rich_help_panel=CHOICE,
        ),
    ] = "best",
    classes: Classes = "",
    min_score: MinScore = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of random choices.", rich_help_panel=CHOICE)] = 0,
    pad: Annotated[
        float,
        typer.Option(help="Seconds of sound before and after an event.", rich_help_panel=OUTPUT),
    ] = 1.0,
    max_seconds: Annotated[
        float,
        typer.Option(
            help="Longest clip in seconds; of a longer event its start.", rich_help_panel=OUTPUT
        ),
    ] = 60.0,
    format: Annotated[
        str,
        typer.Option(metavar="flac|wav|ogg", help="Format of the clips.", rich_help_panel=OUTPUT),
    ] = "flac",
    max_frequency: MaxFrequency = None,
    audio: Audio = None,
    quiet: Quiet = False,
) -> None:
    """Cut the sound of events from their recordings: per class the best, or any others.

    Each clip gets a spectrogram beside it, and all together a table (clips.csv, which `sed train`
    reads) and a page to look at and listen to (index.html).
    """
    from sed.cli import show_log
    from sed.text import pluralize
    from streaming.results.cli.reading import print_error, progress, read_events, with_paths
    from streaming.results.clips.choose import ChoiceConfig
    from streaming.results.clips.save import SHEET, save_clips

    show_log(quiet=quiet)
    if per_class < 0:
        raise UsageError(f"expected 0 or more clips per class, got {per_class}")
    config = ChoiceConfig(per_class or None, pick, pad, max_seconds, seed)  # type: ignore[arg-type]
    table = with_paths(read_events(events, classes), events)
    table = table.take(table.score >= min_score)
    errors: list[SedError] = []
    with progress("clips", shown=not quiet) as bar:

        def on_error(error: SedError) -> None:
            errors.append(error)
            print_error(error, bar)

        saved = save_clips(
            table,
            output,
            config,
            format=format,
            max_hz=max_frequency,
            audio=audio or (),
            on_clip=bar.update,
            on_error=on_error,
        )
    if not quiet:
        print(f"{pluralize(len(saved), 'clip')} in {output}; look at {output / SHEET}")
    if errors:
        raise typer.Exit(FAILED)
