"""The command `sed prepare`. What is heavy is imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, INTERRUPTED
from sed.text import pluralize

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from train.prepare.prepare import PreparedSummary
    from train.prepare.prepare import Progress as PrepareProgress


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="A table of clips, a folder that holds one, or a folder per class.",
            metavar="SOURCE",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="A new folder, or one to go on with.", metavar="OUT", show_default=False
        ),
    ] = None,
    rate: Annotated[int, typer.Option(help="Samples per second to store.")] = 32_000,
    trim: Annotated[
        float | None,
        typer.Option(
            help="Batch off both ends of each clip where they are so many dB below its loudest "
            "20 ms; 40 is usual.",
            metavar="DB",
            show_default="nothing",
        ),
    ] = None,
    first: Annotated[
        float | None,
        typer.Option(
            help="Keep no more than the first seconds of each clip.",
            metavar="S",
            show_default="all",
        ),
    ] = None,
    cut: Annotated[
        float | None,
        typer.Option(
            help="Batch clips into pieces of so many seconds; a rest of less than half is left out.",
            metavar="S",
            show_default="whole clips",
        ),
    ] = None,
    bits: Annotated[
        int, typer.Option(help="Per sample: 32 stores floats, 16 integers at half the size.")
    ] = 32,
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares of clips to learn from, to judge by and to test with, as 0.7,0.15,0.15; "
            "clips of one source stay together.",
            metavar="A,B,C",
            show_default="no split",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode.", show_default="one per processor")
    ] = None,
    format: Annotated[
        str, typer.Option(help="Kind of table, if its columns leave doubt.")
    ] = "auto",
    reset: Annotated[
        bool,
        typer.Option("--reset", help="Remove from OUT all that was prepared there, and stop."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but what went wrong.")
    ] = False,
) -> None:
    """Decode recordings once, so that training loads them without decoding.

    OUT gets mono WAV files in audio/, the table index.csv to train from, and prepared.json. The
    same command goes on where it was stopped. The path of the table goes to standard output; the
    exit status is 1 if some recording could not be read.
    """
    from sed.errors import UsageError
    from train.prepare.manifest import reset as remove
    from train.prepare.prepare import prepare as run

    if reset:
        _tell_reset(*remove(out or source), quiet=quiet)
        return
    if out is None:
        raise UsageError("name the folder to prepare into: sed prepare SOURCE OUT")
    reporter, bars = _prepare_reporter(shown=not quiet)
    try:
        summary = run(
            source,
            out,
            sample_rate=rate,
            trim_db=trim,
            first_seconds=first,
            cut_seconds=cut,
            bits=bits,
            shares=_shares(split),
            seed=seed,
            n_workers=workers,
            format=format,
            progress=reporter,
        )
    except KeyboardInterrupt:
        bars.stop()  # it would wipe away what follows
        n_done = sum(int(task.completed) for task in bars.tasks)
        print(
            f"sed: stopped after {pluralize(n_done, 'recording')}; the same command goes on from "
            "there",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        bars.stop()
    if not quiet:
        print(_prepared(summary), file=sys.stderr)
    print(summary.index)
    if summary.failures:
        raise typer.Exit(FAILED)


def _shares(text: str | None) -> tuple[float, ...] | None:
    from sed.errors import UsageError

    try:
        return None if text is None else tuple(float(share) for share in text.split(","))
    except ValueError:
        raise UsageError(f"expected shares as --split 0.7,0.15,0.15, got {text!r}") from None


def _prepare_reporter(*, shown: bool) -> tuple[PrepareProgress, Bars]:
    """Return what moves the bar, and says at once what is wrong with a recording; and the bar."""
    from rich.console import Console

    from sed.errors import SedError
    from train.cli.bars import progress_bars
    from train.prepare.prepare import Progress as PrepareProgress

    console = Console(stderr=True, highlight=False)
    bars = progress_bars(console, shown=shown, field="stored")
    task = bars.add_task("decoding", total=None, stored="")
    stored_seconds = 0.0

    def on_start(n_recordings: int, n_there: int) -> None:
        bars.update(task, total=n_recordings)
        if n_there and shown:
            console.print(f"{pluralize(n_there, 'recording')} there already", soft_wrap=True)
        bars.start()

    def on_recording(seconds: float) -> None:
        nonlocal stored_seconds
        stored_seconds += seconds
        bars.update(task, advance=1, stored=_length(stored_seconds))

    def on_trouble(error: SedError) -> None:
        bars.advance(task)
        console.print(f"sed: {error}", markup=False, soft_wrap=True)

    return PrepareProgress(on_start, on_recording, on_trouble), bars


def _prepared(summary: PreparedSummary) -> str:
    """Return the last lines: what is there now, what was lost, and how the split is balanced."""
    parts = [
        pluralize(summary.n_recordings, "recording"),
        pluralize(summary.n_clips, "clip"),
        f"{_length(summary.audio_seconds)} of sound",
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


def _tell_reset(n_removed: int, left: list[str], *, quiet: bool) -> None:
    from sed.text import some

    if not quiet:
        print(f"{pluralize(n_removed, 'file')} removed", file=sys.stderr)
    if left:
        print(f"left there, since sed prepare did not make it: {some(left)}", file=sys.stderr)


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.1f} s"
