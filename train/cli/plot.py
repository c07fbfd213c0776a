"""The command `sed plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...",
            help="Run directories; one that holds fold0, fold1, … is drawn as mean and spread.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The picture, a PNG.")] = Path("runs.png"),
    metric: Annotated[
        str | None,
        typer.Option(
            help="cmap5, cmap3, map, accuracy, map3 or auc.",
            show_default="what the runs were judged by",
        ),
    ] = None,
) -> None:
    """Draw runs beside one another: training loss and a metric, epoch by epoch.

    The path of the picture goes to standard output.
    """
    from train.evaluate.compare import compare_runs

    compare_runs(runs, output, metric=metric)
    print(output)
