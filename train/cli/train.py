"""The command `sed train`. Heavy modules are imported when it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sed.errors import FAILED, INTERRUPTED
from train.cli.options import INPUT, MODEL, OUTPUT, Device, Quiet, TableFormat, Verbose

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from train.run.train import TrainCallbacks


# Of each epoch, those that are defined.
SHOWN_METRICS = ("accuracy", "padded_cmap_5", "event_f1", "psds1")


def train(
    table: Annotated[
        Path | None,
        typer.Argument(help="The same as --data.", metavar="[TABLE_OR_FOLDER]", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A table of clips, a folder that holds one, a folder per class, strong labels "
            "beside recordings, or the output of sed prepare.",
            metavar="TABLE_OR_FOLDER",
            show_default="data/, a table or class folders here, or $SED_DATA",
            rich_help_panel=INPUT,
        ),
    ] = None,
    table_format: TableFormat = "auto",
    fold: Annotated[
        str,
        typer.Option(
            help="Fold to hold out for validation, counted from 0: the clips are divided into "
            "folds, and the others are trained on. all: each in turn.",
            metavar="N|all",
            rich_help_panel=INPUT,
        ),
    ] = "0",
    pseudo_labels: Annotated[
        Path | None,
        typer.Option(
            help="Pseudo-labels to train on too, as sed predict --pseudo-labels writes them.",
            metavar="TABLE",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="A TOML file, or a recipe of this package: default, esc50, birdclef2023, "
            "urban-sounds, freesound2018, freesound2018-second, drone-car-speech, "
            "drone-car-speech-small or shipped.",
            metavar="NAME|FILE.toml",
            rich_help_panel=MODEL,
        ),
    ] = "default",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUE",
            help="Change the recipe, as optim.batch_size=64; repeatable. --show-config prints all "
            "keys.",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None,
    monitor: Annotated[
        str | None,
        typer.Option(
            help="Metric that the best epoch is chosen by. Those of events (event_f1, segment_f1, "
            "intersection_f1, psds1, psds2) need labels with times.",
            metavar="padded_cmap_5|map|event_f1|psds1|…",
            show_default="the recipe's",
            rich_help_panel=MODEL,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training clips.",
            show_default="the recipe's",
            rich_help_panel=MODEL,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of all random numbers.", show_default="the recipe's", rich_help_panel=MODEL
        ),
    ] = None,
    init_weights: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a file or the name of a model of your own (a checkpoint "
            "brings its head too), default, general or everyday (the backbone of that shipped "
            "model), timm (its hub) or none.",
            metavar="none|default|timm|NAME|FILE",
            show_default="the recipe's",
            rich_help_panel=MODEL,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The run directory.",
            metavar="DIR",
            show_default="runs/<recipe>-fold<N>",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the run in that directory.", rich_help_panel=OUTPUT
        ),
    ] = False,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config",
            help="Print every key of the recipe with its value and meaning, and stop.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    overfit_batch: Annotated[
        bool,
        typer.Option(
            "--overfit-batch",
            help="Only try to overfit one batch, and report whether it works.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    device: Device = "auto",
) -> None:
    """Train a model with one fold held out for validation, and keep its best epoch.

    The path of the checkpoint is printed to standard output; with --fold all, that of the table of
    folds. After Ctrl-C or a crash the best epoch so far is kept, and --resume continues as if
    nothing had happened. Start it with torchrun for several GPUs.
    """
    from sed.cli import show_log

    show_log(quiet=quiet, verbose=verbose)
    arguments: dict[str, Any] = {
        "recipe": recipe,
        "init_weights": init_weights,
        "seed": seed,
        "overrides": [*(settings or ()), *([f"checkpoint.monitor={monitor}"] if monitor else [])],
    }
    if show_config:
        _print_config(arguments, epochs)
        return
    is_first = os.environ.get("RANK", "0") == "0"  # under torchrun one process prints
    number = None if fold == "all" else _fold_number(fold)
    # Errors in the recipe are reported before the data is searched for.
    _check_recipe(arguments, epochs)
    source = _data_of(table, data, quiet=quiet or not is_first)
    arguments |= {"table_format": table_format, "device": device}
    callbacks, bars = _callbacks(shown=is_first and not quiet)
    try:
        if overfit_batch:
            _overfit(source, number or 0, arguments, bars)
            return
        arguments |= {
            "epochs": epochs,
            "output": output,
            "pseudo_labels": pseudo_labels,
            "resume": resume,
            "callbacks": callbacks,
        }
        path = (
            _train_all(source, arguments, bars)
            if number is None
            else _train_one(source, number, arguments)
        )
    except KeyboardInterrupt:
        bars.stop()  # before the message, which it would overwrite
        print(
            "sed: stopped; the best epoch so far, if one is finished, is kept, and --resume "
            "continues",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        bars.stop()  # restores the cursor of the terminal
    if is_first:
        print(path)


def _print_config(arguments: dict[str, Any], epochs: int | None) -> None:
    from train.config.recipe import load_recipe
    from train.config.show import format_config

    name = arguments.pop("recipe")
    print(format_config(load_recipe(name, epochs=epochs, **arguments)))


def _check_recipe(arguments: dict[str, Any], epochs: int | None) -> None:
    from train.run.train import load_checked_recipe

    changes = {key: value for key, value in arguments.items() if key != "recipe"}
    load_checked_recipe(arguments["recipe"], epochs=epochs, **changes)


def _data_of(table: Path | None, data: Path | None, *, quiet: bool) -> Path:
    """Return the data that is named, or what is found; report the latter."""
    from sed.errors import UsageError
    from sed.text import printable
    from train.data.discover import find_data

    if table is not None and data is not None:
        raise UsageError("data is given twice: as an argument and as --data. Leave one out")
    named = data if table is None else table
    if named is not None:
        return named
    path, where = find_data()
    if not quiet:
        print(f"sed: training on {where}: {printable(str(path.resolve()))}", file=sys.stderr)
    return path


def _fold_number(fold: str) -> int:
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
    for name, (mean, deviation) in results.summary.items():
        spread = f" ± {deviation:.4f}" if len(results.folds) > 1 else ""
        bars.console.print(f"{name:13} {mean:.4f}{spread}", soft_wrap=True)
    return results.path


def _overfit(data: Path, fold: int, arguments: dict[str, Any], bars: Bars) -> None:
    from train.run.overfit import overfit_one_batch

    task = bars.add_task("overfitting", total=None)
    bars.start()

    def on_step(step: int, n_steps: int, loss: float) -> None:
        bars.update(task, completed=step, total=n_steps, description=f"loss {loss:.4f}")

    result = overfit_one_batch(data, fold, on_step=on_step, **arguments)
    bars.stop()
    print(result)
    if not result.passed:
        raise typer.Exit(FAILED)


def _callbacks(*, shown: bool) -> tuple[TrainCallbacks | None, Bars]:
    """Return callbacks that advance a bar and print a line per epoch, and the bar."""
    from rich.console import Console

    from train.cli.bars import progress_bars
    from train.config.optim import METRIC_NAMES
    from train.run.train import TrainCallbacks

    console = Console(stderr=True, highlight=False, quiet=not shown)
    bars = progress_bars(console, shown=shown)
    if not shown:
        return None, bars
    tasks: list[TaskID] = []

    def on_start(description: str) -> None:
        console.print(description, markup=False, soft_wrap=True)
        for task in tasks:
            bars.remove_task(task)
        tasks[:] = [bars.add_task("training", total=None)]
        bars.start()

    def on_file_checked(n_checked: int, n_files: int) -> None:
        bars.update(tasks[0], completed=n_checked, total=n_files, description="checking files")

    def on_step(step: int, n_steps: int, loss: float) -> None:
        bars.update(tasks[0], completed=step, total=n_steps, description=f"loss {loss:.3f}")

    def on_epoch(metrics: dict[str, float]) -> None:
        names = [name for name in SHOWN_METRICS if metrics[name] == metrics[name]]
        shown = "  ".join(f"{METRIC_NAMES[name]} {metrics[name]:.4f}" for name in names)
        console.print(
            f"epoch {metrics['epoch']:3.0f}  loss {metrics['loss']:.4f}  "
            f"{shown}  "
            f"{metrics['clips_per_second']:.0f} clips/s, "
            f"{metrics['data_wait_fraction']:.1%} waiting for data",
            soft_wrap=True,
        )

    return TrainCallbacks(on_start, on_file_checked, on_step, on_epoch), bars
