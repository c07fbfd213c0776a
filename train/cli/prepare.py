"""The command `sed prepare`. Heavy modules are imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, INTERRUPTED
from sed.text import pluralize, printable
from train.cli.options import DOWNLOADS, INPUT, OUTPUT, PERFORMANCE, Quiet, TableFormat, Verbose

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from train.prepare.links import LinkCallbacks
    from train.prepare.prepare import PrepareCallbacks, PrepareSummary

MAX_NOTICES = 20  # recordings that are printed


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="A table of clips, a folder that holds one, a folder per class, or a table of "
            "links: columns url, label, and optionally start, end (seconds or h:mm:ss), group, "
            "fold, licence.",
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
    requests_per_second: Annotated[
        float,
        typer.Option(
            help="Requests per second to each host, of a table of links.",
            metavar="N",
            rich_help_panel=DOWNLOADS,
        ),
    ] = 1.0,
    connections: Annotated[
        int, typer.Option(help="Downloads at once.", metavar="N", rich_help_panel=DOWNLOADS)
    ] = 4,
    max_download_gb: Annotated[
        float,
        typer.Option(
            help="Refuse a file that is larger than this.",
            metavar="GB",
            rich_help_panel=DOWNLOADS,
        ),
    ] = 4.0,
) -> None:
    """Decode recordings once, so that training loads them without decoding.

    The output folder gets mono WAV files in audio/, the table index.csv to train from, and
    prepared.json. The same command continues after an interruption. The path of the table is
    printed to standard output; the exit status is 1 if some recording could not be read.

    Recordings of a table of links are first downloaded into downloads/; failures.csv lists those
    that could not be. Addresses of files need the extra remote; pages of videos are left to
    yt-dlp, the extra web-audio, which is in the public domain: the terms of each site and the
    licence of each work apply to the sound.
    """
    from sed.cli import show_log
    from sed.errors import UsageError
    from train.prepare.download import DownloadConfig
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
            download=DownloadConfig(requests_per_second, connections, max_download_gb),
            callbacks=callbacks,
        )
    except KeyboardInterrupt:
        bars.stop()  # before the message, which it would overwrite
        n_done, *downloads = [int(task.completed) for task in bars.tasks]
        done = [pluralize(n, "download") for n in downloads] + [pluralize(n_done, "recording")]
        print(
            f"sed: stopped after {' and '.join(done)}; the same command continues from there",
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
    links = _link_callbacks(bars, console, shown=shown)
    task = bars.add_task("decoding", total=None, stored="", visible=False)
    stored_seconds = 0.0

    def on_start(n_recordings: int, n_reused: int) -> None:
        bars.update(task, total=n_recordings, visible=True)
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

    return PrepareCallbacks(on_start, on_recording, on_error, links), bars


def _link_callbacks(bars: Bars, console: Console, *, shown: bool) -> LinkCallbacks:
    """Return callbacks that add a bar for downloads, advance it, and print errors at once."""
    from sed.errors import SedError
    from train.prepare.links import LinkCallbacks

    tasks: list[TaskID] = []
    stored_bytes = 0

    def on_start(n_urls: int, n_done: int) -> None:
        tasks.append(bars.add_task("downloading", total=n_urls, stored=""))
        if n_done and shown:
            console.print(f"{pluralize(n_done, 'recording')} already downloaded", soft_wrap=True)
        bars.start()

    def on_download(n_bytes: int) -> None:
        nonlocal stored_bytes
        stored_bytes += n_bytes
        bars.update(tasks[0], advance=1, stored=f"{stored_bytes / 1e6:,.1f} MB")

    def on_error(error: SedError) -> None:
        console.print(f"sed: {error}", markup=False, soft_wrap=True)

    return LinkCallbacks(on_start, on_download, on_error)


def _summary_lines(summary: PrepareSummary) -> str:
    """Return the last lines: what is odd, contents of the folder, losses, balance of the split."""
    lines = ["look at these:"] if summary.notices else []
    lines += [f"  {printable(path)}: {text}" for path, text in summary.notices[:MAX_NOTICES]]
    if n_more := len(summary.notices[MAX_NOTICES:]):
        lines.append(f"  and {pluralize(n_more, 'more recording')}")
    parts = [
        pluralize(summary.n_recordings, "recording"),
        pluralize(summary.n_clips, "clip"),
        f"{_duration(summary.audio_seconds)} of sound",
        f"{summary.n_bytes / 1e6:,.1f} MB",
        *([f"{len(summary.notices)} to look at"] if summary.notices else []),
        pluralize(len(summary.failures), "failure"),
    ]
    lines.append(" · ".join(parts))
    if summary.n_unlicensed:
        lines.append(
            f"{pluralize(summary.n_unlicensed, 'clip')} from links without a known licence: "
            "the column licence is empty there"
        )
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
