"""The commands `sed evaluate`, `sed predict` and `sed plot`: what comes after training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sed.errors import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from train.evaluate.evaluate import Evaluation
    from train.evaluate.predict import PredictSummary

_MOST_CLASSES_SHOWN = 12
_MOST_CONFUSIONS_SHOWN = 5

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


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINTS... SOURCES...",
            help="Checkpoints (.safetensors, .json, or run directories), several of which are "
            "blended; recordings, and folders to search for them.",
            show_default=False,
        ),
    ],
    submission: Annotated[
        str | None,
        typer.Option(
            help="birdclef (a row every 5 s), urban (ID,Class) or freesound (fname,label).",
            show_default="a row per window: file, begin, end, classes",
        ),
    ] = None,
    soft: Annotated[
        Path | None,
        typer.Option(
            help="Write pseudo-labels for sed train into this table, NAME.csv.",
            metavar="TABLE",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File for the rows.", show_default="standard output; with --soft alone, none"
        ),
    ] = None,
    tta: Tta = 1,
    blend: Blend = "arithmetic",
    device: Device = "auto",
    batch_size: BatchSize = 32,
    quiet: Quiet = False,
) -> None:
    """Say what is in recordings of any length, window by window.

    The exit status is 1 if some recording could not be heard whole. A submission has all its rows
    even then: where nothing was heard, they hold the mean of all others.
    """
    from train.evaluate.predict import Progress
    from train.evaluate.predict import predict as run

    checkpoints, sources = _checkpoints_and_sources(paths)
    with _bar("recordings", shown=not quiet) as advance:
        summary = run(
            checkpoints,
            sources,
            submission=submission,
            soft=soft,
            output=output,
            tta=tta,
            blend=blend,
            device=device,
            batch_size=batch_size,
            progress=Progress(
                on_heard=lambda n_done, n_all, _: advance(n_done, n_all),
                on_trouble=lambda error: print(f"sed: {error}", file=sys.stderr),
            ),
        )
    if not quiet:
        print(_told(summary), file=sys.stderr)
    if summary.failures:
        raise typer.Exit(FAILED)


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


def _checkpoints_and_sources(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Tell models from sound."""
    from sed.errors import UsageError, printable

    def is_checkpoint(path: Path) -> bool:
        return path.suffix in (".safetensors", ".json") or (path / "best.safetensors").is_file()

    checkpoints = [path for path in paths if is_checkpoint(path)]
    sources = [path for path in paths if not is_checkpoint(path)]
    missing = [printable(str(path)) for path in paths if not path.exists()]
    if not checkpoints:
        told = f" ({', '.join(missing)}: no such file or folder)" * bool(missing)
        raise UsageError(
            f"no checkpoint among the arguments{told}: give a .safetensors or a run directory"
        )
    if not sources:
        raise UsageError("no recording among the arguments: give files or folders of sound")
    return checkpoints, sources


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

    from sed.metrics import confusion_matrix

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


def _told(summary: PredictSummary) -> str:
    """Return the last line: what was heard, and what was not."""
    parts = [
        f"{summary.n_recordings:,} recording{'s' * (summary.n_recordings != 1)}",
        f"{summary.n_windows:,} window{'s' * (summary.n_windows != 1)}",
        f"{summary.audio_seconds:,.1f} s of sound",
        f"{len(summary.failures)} failure{'s' * (len(summary.failures) != 1)}",
    ]
    if summary.n_filled:
        parts.append(f"{summary.n_filled} rows filled with the mean of all others")
    return " · ".join(parts)
