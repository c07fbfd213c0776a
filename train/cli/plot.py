"""The command `sed plot`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.text import printable, some
from train.cli.options import INPUT, OUTPUT, Quiet

if TYPE_CHECKING:
    from train.evaluate.differences import Difference

_MAX_CLASSES_SHOWN = 12


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...",
            help="Run directories; one that holds fold0, fold1, … is plotted as mean and spread.",
            show_default=False,
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric to plot beside the training loss.",
            metavar="padded_cmap_5|padded_cmap_3|map|accuracy|map_at_3|auc",
            show_default="the one that the runs monitor",
            rich_help_panel=INPUT,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The plot, a PNG file; the table of two runs gets the same name and the ending "
            ".csv.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("runs.png"),
    quiet: Quiet = False,
) -> None:
    """Compare runs in a plot of training loss and a metric over epochs.

    Two runs that were evaluated on the same clips are compared class by class too: a table of the
    differences in average precision (AP), second run minus first, with intervals of 95 % (paired
    bootstrap over recordings). Folders of sed evaluate --output may be given for the table alone.

    The paths of the plot and the table are printed to standard output.
    """
    from train.evaluate.compare import plot_runs, run_folders
    from train.evaluate.differences import (
        compare_predictions,
        has_predictions,
        write_differences,
    )

    lacking = [run for run in runs if not has_predictions(run)]
    if lacking or len(runs) != 2 or any(map(run_folders, runs)):
        plot_runs(runs, output, metric=metric)
        print(output)
    if len(runs) != 2:
        return
    if lacking:
        if not quiet:
            _say(
                f"no table of differences: {some(list(map(str, lacking)))} holds no predictions yet"
            )
        return
    rows = compare_predictions(*runs)
    table = output.with_suffix(".csv")
    write_differences(table, rows)
    if not quiet:
        _show(rows, runs)
    print(table)


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def _show(rows: Sequence[Difference], runs: Sequence[Path]) -> None:
    """Print the mean and the classes with the largest differences to standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    *classes, macro = rows
    # Those that are certain first.
    classes.sort(key=lambda row: (row.low <= 0 <= row.high, -abs(row.difference)))
    shown = classes[:_MAX_CLASSES_SHOWN]
    heading = "class" if len(shown) == len(classes) else f"{len(shown)} of {len(classes)} classes"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(heading, overflow="ellipsis", no_wrap=True, max_width=40)
    for name in ("first", "second", "difference", "95 % interval", "clips"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in [macro, *shown]:
        label = Text("mean (mAP)" if row is macro else printable(row.label))
        figures = (_number(value) for value in (row.first, row.second))
        bounds = f"{row.low:+.4f} to {row.high:+.4f}" if row.low == row.low else "–"
        is_certain = row.low > 0 or row.high < 0
        style = ("green" if row.difference > 0 else "red") if is_certain else ""
        table.add_row(
            label, *figures, Text(_number(row.difference, "+"), style), Text(bounds, style),
            f"{row.clips:,}", end_section=row is macro,
        )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    for place, run in zip(("first", "second"), runs, strict=True):
        console.print(f"AP of the {place} run: {printable(str(run))}", markup=False, soft_wrap=True)
    console.print()
    console.print(table)


def _number(value: float, sign: str = "") -> str:
    return "–" if value != value else f"{value:{sign}.4f}"
