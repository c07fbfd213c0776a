"""Command-line options that the commands about tables of events share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

INPUT, CHOICE, OUTPUT = "Input", "Choice", "Output"

Events = Annotated[
    list[Path],
    typer.Argument(
        metavar="EVENTS...",
        help="Tables of events, or folders with such tables: of `sed detect` and `sed listen` "
        "(CSV, TSV, JSON Lines, Raven, Audacity, Parquet, the database of live events), or of "
        "other programs.",
        rich_help_panel=INPUT,
    ),
]
Classes = Annotated[
    str,
    typer.Option(
        help="Only these classes: names joined by commas.",
        show_default="all",
        rich_help_panel=CHOICE,
    ),
]
MinScore = Annotated[
    float, typer.Option(help="Only events with this score or more.", rich_help_panel=CHOICE)
]
Audio = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="Folder with the recordings, if they are not where the table says. May be repeated.",
        rich_help_panel=INPUT,
    ),
]
MaxFrequency = Annotated[
    float | None,
    typer.Option(
        metavar="HZ",
        help="Upper edge of the spectrograms.",
        show_default="half of the sample rate",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=OUTPUT)
]
