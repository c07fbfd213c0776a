"""The command `sed evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sed.errors import SedError, UsageError
from sed.text import pluralize, printable
from train.cli.options import (
    INPUT,
    OUTPUT,
    BatchSize,
    Blend,
    Checkpoints,
    Device,
    Quiet,
    TableFormat,
    Tta,
    Verbose,
    progress_bar,
)

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from sed.events.scoring.score import Score
    from train.evaluate.evaluate import Evaluation

_MAX_CLASSES_SHOWN = 12
_MAX_CONFUSIONS_SHOWN = 5


def evaluate(
    checkpoints: Checkpoints,
    data: Annotated[
        Path,
        typer.Option(
            help="A table of clips, a folder that holds one, or a folder per class.",
            rich_help_panel=INPUT,
        ),
    ],
    fold: Annotated[
        str | None,
        typer.Option(
            help="Fold to evaluate, counted from 0: one of the parts that the clips are divided "
            "into. test: the clips kept for testing. all: all clips.",
            metavar="N|test|all",
            show_default="the one that the models held out, else all",
            rich_help_panel=INPUT,
        ),
    ] = None,
    table_format: TableFormat = "auto",
    tta: Tta = 1,
    blend: Blend = "arithmetic",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for report.json, per_class.csv, predictions.csv and confusion.png.",
            show_default="nothing is written",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    n_errors: Annotated[
        int,
        typer.Option(
            "--errors",
            min=0,
            help="Write the worst N false alarms and misses of each class as clips with pictures "
            "and a page, into the folder errors in --output.",
            metavar="N",
            show_default="none",
            rich_help_panel=OUTPUT,
        ),
    ] = 0,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print all metrics as JSON to standard output.", rich_help_panel=OUTPUT
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    device: Device = "auto",
    batch_size: BatchSize = 32,
) -> None:
    """Evaluate models on labelled clips.

    Clips are processed as a whole; the probability of a class in a clip is the maximum over its
    windows. Secondary labels do not count as labels. Tables are printed to standard error.
    """
    from sed.cli import show_log
    from train.evaluate.evaluate import evaluate as run

    show_log(quiet=quiet, verbose=verbose)
    if n_errors and output is None:
        raise UsageError("--errors writes clips: give a folder for them with --output")
    with progress_bar("clips", shown=not quiet) as advance:
        evaluation = run(
            checkpoints,
            data,
            fold=fold,
            table_format=table_format,
            tta=tta,
            blend=blend,
            output=output,
            device=device,
            batch_size=batch_size,
            on_progress=advance,
        )
    if not quiet:
        _show(evaluation)
    if n_errors and output is not None:
        _save_errors(evaluation, output / "errors", n_errors, quiet=quiet)
    if as_json:
        import json

        from train.evaluate.report import plain

        metrics = {"clips": evaluation.description, **evaluation.metrics}
        metrics["per_class"] = [row._asdict() for row in evaluation.per_class]
        print(json.dumps(plain(metrics), ensure_ascii=False))


def _save_errors(evaluation: Evaluation, folder: Path, n_errors: int, *, quiet: bool) -> None:
    """Write the worst errors, and say where; end with exit status 1 if any cannot be written."""
    from rich.console import Console

    from train.evaluate.errors import save_errors

    console = Console(stderr=True, highlight=False)
    faults: list[SedError] = []
    with progress_bar("errors", shown=not quiet) as advance:
        n = save_errors(evaluation, folder, n_errors, on_clip=advance, on_error=faults.append)
    if not quiet:
        place = printable(str(folder / "index.html"))
        text = f"\n{pluralize(n, 'error')} to listen to: {place}" if n else "\nno errors"
        console.print(text, markup=False, soft_wrap=True)
    if faults:
        raise SedError("; ".join(map(str, faults)))


def _show(evaluation: Evaluation) -> None:
    """Print the metrics to standard error."""
    from rich.console import Console

    from sed.models.metrics import has_several_labels

    console = Console(stderr=True, highlight=False)
    metrics = evaluation.metrics
    n_clips = pluralize(metrics["n_clips"], "clip")
    console.print(f"{n_clips}: {evaluation.description}", markup=False, soft_wrap=True)
    parts: list[Table | Text] = [_overall_table(metrics), _class_table(evaluation)]
    if not has_several_labels(evaluation.predictions.targets):
        parts.append(_confusions(evaluation))
    if evaluation.events is not None:
        parts += [_event_table(evaluation.events), _event_classes(evaluation.events)]
    for part in parts:
        console.print()
        console.print(part)


def _overall_table(metrics: dict[str, Any]) -> Table:
    from rich.table import Table

    from train.config.optim import EVENT_METRICS, METRIC_NAMES

    columns = {
        **{name: metrics[key] for key, name in METRIC_NAMES.items() if key not in EVENT_METRICS},
        "F1 macro": metrics["macro"]["f1"],
        "F1 weighted": metrics["weighted"]["f1"],
    }
    # Accuracy, of clips with several labels.
    columns = {name: value for name, value in columns.items() if value == value}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right")
    table.add_row(*map(_number, columns.values()))
    return table


def _class_table(evaluation: Evaluation) -> Table:
    """Return a row per class, those with the lowest average precision first."""
    from rich.table import Table
    from rich.text import Text

    rows = [row for row in evaluation.per_class if row.support]
    rows.sort(key=lambda row: row.average_precision)
    shown = rows[:_MAX_CLASSES_SHOWN]
    heading = "class" if len(shown) == len(rows) else f"hardest {len(shown)} of {len(rows)} classes"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(heading, overflow="ellipsis", no_wrap=True, max_width=40)
    for name in ("AP", "AUC", "precision", "recall", "F1", "clips"):
        table.add_column(name, justify="right")
    for label, *values, support in shown:
        table.add_row(Text(printable(label)), *map(_number, values), f"{support:,}")
    return table


def _event_table(score: Score) -> Table:
    """Return the metrics of events, of all classes together and their means."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("events", "F1", "precision", "recall", "error rate"):
        table.add_column(name, justify="left" if name == "events" else "right")
    kinds = (
        ("collar 0.2 s", score.events),
        ("onset only", score.onsets),
        ("segments of 1 s", score.segments),
        ("intersection", score.intersections),
    )
    for name, rates in kinds:
        keys = ("f1", "precision", "recall", "error_rate")[: 3 if name == "intersection" else 4]
        table.add_row(f"{name}, micro", *(_number(getattr(rates.micro, key)) for key in keys))
        table.add_row(f"{name}, macro", *(_number(rates.macro(key)) for key in keys))
    table.add_row("PSDS 1", _number(score.psds1.score))
    table.add_row("PSDS 2", _number(score.psds2.score))
    false = score.false_per_hour()
    table.add_row("false per hour", "–" if false is None else f"{false:,.1f}")
    return table


def _event_classes(score: Score) -> Table:
    """Return a row per class, those with the lowest event F1 first."""
    from rich.table import Table
    from rich.text import Text

    rows = [(label, own) for label, own in score.events.classes.items() if own.n_true]
    rows.sort(key=lambda row: row[1].f1)
    shown = rows[:_MAX_CLASSES_SHOWN]
    heading = "class" if len(shown) == len(rows) else f"hardest {len(shown)} of {len(rows)} classes"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(heading, overflow="ellipsis", no_wrap=True, max_width=40)
    for name in ("event F1", "precision", "recall", "events", "false/h"):
        table.add_column(name, justify="right")
    for label, own in shown:
        rates = (_number(value) for value in (own.f1, own.precision, own.recall))
        false = score.false_per_hour(label)
        last = "–" if false is None else f"{false:,.1f}"
        table.add_row(Text(printable(label)), *rates, f"{own.n_true:,}", last)
    return table


def _confusions(evaluation: Evaluation) -> Text:
    """Return the most frequent confusions, a line each."""
    import numpy as np
    from rich.text import Text

    from sed.models.metrics import confusion_matrix

    labels = evaluation.labels
    targets, clip_probs = evaluation.predictions
    confusion = confusion_matrix(targets, clip_probs)
    np.fill_diagonal(confusion, 0)
    order = np.argsort(-confusion, axis=None, kind="stable")[:_MAX_CONFUSIONS_SHOWN]
    pairs = [divmod(int(place), len(labels)) for place in order if confusion.flat[place]]
    text = Text("most frequent confusions" if pairs else "no clip was confused with another class")
    for true, predicted in pairs:
        count = confusion[true, predicted]
        names = printable(labels[true]), printable(labels[predicted])
        text.append(f"\n{count:5d} × {names[0]} predicted as {names[1]}")
    return text


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"
