"""The command `sed detect`. Modules that are slow to import are imported when it runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, INTERRUPTED
from streaming.cli.options import (
    DETECTION,
    OUTPUT,
    PERFORMANCE,
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
    Quiet,
    RawChannels,
    RawEncoding,
    RawRate,
    Threshold,
    TimeZone,
    TopK,
    Verbose,
    split_names,
)

if TYPE_CHECKING:
    from sed.audio.decode import Decoder
    from streaming.offline.executor import Executor
    from streaming.offline.outputs import OutputConfig

BACKENDS = ("local", "ray")


def detect(
    recordings: Annotated[
        list[str],  # a Path would turn s3:// into s3:/
        typer.Argument(
            metavar="RECORDINGS...",
            help="Recordings, and folders to search for them, on this machine or elsewhere "
            "(s3://, https://, …). - is standard input.",
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
            help="Decide on each moment as soon as a window reaches this many seconds beyond it, "
            "and ignore later windows. For sliding windows.",
            show_default="all windows over a moment count",
            rich_help_panel=DETECTION,
        ),
    ] = None,
    classes: Classes = "",
    top_k: TopK = None,
    channel: Channel = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="csv|jsonl|audacity|raven|tsv|parquet|npz",
            help="Format of the results. parquet is one table of all recordings; npz holds the "
            "probabilities of all frames (steps of the model's output) and windows. With a folder "
            "as --output several, as csv,raven.",
            show_default="by the ending of --output, else csv",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    output: Annotated[
        str | None,  # a Path would drop the slash that marks a folder
        typer.Option(
            "--output",
            "-o",
            help="A file for all results, or a folder for one file per recording (a name without "
            "an ending is a folder).",
            show_default="standard output",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    plot: Annotated[
        bool,
        typer.Option(
            "--plot",
            help="Also draw each recording and its events: a PNG in the output folder, or in the "
            "current one.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Skip recordings whose results exist.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    time_zone: TimeZone = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Process N recordings at once, each in a process of its own, and keep a journal "
            "beside the output. A recording that crashes or blocks its process costs only itself.",
            show_default="threads of one process, no journal",
            rich_help_panel=PERFORMANCE,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an earlier run with --workers after Ctrl-C, a crash or a power failure.",
            rich_help_panel=PERFORMANCE,
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            help="With --workers: seconds without progress after which a recording is given up.",
            rich_help_panel=PERFORMANCE,
        ),
    ] = 60.0,
    backend: Annotated[
        str,
        typer.Option(
            metavar="local|ray",
            help="Where recordings are processed. local is this machine. ray is the Ray cluster of "
            "RAY_ADDRESS, or the one that this machine has joined; --workers is then the number of "
            "recordings at once.",
            rich_help_panel=PERFORMANCE,
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
            rich_help_panel=PERFORMANCE,
        ),
    ] = None,
    raw_rate: RawRate = None,
    raw_encoding: RawEncoding = "s16",
    raw_channels: RawChannels = 1,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find sound events in recordings of any length.

    Results go to standard output or into files, all else to standard error. The exit status is 1
    if a recording could not be analysed whole, 2 if the command was misused.
    """
    from sed.audio.start_time import time_zone as parse_time_zone
    from sed.cli import show_log
    from sed.errors import UsageError
    from sed.files import refuse_to_replace
    from sed.text import near, pluralize
    from streaming.cli.progress import progress_bar, progress_callbacks, summary_line
    from streaming.offline.detect import batch_size_for
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.offline.scan import Scan
    from streaming.pipeline.config import DetectorConfig

    show_log(quiet=quiet, verbose=verbose)
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
        batch_size=batch_size_for(recordings) if batch_size is None else batch_size,
    )
    refuse_to_replace(output, recordings)
    formats = tuple(dict.fromkeys(split_names(format or "")))
    zone = None if time_zone is None else parse_time_zone(time_zone)
    outputs = OutputConfig(formats, output, plot=plot, skip_existing=skip_existing, zone=zone)
    if channel is not None and channel < 1:
        raise UsageError(f"channels are counted from 1, got {channel}")
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}. {near(backend, BACKENDS)}")
    if backend == "ray" and resume:
        raise UsageError("--resume is for one machine: on a cluster, use --skip-existing")
    stdin = None
    if raw_rate is not None:
        from sed.audio.decode import open_raw_stdin

        if "-" not in recordings:
            raise UsageError("--raw-rate is about standard input: give - as the recording")
        stdin = open_raw_stdin(raw_rate, raw_encoding, raw_channels)

    has_journal = backend == "local" and (workers is not None or resume)
    job = JobConfig(outputs, model, config, engine, device, precision, channel)
    with progress_bar(shown=not quiet and sys.stderr.isatty()) as bar:
        scan = Scan(
            job,
            _executor(backend, has_journal, workers, timeout, recordings, stdin),
            journal=has_journal,
            resume=resume,
            callbacks=progress_callbacks(bar),
        )
        summary = scan.run(recordings)
    if summary.n_not_requested and not quiet:
        n_left = pluralize(summary.n_not_requested, "recording")
        print(
            f"{n_left} of an earlier run not processed: name all its folders to process them too",
            file=sys.stderr,
        )
    if summary.report:
        print(f"sed: the failures are listed in {summary.report}", file=sys.stderr)
    if not quiet:
        print(summary_line(summary), file=sys.stderr)
    if summary.interrupted:
        hint = _resume_hint(outputs, has_journal=has_journal)
        print(
            f"sed: stopped in {summary.interrupted}; what was finished before is kept{hint}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED)
    if summary.n_failures:
        raise typer.Exit(FAILED)


def _executor(
    backend: str,
    has_journal: bool,
    n_workers: int | None,
    timeout_seconds: float,
    recordings: list[str],
    stdin: Decoder | None,
) -> Executor:
    """Return what processes the recordings."""
    from sed.models.devices import n_cores

    if backend == "ray":
        from streaming.offline.cluster import RayExecutor

        return RayExecutor(n_workers)
    if has_journal:
        from streaming.offline.workers import ProcessExecutor

        n_workers = n_cores() if n_workers is None else n_workers
        return ProcessExecutor(n_workers, timeout_seconds=timeout_seconds)
    from streaming.offline.executor import ThreadExecutor

    return ThreadExecutor(
        n_at_once=1 if "-" in recordings else n_cores(),
        n_readers=max(1, n_cores() // 2),  # the network needs cores too
        stdin=stdin,
    )


def _resume_hint(outputs: OutputConfig, *, has_journal: bool) -> str:
    """Return how to continue an interrupted run."""
    if has_journal:
        is_shared = outputs.shared_file is not None
        where = " in a journal, and written when all is done" if is_shared else ""
        return f"{where}. The same command with --resume continues"
    if outputs.folder is not None and outputs.shared_file is None:
        return ". The same command with --skip-existing continues"
    return ""
