"""The command `sed prepare`. Heavy modules are imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, INTERRUPTED
from sed.text import pluralize
from train.cli.options import INPUT, OUTPUT, PERFORMANCE, Quiet, TableFormat, Verbose

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from train.prepare.prepare import PrepareCallbacks, PrepareSummary


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="A table of clips, a folder that holds one, or a folder per class.",
            metavar="SOURCE",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="The same as --output.", metavar="[OUT]", show_default=False),
    ] = None,
    table_format: TableFormat = "auto",
    trim_db: Annotated[
        float | None,
        typer.Option(
            help="Trim both ends of each clip as far as they are this many dB below its loudest "
            "20 ms; 40 is usual.",
            metavar="DB",
            show_default="no trimming",
            rich_help_panel=INPUT,
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            help="Keep no more than this of each clip, after trimming.",
            metavar="S",
            show_default="all",
            rich_help_panel=INPUT,
        ),
    ] = None,
    segment_seconds: Annotated[
        float | None,
        typer.Option(
            help="Cut clips into segments of this length; a rest of less than half is left out.",
            metavar="S",
            show_default="whole clips",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares of clips for training, validation and test, as 0.7,0.15,0.15; all clips "
            "of a source are on one side.",
            metavar="A,B,C",
            show_default="no split",
            rich_help_panel=INPUT,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.", rich_help_panel=INPUT)] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A new folder, or one that sed prepare was stopped in.",
            metavar="DIR",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(help="Samples per second to store.", rich_help_panel=OUTPUT)
    ] = 32_000,
    bits: Annotated[
        int,
        typer.Option(
            help="Per sample: 32 stores floats, 16 integers at half the size.",
            metavar="16|32",
            rich_help_panel=OUTPUT,
        ),
    ] = 32,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset",
            help="Remove everything that sed prepare made in a folder, and stop.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Threads that decode.",
            show_default="one per processor",
            rich_help_panel=PERFORMANCE,
        ),
    ] = None,
) -> None:
    """Decode recordings once, so that training loads them without decoding.

    The output folder gets mono WAV files in audio/, the table index.csv to train from, and
    prepared.json. The same command continues after an interruption. The path of the table is
    printed to standard output; the exit status is 1 if some recording could not be read.
    """
    from sed.cli import show_log
    from sed.errors import UsageError
    from train.prepare.manifest import reset as remove
    from train.prepare.prepare import prepare as run

    show_log(quiet=quiet, verbose=verbose)
    if folder is not None and output is not None:
        raise UsageError("the folder is given twice: as OUT and as --output. Leave one out")
    output = folder if output is None else output
    if reset:
        _print_reset(*remove(output or source), quiet=quiet)
        return
    if output is None:
        raise UsageError("name the folder to prepare into: sed prepare SOURCE OUT")
    callbacks, bars = _callbacks(shown=not quiet)
    try:
        summary = run(
            source,
            output,
            sample_rate=sample_rate,
            trim_db=trim_db,
            max_seconds=max_seconds,
            segment_seconds=segment_seconds,
            bits=bits,
            split=_shares(split),
            seed=seed,
            workers=workers,
            table_format=table_format,
            callbacks=callbacks,
        )
    except KeyboardInterrupt:
        bars.stop()  # before the message, which it would overwrite
        n_done = sum(int(task.completed) for task in bars.tasks)
        print(
            f"sed: stopped after {pluralize(n_done, 'recording')}; the same command continues "
            "from there",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        bars.stop()
    if not quiet:
        print(_summary_lines(summary), file=sys.stderr)
    print(summary.index)
    if summary.failures:
        raise typer.Exit(FAILED)


def _shares(text: str | None) -> tuple[float, ...] | None:
    from sed.errors import UsageError

    try:
        return None if text is None else tuple(float(share) for share in text.split(","))
    except ValueError:
        raise UsageError(f"expected shares as --split 0.7,0.15,0.15, got {text!r}") from None


def _callbacks(*, shown: bool) -> tuple[PrepareCallbacks, Bars]:
    """Return callbacks that advance a bar and print errors at once, and the bar."""
    from rich.console import Console

    from sed.errors import SedError
    from train.cli.bars import progress_bars
    from train.prepare.prepare import PrepareCallbacks

    console = Console(stderr=True, highlight=False)
    bars = progress_bars(console, shown=shown, field="stored")
    task = bars.add_task("decoding", total=None, stored="")
    stored_seconds = 0.0

    def on_start(n_recordings: int, n_reused: int) -> None:
        bars.update(task, total=n_recordings)
        if n_reused and shown:
            console.print(f"{pluralize(n_reused, 'recording')} already stored", soft_wrap=True)
        bars.start()

    def on_recording(seconds: float) -> None:
        nonlocal stored_seconds
        stored_seconds += seconds
        bars.update(task, advance=1, stored=_duration(stored_seconds))

    def on_error(error: SedError) -> None:
        bars.advance(task)
        console.print(f"sed: {error}", markup=False, soft_wrap=True)

    return PrepareCallbacks(on_start, on_recording, on_error), bars


def _summary_lines(summary: PrepareSummary) -> str:
    """Return the last lines: contents of the folder, losses, and the balance of the split."""
    parts = [
        pluralize(summary.n_recordings, "recording"),
        pluralize(summary.n_clips, "clip"),
        f"{_duration(summary.audio_seconds)} of sound",
        f"{summary.n_bytes / 1e6:,.1f} MB",
        pluralize(len(summary.failures), "failure"),
    ]
    lines = [" · ".join(parts)]
    if summary.n_silent:
        lines.append(f"{pluralize(summary.n_silent, 'clip')} of digital silence left out")
    if summary.n_clipped:
        lines.append(
            f"{pluralize(summary.n_clipped, 'sample')} of "
            f"{pluralize(summary.n_clipped_recordings, 'recording')} clipped at full scale; "
            "--bits 32 keeps them"
        )
    return "\n".join([*lines, summary.balance] if summary.balance else lines)


def _print_reset(n_removed: int, others: list[str], *, quiet: bool) -> None:
    from sed.text import some

    if not quiet:
        print(f"{pluralize(n_removed, 'file')} removed", file=sys.stderr)
    if others:
        print(f"kept, since sed prepare did not make it: {some(others)}", file=sys.stderr)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.1f} s"
