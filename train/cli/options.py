"""Options that the commands of training share, and the panels that help groups them in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sed.errors import INTERRUPTED

INPUT, MODEL, OUTPUT, PERFORMANCE = "Input", "Model", "Output", "Performance"
DOWNLOADS = "Downloads"
FORMATS = (
    "auto|esc50|urbansound8k|birdclef|fsdkaggle2018|index|weak|audioset|audioset_strong|windows|"
    "opensoundscape|start_end|strong|events|raven|birdnet|birdnet_r|kaleidoscope|folders"
)

Checkpoints = Annotated[
    list[Path],
    typer.Argument(
        metavar="CHECKPOINTS...",
        help="Checkpoints, or run directories, of which the best epoch is used; several are "
        "blended.",
        show_default=False,
    ),
]
TableFormat = Annotated[
    str,
    typer.Option(
        "--table-format",
        help="Format of the table; auto chooses by its columns.",
        metavar=FORMATS,
        rich_help_panel=INPUT,
    ),
]
Tta = Annotated[
    int,
    typer.Option(
        help="Test-time augmentation: predict each window N times, shifted circularly by 1/N of "
        "its length each time.",
        metavar="N",
        rich_help_panel=MODEL,
    ),
]
Blend = Annotated[
    str,
    typer.Option(
        help="Mean over models and shifts.",
        metavar="arithmetic|geometric",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Processor: auto (a GPU if there is one), cpu, cuda or cuda:N.",
        metavar="auto|cpu|cuda|cuda:N",
        rich_help_panel=PERFORMANCE,
    ),
]
BatchSize = Annotated[
    int, typer.Option(help="Windows per batch.", metavar="N", rich_help_panel=PERFORMANCE)
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=OUTPUT),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print diagnostics too.", rich_help_panel=OUTPUT),
]


@contextmanager
def progress_bar(noun: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Draw a progress bar on standard error, if it is a terminal; yield what advances it.

    Ctrl-C in its body ends the command with the exit status of an interruption.

    Parameters
    ----------
    noun
        What is counted, in front of the bar.
    shown
        Whether to draw it.
    """
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
