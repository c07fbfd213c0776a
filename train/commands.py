"""The command `sed train`. What is heavy is imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from train.loop import Progress

INTERRUPTED = 130


def train(
    data: Annotated[
        Path,
        typer.Option(
            help="A table of clips (ESC-50's columns), a folder that holds one, or a folder per "
            "class."
        ),
    ],
    fold: Annotated[int, typer.Option(help="Fold held out for judging, counted from 0.")] = 0,
    recipe: Annotated[str, typer.Option(help="Name or TOML file of a recipe.")] = "default",
    epochs: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run directory.", show_default="runs/<recipe>-fold<N>"),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            help="Weights of the backbone: a file, default (our model), timm (its hub) or none.",
            show_default="the recipe's",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")
    ] = "auto",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but what went wrong.")
    ] = False,
) -> None:
    """Train a model with one fold held out, and keep its best epoch.

    The path of the checkpoint goes to standard output. Ctrl-C leaves the best epoch so far.
    """
    from train.loop import train as run

    reporter, bars = _reporter(shown=not quiet)
    try:
        checkpoint = run(
            data,
            fold,
            recipe=recipe,
            epochs=epochs,
            out=out,
            initial=initial,
            seed=seed,
            device=device,
            progress=reporter,
        )
    except KeyboardInterrupt:
        print("sed: stopped; the best epoch so far, if one is done, is kept", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        bars.stop()  # and give the terminal its cursor back
    print(checkpoint)


def _reporter(*, shown: bool) -> tuple[Progress | None, Bars]:
    """Return what shows a bar on a terminal, and a line for each epoch everywhere; and the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from train.loop import Progress

    console = Console(stderr=True, highlight=False)
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and sys.stderr.isatty()),
    )
    if not shown:
        return None, bars
    task = bars.add_task("training", total=None)

    def on_start(what: str) -> None:
        console.print(what, markup=False, soft_wrap=True)
        bars.start()

    def on_step(step: int, n_steps: int, loss: float) -> None:
        bars.update(task, completed=step, total=n_steps, description=f"loss {loss:.3f}")

    def on_epoch(row: dict[str, float]) -> None:
        console.print(
            f"epoch {row['epoch']:3.0f}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
            f"cmAP {row['cmap5']:.4f}  {row['clips_per_second']:.0f} clips/s",
            soft_wrap=True,
        )

    return Progress(on_start, on_step, on_epoch), bars
