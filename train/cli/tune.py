"""The command `sed tune`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.text import printable, some
from train.cli.options import INPUT, MODEL, OUTPUT, Device, Quiet, TableFormat, Verbose

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table

    from train.tune.frame_probs import OnProgress
    from train.tune.report import TuneResult
    from train.tune.tune import OnClass

TARGET = "Target"
_MAX_CLASSES_SHOWN = 60


def tune(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The name of a model (sed models), a checkpoint or an exported graph.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labels of your recordings, with times or of whole clips: a table as for sed "
            "train, or a folder of recordings with annotations.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    from_db: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DATABASE",
            help="Instead of a model and recordings: reviewed events of sed listen --db. The "
            "thresholds are the lowest with a precision of --min-precision, 0.9 if not given.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    reviews: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DATABASE",
            help="With --from: what sed review has stored about these events, beside the verdicts "
            "of the page. May be given several times.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file of thresholds (TOML), for sed detect --thresholds.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Write a copy of the model with what was chosen.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    maximise: Annotated[
        str | None,
        typer.Option(
            help="What is to be as high as possible.",
            metavar="event_f1|segment_f1|psds1",
            show_default="event_f1",
            rich_help_panel=TARGET,
        ),
    ] = None,
    max_false_per_hour: Annotated[
        float | None,
        typer.Option(
            help="Instead, find as much as possible with no more false events of a class per hour.",
            metavar="N",
            show_default=False,
            rich_help_panel=TARGET,
        ),
    ] = None,
    min_precision: Annotated[
        float | None,
        typer.Option(
            help="Instead, find as much as possible with such a share of right events, or a "
            "higher one.",
            metavar="SHARE",
            show_default=False,
            rich_help_panel=TARGET,
        ),
    ] = None,
    collar: Annotated[
        float,
        typer.Option(help="Onset collar of event_f1 in seconds.", rich_help_panel=TARGET),
    ] = 0.2,
    offset_collar: Annotated[
        float,
        typer.Option(help="Offset collar of event_f1 in seconds.", rich_help_panel=TARGET),
    ] = 0.2,
    offset_share: Annotated[
        float,
        typer.Option(
            help="Or this share of the labelled event, whichever is larger.", rich_help_panel=TARGET
        ),
    ] = 0.2,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Also make the scores probabilities: how often the class is there.",
            metavar="platt|isotonic",
            show_default=False,
            rich_help_panel=TARGET,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Reliability diagram of the calibration (PNG).",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Frame probabilities of sed detect --format npz, which are computed otherwise.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep computed frame probabilities here, so that the next time is quick.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    table_format: TableFormat = "auto",
    folds: Annotated[
        int,
        typer.Option(
            min=2, help="Parts that are held out, one after the other.", rich_help_panel=MODEL
        ),
    ] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.", rich_help_panel=MODEL)] = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
    device: Device = "auto",
) -> None:
    """Choose thresholds and durations of each class for recordings like yours.

    A class without a gain on recordings that were held out keeps the settings of the model. Use
    the file with sed detect and sed listen: --thresholds tuned.toml.
    """
    from sed.cli import show_log
    from sed.errors import FAILED, UsageError
    from sed.events.scoring.collar import CollarConfig
    from train.tune.choose import METRICS, TargetConfig

    show_log(quiet=quiet, verbose=verbose)
    if from_db is not None:
        others = (model, data, update, maximise, max_false_per_hour, calibrate, plot, scores, cache)
        if any(each is not None for each in others) or output is None:
            raise UsageError("--from takes --reviews, --min-precision and --output, and no others")
        from train.cli.reviewed import tune_from_reviews

        tune_from_reviews(from_db, reviews or [], min_precision, output, quiet=quiet)
        return
    if model is None or data is None or reviews:
        raise UsageError("give a MODEL and --data, or --from events.sqlite")
    if output is None and update is None:
        raise UsageError("nothing would be written: give --output tuned.toml")
    if maximise and (max_false_per_hour is not None or min_precision is not None):
        raise UsageError("give one target: --maximise, or a limit within which recall is sought")
    maximise = maximise or METRICS[0]
    # Misuse is refused before the imports that take seconds.
    TargetConfig(maximise, max_false_per_hour, min_precision)
    from train.tune.tune import tune as run

    with _progress(shown=not quiet) as (on_progress, on_class):
        result = run(
            model,
            data,
            output,
            update=update,
            maximise=maximise,
            max_false_per_hour=max_false_per_hour,
            min_precision=min_precision,
            collar=CollarConfig(collar, offset_collar, offset_share),
            calibration=calibrate,
            plot=plot,
            scores=scores,
            cache=cache,
            table_format=table_format,
            n_folds=folds,
            seed=seed,
            device=device,
            on_progress=on_progress,
            on_class=on_class,
            on_error=lambda error: print(f"sed: {error}", file=sys.stderr),
        )
    if not quiet:
        _show(result, output, update)
    if result.failures:
        raise typer.Exit(FAILED)


@contextmanager
def _progress(*, shown: bool) -> Iterator[tuple[OnProgress, OnClass]]:
    """Draw bars for recordings and for classes; yield what advances each."""
    from rich.console import Console

    from sed.errors import INTERRUPTED
    from train.cli.bars import progress_bars

    bars = progress_bars(Console(stderr=True), shown=shown)
    tasks: dict[str, TaskID] = {}

    def advance(noun: str, n_done: int, n_all: int) -> None:
        if noun not in tasks:
            tasks[noun] = bars.add_task(noun, total=n_all)
        bars.update(tasks[noun], completed=n_done, total=n_all)

    try:
        with bars:
            yield (
                lambda n_done, n_all: advance("MB", n_done // 1_000_000, n_all // 1_000_000),
                lambda n_done, n_all: advance("classes", n_done, n_all),
            )
    except KeyboardInterrupt:
        print("sed: stopped; nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _show(result: TuneResult, output: Path | None, update: Path | None) -> None:
    """Print what was chosen and what it gains, to standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if result.left_out:
        console.print(
            f"no class of the model, left out: {some([printable(x) for x in result.left_out])}",
            markup=False,
            soft_wrap=True,
        )
    console.print(_class_table(result))
    for line in result.comments("")[1:]:
        console.print(line, markup=False, soft_wrap=True)
    for name, rates in result.rates.items():
        console.print(
            f"{name} on held-out parts: precision {rates['precision']:.3f}, recall "
            f"{rates['recall']:.3f}, {rates['false_per_hour']:.1f} false per hour of all classes",
            markup=False,
            soft_wrap=True,
        )
    if not len(result.post_processing.classes):
        console.print("no class gains: the settings of the model are the best that were found")
    for path, use in ((output, "--thresholds"), (update, "--model")):
        if path is not None:
            name = printable(str(path))
            console.print(
                f"written: {name}. Use it: sed detect RECORDINGS {use} {name}",
                markup=False,
                soft_wrap=True,
            )


def _class_table(result: TuneResult) -> Table:
    """Return a row per class: events, what is gained on held-out parts, and what was chosen."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=22)
    for name in ("n", "model", "tuned", "onset", "offset", "median", "min s", "gap s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings", no_wrap=True)
    shown = sorted(result.classes, key=lambda one: one.model - one.tuned)[:_MAX_CLASSES_SHOWN]
    for one in shown:
        setting = one.setting
        source = one.source + ", changes" * (setting.decoder != "hysteresis")
        table.add_row(
            Text(printable(one.label)),
            f"{one.n_true:,}",
            *("over" if figure < 0 else f"{figure:.3f}" for figure in (one.model, one.tuned)),
            f"{setting.onset_threshold:.3f}",
            f"{setting.offset_threshold:.3f}",
            str(setting.median_filter_frames),
            f"{setting.min_duration_seconds:g}",
            f"{setting.min_gap_seconds:g}",
            source,
        )
    if (n_more := len(result.classes) - len(shown)) > 0:
        table.add_row(Text(f"and {n_more:,} more"))
    return table
