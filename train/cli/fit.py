"""The command `sed fit`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.text import pluralize, printable
from train.cli.options import (
    INPUT,
    MODEL,
    OUTPUT,
    Device,
    Quiet,
    TableFormat,
    Verbose,
)

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table

    from train.fit.embeddings import OnProgress
    from train.fit.fit import FitResult
    from train.fit.vectors import OnTrial

_MAX_CLASSES_SHOWN = 20


def fit(
    table: Annotated[
        Path,
        typer.Argument(
            help="A folder with clips of one class, which is its name; a folder per class; or a "
            "table as for sed train.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The model: NAME.safetensors and NAME.json; of numbers and trees NAME.json.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            help="Column of a CSV with the targets: numbers, or labels separated by semicolons.",
            show_default="the labels of the table",
            rich_help_panel=INPUT,
        ),
    ] = None,
    background: Annotated[
        list[Path] | None,
        typer.Option(
            help="Recordings without the classes, or folders of them, of any length; repeatable. "
            "The best are your own.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    table_format: TableFormat = "auto",
    task: Annotated[
        str,
        typer.Option(
            help="classify: one class per clip. tag: any number of classes. regress: a number.",
            metavar="auto|classify|tag|regress",
            rich_help_panel=MODEL,
        ),
    ] = "auto",
    head: Annotated[
        str,
        typer.Option(
            help="What is fitted; auto chooses by cross-validation among those that are quick.",
            metavar="auto|linear|prototype|knn|mlp|trees",
            rich_help_panel=MODEL,
        ),
    ] = "auto",
    search: Annotated[
        int,
        typer.Option(
            min=0,
            help="Trials of a search for parameters of the head, for numbers and trees. Ctrl-C "
            "ends it with the best so far.",
            metavar="N",
            rich_help_panel=MODEL,
        ),
    ] = 0,
    add_to: Annotated[
        str | None,
        typer.Option(
            help="Add the classes to this model, a name or a checkpoint; its own stay as they are.",
            metavar="MODEL",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Frozen model whose features are used: the name of a model (sed models), a "
            "checkpoint, hf:NAME or a graph.",
            metavar="MODEL",
            rich_help_panel=MODEL,
        ),
    ] = "default",
    pool: Annotated[
        str,
        typer.Option(
            help="Statistics over the frames of a clip, for numbers and trees, of mean, max, std "
            "and attention.",
            rich_help_panel=MODEL,
        ),
    ] = "mean,std,max",
    layer: Annotated[
        str,
        typer.Option(help="Layer of the model, see sed embed.", rich_help_panel=MODEL),
    ] = "features",
    seed: Annotated[
        int, typer.Option(min=0, help="Of everything that is random.", rich_help_panel=MODEL)
    ] = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
    device: Device = "auto",
) -> None:
    """Fit new classes, or a number, on the embeddings of a frozen model.

    Ten clips of a class are enough to start: sed fit my_class/ --add-to everyday --background
    my_recordings/ -o mine. The result is a checkpoint for sed detect, sed listen and all others.
    Numbers and trees are for sed predict.
    """
    from sed.cli import show_log
    from train.fit.fit import fit as run

    show_log(quiet=quiet, verbose=verbose)
    with _progress(shown=not quiet) as (on_clip, on_trial):
        result = run(
            table,
            output,
            target=target,
            task=task,
            head=head,
            n_trials=search,
            add_to=add_to,
            background=background or (),
            model=model,
            pool=tuple(name.strip() for name in pool.split(",")),
            layer=layer,
            table_format=table_format,
            device=device,
            seed=seed,
            on_progress=on_clip,
            on_trial=on_trial,
            on_error=lambda error: print(f"sed: {error}", file=sys.stderr),
        )
    if not quiet:
        _show(result)
    if result.failures:
        from sed.errors import FAILED

        raise typer.Exit(FAILED)


@contextmanager
def _progress(*, shown: bool) -> Iterator[tuple[OnProgress, OnTrial]]:
    """Draw bars for clips and for trials; yield what advances each."""
    from rich.console import Console

    from sed.errors import INTERRUPTED
    from train.cli.bars import progress_bars

    bars = progress_bars(Console(stderr=True), shown=shown, field="loss")
    tasks: dict[str, TaskID] = {}

    def advance(noun: str, n_done: int, n_all: int, loss: str = "") -> None:
        if noun not in tasks:
            tasks[noun] = bars.add_task(noun, total=n_all, loss="")
        bars.update(tasks[noun], completed=n_done, total=n_all, loss=loss)

    try:
        with bars:
            yield (
                lambda n_done, n_all: advance("clips", n_done, n_all),
                lambda n_done, n_all, loss: advance("trials", n_done, n_all, f"best {loss:.4g}"),
            )
    except KeyboardInterrupt:
        print("sed: stopped; nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _show(result: FitResult) -> None:
    """Print what was fitted, how good it is, and what to do with it, to standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    counts = [pluralize(result.n_clips, "clip")]
    if result.n_background:
        counts.append(pluralize(result.n_background, "window") + " of background")
    if result.failures:
        counts.append(pluralize(len(result.failures), "failure"))
    console.print(f"{', '.join(counts)}; head: {result.head}", markup=False)
    tried = result.metrics.get("tried", {})
    if len(tried) > 1:
        figures = ", ".join(f"{kind} {value:.3f}" for kind, value in tried.items())
        console.print(
            f"mean average precision in cross-validation: {figures}", markup=False, soft_wrap=True
        )
    if "n_examples" in result.metrics:
        console.print(_class_table(result))
    else:
        numbers = {k: v for k, v in result.metrics.items() if isinstance(v, int | float)}
        text = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in numbers.items())
        console.print(f"on clips held out: {text}", markup=False, soft_wrap=True)
    is_checkpoint = result.path.endswith(".safetensors")
    use = "sed detect RECORDINGS --model" if is_checkpoint else "sed predict"
    name = printable(result.path)
    command = f"{use} {name}" if is_checkpoint else f"{use} {name} RECORDINGS"
    console.print(f"written: {name}. Use it: {command}", markup=False, soft_wrap=True)


def _class_table(result: FitResult) -> Table:
    """Return a row per class: its clips, and its average precision in cross-validation."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=40)
    table.add_column("clips", justify="right")
    table.add_column("AP, cross-validated", justify="right")
    found = result.metrics["average_precision"]
    examples = result.metrics["n_examples"]
    for label in result.labels[:_MAX_CLASSES_SHOWN]:
        value = f"{found[label]:.3f}" if label in found else "one source: unknown"
        table.add_row(Text(printable(label)), f"{examples[label]:,}", value)
    if (n_more := len(result.labels) - _MAX_CLASSES_SHOWN) > 0:
        table.add_row(Text(f"and {n_more} more, see sed info"))
    return table
