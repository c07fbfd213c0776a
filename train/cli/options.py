"""The commands `sed evaluate`, `sed predict` and `sed plot`: what comes after training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import INTERRUPTED

if TYPE_CHECKING:
    pass


Checkpoints = Annotated[
    list[Path],
    typer.Argument(
        metavar="CHECKPOINTS...",
        help="Checkpoints, or run directories that hold a best one; several are blended.",
        show_default=False,
    ),
]
Tta = Annotated[
    int,
    typer.Option(
        help="Hear each window N times, turned by 1/N of its length each time.", metavar="N"
    ),
]
Blend = Annotated[str, typer.Option(help="Mean of all models and turns: arithmetic or geometric.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")]
BatchSize = Annotated[int, typer.Option(help="Windows that go through a model together.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what went wrong.")]


@contextmanager
def _bar(noun: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar on a terminal's standard error; yield what moves it. Ctrl-C ends the command."""
    from rich.console import Console

    from train.cli.bars import progress_bars

    bars = progress_bars(Console(stderr=True), shown=shown)
    task = bars.add_task(noun, total=None)
    try:
        with bars:
            yield lambda n_done, n_all: bars.update(task, completed=n_done, total=n_all)
    except KeyboardInterrupt:
        print("sed: stopped; nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
