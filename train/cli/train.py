"""The command `sed train`. What is heavy is imported when it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sed.errors import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from train.run.train import Progress


def train(
    data: Annotated[
        Path,
        typer.Option(
            help="A table of clips, a folder that holds one, a folder per class, strong labels "
            "beside recordings, or what sed prepare made."
        ),
    ],
    fold: Annotated[
        str, typer.Option(help="Fold held out for judging, counted from 0, or all in turn.")
    ] = "0",
    recipe: Annotated[
        str,
        typer.Option(
            help="default, esc50, birdclef2023, urban-sounds, freesound2018, drone-car-speech, or "
            "a TOML file of yours."
        ),
    ] = "default",
    epochs: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUE",
            help="Change the recipe, as learning.batch_size=64; may be repeated.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run directory.", show_default="runs/<recipe>-fold<N>"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in that directory was stopped.")
    ] = False,
    initial: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a file (a checkpoint of ours brings its head along), "
            "default (our model's backbone), timm (its hub) or none.",
            show_default="the recipe's",
        ),
    ] = None,
    soft: Annotated[
        Path | None,
        typer.Option(help="Pseudo-labels to learn from as well, as sed predict --soft writes."),
    ] = None,
    format: Annotated[
        str, typer.Option(help="Kind of table, if its columns leave doubt.")
    ] = "auto",
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")
    ] = "auto",
    sanity: Annotated[
        bool,
        typer.Option("--sanity", help="Only try to overfit one batch, and say whether it could."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but what went wrong.")
    ] = False,
) -> None:
    """Train a model with one fold held out, and keep its best epoch.

    The path of the checkpoint goes to standard output; of the table of folds with --fold all.
    Ctrl-C or worse leaves the best epoch so far, and --resume goes on as if nothing had been. Start
    it with torchrun for several GPUs.
    """
    arguments: dict[str, Any] = {
        "recipe": recipe,
        "initial": initial,
        "seed": seed,
        "settings": settings or (),
        "table_format": format,
        "device": device,
    }
    is_first = os.environ.get("RANK", "0") == "0"  # under torchrun one of them speaks
    reporter, bars = _reporter(shown=is_first and not quiet)
    try:
        if sanity:
            _try_sanity(data, _number(fold), arguments, bars)
            return
        arguments |= {"epochs": epochs, "out": out, "soft": soft, "resume": resume}
        arguments["progress"] = reporter
        path = (
            _train_all(data, arguments, bars)
            if fold == "all"
            else _train_one(data, _number(fold), arguments)
        )
    except KeyboardInterrupt:
        bars.stop()  # or it wipes the line
        print(
            "sed: stopped; the best epoch so far, if one is done, is kept, and --resume goes on",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        bars.stop()  # and give the terminal its cursor back
    if is_first:
        print(path)


def _number(fold: str) -> int:
    from sed.errors import UsageError

    if not fold.isdigit():
        raise UsageError(f"expected --fold as a number from 0, or all; got {fold!r}")
    return int(fold)


def _train_one(data: Path, fold: int, arguments: dict[str, Any]) -> Path:
    from train.run.train import train as run

    return run(data, fold, **arguments)


def _train_all(data: Path, arguments: dict[str, Any], bars: Bars) -> Path:
    from train.run.crossval import train_all_folds

    def on_fold(number: int, n_folds: int) -> None:
        bars.console.print(f"{number} of {n_folds} folds", soft_wrap=True)

    results = train_all_folds(data, on_fold=on_fold, **arguments)
    for name, (mean, spread) in results.summary.items():
        several = f" ± {spread:.4f}" if len(results.folds) > 1 else ""
        bars.console.print(f"{name:9} {mean:.4f}{several}", soft_wrap=True)
    return results.path


def _try_sanity(data: Path, fold: int, arguments: dict[str, Any], bars: Bars) -> None:
    from train.run.sanity import check_sanity

    task = bars.add_task("overfitting", total=None)
    bars.start()

    def on_step(step: int, n_steps: int, loss: float) -> None:
        bars.update(task, completed=step, total=n_steps, description=f"loss {loss:.4f}")

    result = check_sanity(data, fold, on_step=on_step, **arguments)
    bars.stop()
    print(result)
    if not result.could:
        raise typer.Exit(FAILED)


def _reporter(*, shown: bool) -> tuple[Progress | None, Bars]:
    """Return what shows a bar on a terminal, and a line for each epoch everywhere; and the bar."""
    from rich.console import Console

    from train.cli.bars import progress_bars
    from train.run.train import Progress

    console = Console(stderr=True, highlight=False, quiet=not shown)
    bars = progress_bars(console, shown=shown)
    if not shown:
        return None, bars
    tasks: list[TaskID] = []

    def on_start(what: str) -> None:
        console.print(what, markup=False, soft_wrap=True)
        for task in tasks:
            bars.remove_task(task)
        tasks[:] = [bars.add_task("training", total=None)]
        bars.start()

    def on_checked(n_checked: int, n_files: int) -> None:
        bars.update(tasks[0], completed=n_checked, total=n_files, description="looking into files")

    def on_step(step: int, n_steps: int, loss: float) -> None:
        bars.update(tasks[0], completed=step, total=n_steps, description=f"loss {loss:.3f}")

    def on_epoch(row: dict[str, float]) -> None:
        console.print(
            f"epoch {row['epoch']:3.0f}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
            f"padded cmAP {row['cmap5']:.4f}  {row['clips_per_second']:.0f} clips/s, "
            f"{row['waiting']:.1%} waiting",
            soft_wrap=True,
        )

    return Progress(on_start, on_checked, on_step, on_epoch), bars
