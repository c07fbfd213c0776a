"""The command `sed plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train.cli.options import INPUT, OUTPUT


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
        typer.Option("--output", "-o", help="The plot, a PNG file.", rich_help_panel=OUTPUT),
    ] = Path("runs.png"),
) -> None:
    """Compare runs in a plot of training loss and a metric over epochs.

    The path of the plot is printed to standard output.
    """
    from train.evaluate.compare import plot_runs

    plot_runs(runs, output, metric=metric)
    print(output)
