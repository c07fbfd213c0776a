"""The command `sed evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from train.evaluate.evaluate import Evaluation
from train.cli.options import BatchSize, Blend, Checkpoints, Device, Quiet, Tta, _bar

_MOST_CLASSES_SHOWN = 12


_MOST_CONFUSIONS_SHOWN = 5


def evaluate(
    checkpoints: Checkpoints,
    data: Annotated[
        Path,
        typer.Option(help="A table of clips, a folder that holds one, or a folder per class."),
    ],
    fold: Annotated[
        str | None,
        typer.Option(
            help="Fold to judge by, counted from 0; test for clips kept for testing; or all.",
            metavar="N|test|all",
            show_default="what the models held out, else all",
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="Kind of table; auto goes by its columns.")] = "auto",
    tta: Tta = 1,
    blend: Blend = "arithmetic",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write report.json, per_class.csv, predictions.csv and confusion.png "
            "into.",
            show_default="nothing is written",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="All figures as JSON on standard output.")
    ] = False,
    device: Device = "auto",
    batch_size: BatchSize = 32,
    quiet: Quiet = False,
) -> None:
    """Judge models by labelled clips.

    Every clip is heard whole; the probability of a class in it is the highest of its windows.
    Secondary labels are not expected. The tables go to standard error.
    """
    from train.evaluate.evaluate import evaluate as run

    with _bar("clips", shown=not quiet) as advance:
        evaluation = run(
            checkpoints,
            data,
            fold=fold,
            format=format,
            tta=tta,
            blend=blend,
            output=output,
            device=device,
            batch_size=batch_size,
            on_progress=advance,
        )
    if not quiet:
        _show(evaluation)
    if as_json:
        import json

        from train.evaluate.report import plain

        figures = {"clips": evaluation.told, **evaluation.figures}
        figures["per_class"] = [row._asdict() for row in evaluation.per_class]
        print(json.dumps(plain(figures), ensure_ascii=False))


def _show(evaluation: Evaluation) -> None:
    """Print the figures on standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    figures = evaluation.figures
    noun = "clip" if figures["n_clips"] == 1 else "clips"
    console.print(f"{figures['n_clips']:,} {noun}: {evaluation.told}", markup=False, soft_wrap=True)
    for part in (_overall_table(figures), _class_table(evaluation), _confusions(evaluation)):
        console.print()
        console.print(part)


def _overall_table(figures: dict[str, Any]) -> Table:
    from rich.table import Table

    columns = {
        "cmAP 5": figures["cmap5"],
        "cmAP 3": figures["cmap3"],
        "mAP": figures["map"],
        "macro AUC": figures["auc"],
        "accuracy": figures["accuracy"],
        "MAP@3": figures["map3"],
        "F1 macro": figures["macro"]["f1"],
        "F1 weighted": figures["weighted"]["f1"],
    }
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
    shown = rows[:_MOST_CLASSES_SHOWN]
    heading = "class" if len(shown) == len(rows) else f"hardest {len(shown)} of {len(rows)} classes"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(heading, overflow="ellipsis", no_wrap=True, max_width=40)
    for name in ("AP", "AUC", "precision", "recall", "F1", "clips"):
        table.add_column(name, justify="right")
    for label, *values, support in shown:
        table.add_row(Text(label), *map(_number, values), f"{support:,}")
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
    order = np.argsort(-confusion, axis=None, kind="stable")[:_MOST_CONFUSIONS_SHOWN]
    pairs = [divmod(int(place), len(labels)) for place in order if confusion.flat[place]]
    told = Text("most frequent confusions" if pairs else "no clip was taken for another class")
    for true, predicted in pairs:
        count = confusion[true, predicted]
        told.append(f"\n{count:5d} × {labels[true]} taken for {labels[predicted]}")
    return told


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"
