"""The command `sed detect`. What is heavy is imported when they are called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, INTERRUPTED
from streaming.cli.options import (
    Channel,
    Classes,
    Device,
    Engine,
    Hop,
    MinDuration,
    MinGap,
    Mode,
    Model,
    OffsetThreshold,
    OnsetThreshold,
    Precision,
    RawChannels,
    RawEncoding,
    RawRate,
    Threshold,
    TimeZone,
    TopK,
    split_names,
)

if TYPE_CHECKING:
    from sed.audio.decode import Decoder
    from streaming.offline.job import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.offline.scan import Progress, Summary

BACKENDS = ("local", "ray")


def detect(
    recordings: Annotated[
        list[str],  # a Path would make s3:/ of s3://
        typer.Argument(
            metavar="FILES... DIR...",
            help="Recordings, and folders to search for them, here or elsewhere (s3://, https://, "
            "…). - is standard input.",
            show_default=False,
        ),
    ],
    model: Model = None,
    hop_seconds: Hop = None,
    mode: Mode = "auto",
    threshold: Threshold = None,
    onset_threshold: OnsetThreshold = None,
    offset_threshold: OffsetThreshold = None,
    min_duration_seconds: MinDuration = None,
    min_gap_seconds: MinGap = None,
    lookahead_seconds: Annotated[
        float | None,
        typer.Option(
            "--lookahead",
            help="Decide on a moment when a window has heard so many seconds beyond it; what later "
            "windows say of it is left out.",
            show_default="all windows over it count",
        ),
    ] = None,
    classes: Classes = "",
    top_k: TopK = None,
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
    backend: Annotated[
        str,
        typer.Option(
            help="local: this machine. ray: the Ray cluster of RAY_ADDRESS, or the one that this "
            "machine is in, or this machine; --workers then says how many recordings at once."
        ),
    ] = "local",
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Windows that go through the model together.",
            show_default="16, from standard input 1, on a GPU what is measured to be fastest",
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
    if some recording could not be analysed whole, 2 if the command was misused.
    """
    from sed.audio.start_time import time_zone as zone_of
    from sed.errors import UsageError
    from sed.text import near
    from streaming.cli.progress import bar, reporter, told
    from streaming.offline.detect import batch_size_for
    from streaming.offline.job import JobConfig
    from streaming.offline.outputs import OutputConfig, refuse_to_replace
    from streaming.pipeline.config import DetectorConfig

    sources = recordings
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode=mode,  # type: ignore[arg-type]  # which checks it
        threshold=threshold,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=split_names(classes),
        top_k=top_k,
        batch_size=batch_size_for(sources) if batch_size is None else batch_size,
    )
    formats = split_names(format or "")
    zone = None if time_zone is None else zone_of(time_zone)
    results = OutputConfig(
        tuple(dict.fromkeys(formats)), output, plot=plot, skip_existing=skip_existing, zone=zone
    )
    refuse_to_replace(output, sources)
    if channel is not None and channel < 1:
        raise UsageError(f"channels are counted from 1, got {channel}")
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}. {near(backend, BACKENDS)}")
    on_cluster = backend == "ray"
    if on_cluster and resume:
        raise UsageError("--resume is for one machine: on a cluster, --skip-existing goes on")
    stdin = None
    if raw_rate is not None:
        from sed.audio.decode import open_raw_stdin

        if "-" not in sources:
            raise UsageError("--raw-rate is about standard input: give - as the recording")
        stdin = open_raw_stdin(raw_rate, raw_encoding, raw_channels)

    def tell(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    settings = JobConfig(
        results, None if model is None else str(model), config, engine, device, precision, channel
    )
    with bar(shown=not quiet and sys.stderr.isatty()) as bars:
        progress = reporter(bars)
        if on_cluster:
            summary = _hear_on_ray(settings, sources, workers, progress, tell)
        elif workers is not None or resume:
            summary = _hear_archive(settings, sources, workers, resume, timeout, progress, tell)
        else:
            summary = _hear(settings, sources, stdin, progress, tell)
    tell(told(summary))
    if summary.interrupted:
        has_journal = not on_cluster and (workers is not None or resume)
        print(
            f"sed: stopped in {summary.interrupted}; what was finished before it is kept"
            + _how_to_go_on(results, has_journal=has_journal),
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED)
    if summary.n_failures:
        raise typer.Exit(FAILED)


def _how_to_go_on(results: OutputConfig, *, has_journal: bool) -> str:
    if has_journal:
        where = " in a journal, and written when all is done" * (results.shared_file is not None)
        return f"{where}. The same command with --resume goes on"
    if results.folder is not None and results.shared_file is None:
        return ". The same command with --skip-existing goes on"
    return ""


def _hear(
    settings: JobConfig,
    sources: list[str],
    stdin: Decoder | None,
    progress: Progress,
    tell: Callable[[str], None],
) -> Summary:
    """Hear recordings in this process."""
    from sed.models.devices import n_cores
    from streaming.engines.select import open_engine
    from streaming.offline.scan import Scan

    engine = open_engine(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
    )
    scan = Scan(
        engine,
        settings.config,
        settings.results,
        channel=settings.channel,
        n_at_once=1 if "-" in sources else n_cores(),
        n_readers=max(1, n_cores() // 2),  # the network needs cores too
        progress=progress,
    )
    name = settings.model or "the default model"
    tell(f"{engine}, {scan.detector.mode}; {name}, {len(engine.spec.labels)} classes")
    return scan.run(sources, stdin=stdin)


def _hear_archive(
    settings: JobConfig,
    sources: list[str],
    n_workers: int | None,
    resume: bool,
    timeout: float,
    progress: Progress,
    tell: Callable[[str], None],
) -> Summary:
    """Hear recordings in processes of their own, with a journal."""
    from sed.models.devices import n_cores
    from streaming.offline.archive import ArchiveScan

    archive = ArchiveScan(
        settings,
        n_workers=n_cores() if n_workers is None else n_workers,
        resume=resume,
        timeout_seconds=timeout,
        progress=progress,
        on_engine=tell,
    )
    summary = archive.run(sources)
    if summary.n_left:
        are = "recording is" if summary.n_left == 1 else "recordings are"
        tell(f"{summary.n_left:,} {are} left of an earlier run: name all its folders to go on")
    if summary.report:
        print(f"sed: what failed is in {summary.report}", file=sys.stderr)
    return summary


def _hear_on_ray(
    settings: JobConfig,
    sources: list[str],
    n_workers: int | None,
    progress: Progress,
    tell: Callable[[str], None],
) -> Summary:
    """Hear recordings on a cluster."""
    from streaming.offline.cluster import RayScan

    return RayScan(settings, n_actors=n_workers, progress=progress, on_engine=tell).run(sources)
