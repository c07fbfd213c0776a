"""The command `sed detect`. Modules that are slow to import are imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streaming.cli.options import (
    DETECTION,
    OUTPUT,
    AllClasses,
    AtLevel,
    Backend,
    BatchSize,
    Channel,
    Classes,
    Device,
    Engine,
    Hop,
    Layer,
    MinDuration,
    MinGap,
    Mode,
    Model,
    OffsetThreshold,
    OnsetThreshold,
    Pool,
    Precision,
    Quiet,
    RawChannels,
    RawEncoding,
    RawRate,
    RecorderZone,
    Resume,
    SkipExisting,
    SpeciesList,
    SpreadsheetSafe,
    Threshold,
    Thresholds,
    Timeout,
    TimeZone,
    TopK,
    Track,
    Unknown,
    Verbose,
    Workers,
)


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
    thresholds: Thresholds = None,
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
    species_list: SpeciesList = None,
    all_classes: AllClasses = False,
    at_level: AtLevel = "class",
    unknown: Unknown = False,
    top_k: TopK = None,
    channel: Channel = None,
    track: Track = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="csv|jsonl|tsv|audacity|raven|kaleidoscope|parquet|npz",
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
    combined: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With a folder as --output: also write one table of all recordings, in the "
            "format of its ending (.csv, .tsv, .jsonl, .parquet).",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            metavar="date,time,site",
            help="More columns: day (2026-05-01) and time of day (04:30:01) of the onset, in the "
            "place of the time that --time-zone writes, and the site, which is the first folder "
            "below the one that is searched.",
            show_default="none",
            rich_help_panel=OUTPUT,
        ),
    ] = "",
    plot: Annotated[
        bool,
        typer.Option(
            "--plot",
            help="Also draw each recording and its events: a PNG in the output folder, or in the "
            "current one, and of long ones a folder of pages of 10 minutes.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    skip_existing: SkipExisting = False,
    time_zone: TimeZone = None,
    recorder_zone: RecorderZone = None,
    spreadsheet_safe: SpreadsheetSafe = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="STORE",
            help="Also keep an embedding of each event, in a store for `sed search`.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    every_seconds: Annotated[
        float | None,
        typer.Option(
            "--every",
            help="With --embeddings: keep one of each part of so many seconds, not of each event.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    layer: Layer = "features",
    pool: Pool = "mean",
    workers: Workers = None,
    resume: Resume = False,
    timeout: Timeout = 60.0,
    backend: Backend = "local",
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = None,
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
    from sed.cli import show_log
    from sed.errors import UsageError
    from sed.files import refuse_to_replace
    from sed.text import split_names
    from streaming.cli.scanning import ScanOptions, parsed_zone, raw_stdin, run_scan
    from streaming.engines.graphs.labels import class_names
    from streaming.offline.detect import batch_size_for
    from streaming.offline.detections.embedding_rows import EmbeddingConfig
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.pipeline.config import DetectorConfig, parse_thresholds

    show_log(quiet=quiet, verbose=verbose)
    common, of_classes = parse_thresholds(threshold)
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode=mode,  # type: ignore[arg-type]  # which checks it
        threshold=common,
        class_thresholds=of_classes,
        thresholds=thresholds,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=class_names(classes, species_list),
        all_classes=all_classes,
        unknown=unknown,
        at_level=at_level,  # type: ignore[arg-type]  # which checks it
        top_k=top_k,
        batch_size=batch_size_for(recordings) if batch_size is None else batch_size,
    )
    for target in (output, combined):
        refuse_to_replace(target, recordings)
    formats = tuple(dict.fromkeys(split_names(format or "")))
    if every_seconds is not None and embeddings is None:
        raise UsageError("--every is about embeddings: give --embeddings STORE too")
    kept = None
    if embeddings is not None:
        of_events = every_seconds is None
        kept = EmbeddingConfig(
            str(embeddings), layer, split_names(pool), every_seconds, of_events=of_events
        )
    outputs = OutputConfig(
        formats,
        output,
        plot=plot,
        skip_existing=skip_existing,
        zone=parsed_zone(time_zone),
        recorder_zone=parsed_zone(recorder_zone),
        embeddings=kept,
        spreadsheet_safe=spreadsheet_safe,
        channel=channel or 1,
        columns=tuple(dict.fromkeys(split_names(columns))),
        combined=combined,
    )
    if channel is not None and channel < 1:
        raise UsageError(f"channels are counted from 1, got {channel}")
    if track is not None and track < 1:
        raise UsageError(f"tracks are counted from 1, got {track}")
    stdin = raw_stdin(recordings, raw_rate, raw_encoding, raw_channels)
    job = JobConfig(outputs, model, config, engine, device, precision, channel, track=track)
    run_scan(job, recordings, ScanOptions(backend, workers, resume, timeout, stdin, quiet))
