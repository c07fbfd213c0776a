"""The commands `sed detect` and `sed info`. What is heavy is imported when they are called."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, INTERRUPTED
from streaming.options import (
    Channel,
    Classes,
    Engine,
    MergeGap,
    MinLength,
    Model,
    Off,
    On,
    Precision,
    RawChannels,
    RawEncoding,
    RawRate,
    Threshold,
    TimeZone,
    Top,
    named,
)

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from sed.audio import Decoder
    from streaming.hearer import HearerSettings
    from streaming.scan import Progress, Summary


def detect(
    recordings: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES... DIR...",
            help="Recordings, and folders to search for them. - is standard input.",
            show_default=False,
            allow_dash=True,
        ),
    ],
    model: Model = None,
    hop: Annotated[
        float | None,
        typer.Option(
            help="Seconds from one window to the next; divides the window.",
            show_default="half the window, 2.5",
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="windowed, or dense: the network runs once over long stretches and the hop costs "
            "nothing. auto is dense where windows overlap by more than half and the network allows "
            "it."
        ),
    ] = "auto",
    threshold: Threshold = None,
    on: On = None,
    off: Off = None,
    min_length: MinLength = None,
    merge_gap: MergeGap = None,
    look_ahead: Annotated[
        float | None,
        typer.Option(
            help="Decide on a moment when a window has heard so many seconds beyond it; what later "
            "windows say of it is left out.",
            show_default="all windows over it count",
        ),
    ] = None,
    classes: Classes = "",
    top: Top = None,
    channel: Channel = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="csv, jsonl, audacity, raven, tsv, npz for the probability of every frame and "
            "window, or parquet for one table of all recordings; several as csv,raven with a "
            "folder as --output.",
            show_default="what the name of --output says, else csv",
        ),
    ] = None,
    output: Annotated[
        str | None,  # a Path would drop the slash that says "folder"
        typer.Option(
            help="A file for all results, or a folder for a file per recording (a name without "
            "an ending is a folder).",
            show_default="standard output",
        ),
    ] = None,
    plot: Annotated[
        bool,
        typer.Option(
            "--plot",
            help="Also draw each recording and its events: a PNG in the output folder, or here.",
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Leave out recordings that have results."),
    ] = False,
    time_zone: TimeZone = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Hear in N processes, and keep a journal beside the output: what crashes or hangs "
            "one costs itself alone.",
            show_default="one process, no journal",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with what an earlier run with --workers left, after Ctrl-C, a crash or a "
            "power cut.",
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            help="With --workers: seconds without progress after which a recording is given up."
        ),
    ] = 60.0,
    engine: Engine = "auto",
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")
    ] = "auto",
    precision: Precision = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Windows that go through the model together.",
            show_default="16, from standard input 1",
        ),
    ] = None,
    raw_rate: RawRate = None,
    raw_encoding: RawEncoding = "s16",
    raw_channels: RawChannels = 1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but what went wrong.")
    ] = False,
) -> None:
    """Find sound events in recordings of any length.

    Results go to standard output or into files, all else to standard error. The exit status is 1
    if some recording could not be heard whole, 2 if the command was misused.
    """
    from sed.errors import UsageError
    from sed.recorders import time_zone as zone_of
    from streaming.detect import batch_size_for
    from streaming.detector import DetectorConfig
    from streaming.hearer import HearerSettings
    from streaming.results import Results, format_of

    sources = [str(path) for path in recordings]
    config = DetectorConfig(
        hop=hop,
        mode=mode,  # type: ignore[arg-type]  # which checks it
        threshold=threshold,
        on=on,
        off=off,
        min_length=min_length,
        merge_gap=merge_gap,
        look_ahead=look_ahead,
        classes=named(classes),
        top=top,
        batch_size=batch_size_for(sources) if batch_size is None else batch_size,
    )
    formats = named(format_of(output) if format is None else format)
    zone = None if time_zone is None else zone_of(time_zone)
    results = Results(
        tuple(dict.fromkeys(formats)), output, plot=plot, skip_existing=skip_existing, zone=zone
    )
    if channel is not None and channel < 1:
        raise UsageError(f"channels are counted from 1, got {channel}")
    stdin = None
    if raw_rate is not None:
        from sed.audio import open_raw_stdin

        if "-" not in sources:
            raise UsageError("--raw-rate is about standard input: give - as the recording")
        stdin = open_raw_stdin(raw_rate, raw_encoding, raw_channels)

    def tell(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    settings = HearerSettings(
        results, None if model is None else str(model), config, engine, device, precision, channel
    )
    with _bar(shown=not quiet and sys.stderr.isatty()) as bars:
        progress = _reporter(bars)
        if workers is not None or resume:
            summary = _hear_archive(settings, sources, workers, resume, timeout, progress, tell)
        else:
            summary = _hear(settings, sources, stdin, progress, tell)
    tell(_told(summary))
    if summary.interrupted:
        again = ". The same command with --resume goes on" * (workers is not None or resume)
        print(
            f"sed: stopped in {summary.interrupted}; what was finished before it is kept{again}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED)
    if summary.n_failures:
        raise typer.Exit(FAILED)


def _hear(
    settings: HearerSettings,
    sources: list[str],
    stdin: Decoder | None,
    progress: Progress,
    tell: Callable[[str], None],
) -> Summary:
    """Hear recordings in this process."""
    from streaming.open_engine import n_cores, open_engine
    from streaming.scan import Scan

    engine = open_engine(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        tell=tell,
    )
    is_one = len(sources) == 1 and not os.path.isdir(sources[0])
    scan = Scan(
        engine,
        settings.config,
        settings.results,
        channel=settings.channel,
        n_at_once=1 if is_one or "-" in sources else n_cores(),
        n_readers=max(1, n_cores() // 2) if is_one else 1,  # the network needs cores too
        progress=progress,
    )
    name = settings.model or "the default model"
    tell(f"{engine}, {scan.detector.mode}; {name}, {len(engine.spec.labels)} classes")
    return scan.run(sources, stdin=stdin)


def _hear_archive(
    settings: HearerSettings,
    sources: list[str],
    n_workers: int | None,
    resume: bool,
    timeout: float,
    progress: Progress,
    tell: Callable[[str], None],
) -> Summary:
    """Hear recordings in processes of their own, with a journal."""
    from streaming.archive import ArchiveScan
    from streaming.open_engine import n_cores

    archive = ArchiveScan(
        settings,
        n_workers=n_cores() if n_workers is None else n_workers,
        resume=resume,
        timeout_seconds=timeout,
        progress=progress,
        on_engine=tell,
    )
    summary = archive.run(sources)
    if summary.report:
        print(f"sed: what failed is in {summary.report}", file=sys.stderr)
    return summary


def export(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Checkpoint (.safetensors) or run directory.",
            show_default="the default model",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(help="onnx, openvino (.xml and .bin) or torch-export (.pt2).")
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(help="File to write.", show_default="the name of the model, here"),
    ] = None,
) -> None:
    """Write a model as one graph, from samples to probabilities, that runs without this package.

    `sed detect --model` takes the first two.
    """
    from sed.checkpoint import load_model
    from streaming.export import export as export_graph

    checkpoint = load_model(model)
    written = export_graph(checkpoint, output or Path(Path(checkpoint.path).stem), to)
    print(
        f"{written}: samples (batch, n) at {checkpoint.timeline.sample_rate:,} Hz → frame_probs "
        f"(batch, frames, {len(checkpoint.labels)}), clip_probs (batch, {len(checkpoint.labels)})"
    )


def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint or a recording.", show_default="this program and its default model"
        ),
    ] = None,
) -> None:
    """Say what a checkpoint or a recording is; without one, what this program is."""
    from streaming.describe import describe, describe_program

    print(describe_program() if path is None else describe(path))


def _bar(*, shown: bool) -> Bars | nullcontext[None]:
    """Return one bar over all recordings, drawn on stderr, or nothing."""
    if not shown:
        return nullcontext()
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _reporter(bars: Bars | None) -> Progress:
    """Return what moves the bar, and what says at once what is wrong with a recording."""
    import time

    from sed.errors import SedError
    from streaming.scan import Progress

    def on_trouble(error: SedError) -> None:
        if bars is not None:
            bars.console.print(f"sed: {error}", markup=False, highlight=False, soft_wrap=True)
        else:
            print(f"sed: {error}", file=sys.stderr)

    if bars is None:
        return Progress(on_trouble=on_trouble)
    task = bars.add_task("loading", total=None, speed="")
    began = time.perf_counter()

    def on_start(n_recordings: int, n_bytes: int) -> None:
        noun = "recording" if n_recordings == 1 else "recordings"
        bars.update(task, description=f"{n_recordings} {noun}", total=n_bytes or None)

    def on_heard(n_bytes: float, seconds: float) -> None:
        speed = seconds / max(1e-3, time.perf_counter() - began)
        bars.update(task, completed=n_bytes, speed=f"{speed:,.0f} × real time")

    return Progress(on_start, on_heard, on_trouble)


def _told(summary: Summary) -> str:
    """Return the last line: what was heard, how fast, and what was not."""
    hours = summary.audio_seconds / 3600
    length = f"{hours:.2f} h" if hours >= 0.1 else f"{summary.audio_seconds:.1f} s"
    parts = [
        _counted(summary.n_files, "file"),
        f"{length} of sound",
        _counted(summary.n_events, "event"),
        f"{summary.wall_seconds:.1f} s",
        f"{summary.times_real_time:,.0f} × real time",
    ]
    if summary.n_skipped:
        parts.append(f"{summary.n_skipped} skipped")
    parts.append(_counted(summary.n_failures, "failure"))
    return " · ".join(parts)


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
