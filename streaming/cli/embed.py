"""The command `sed embed`. Modules that are slow to import are imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, UsageError
from sed.text import printable
from streaming.cli.options import (
    INPUT,
    MODEL,
    OUTPUT,
    Backend,
    BatchSize,
    Channel,
    Device,
    Engine,
    Hop,
    Layer,
    Model,
    Pool,
    Precision,
    Quiet,
    RawChannels,
    RawEncoding,
    RawRate,
    RecorderZone,
    Resume,
    SkipExisting,
    Timeout,
    TimeZone,
    Track,
    Verbose,
    Workers,
)

if TYPE_CHECKING:
    from sed.events.tracker import Event

EncoderRate = Annotated[
    int | None,
    typer.Option(
        "--sample-rate",
        help="Samples per second that a graph (.onnx) takes, if it does not say. Recordings of any "
        "rate are resampled to it.",
        show_default="that of the model",
        rich_help_panel=MODEL,
    ),
]
EncoderWindow = Annotated[
    float | None,
    typer.Option(
        "--window",
        help="Seconds that an encoder (hf:, .onnx) takes at once, if it takes any length.",
        show_default="that of the model, else 5",
        rich_help_panel=MODEL,
    ),
]


def embed(
    recordings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECORDINGS]...",
            help="Recordings, and folders to search for them, on this machine or elsewhere. "
            "- is standard input.",
            show_default="those that --events or --clips names",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="STORE",
            help="Folder for the embeddings; one that exists is added to.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    every_seconds: Annotated[
        float | None,
        typer.Option(
            "--every",
            help="Embed consecutive parts of so many seconds.",
            show_default="a window of the model",
            rich_help_panel=INPUT,
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="EVENTS",
            help="Embed these events: a file that `sed detect` wrote, or another table with times.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Embed these clips: a CSV table with a column file and, if it has them, start, "
            "end (seconds) and label.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    channel: Channel = None,
    track: Track = None,
    model: Model = None,
    layer: Layer = "features",
    sample_rate: EncoderRate = None,
    window_seconds: EncoderWindow = None,
    pool: Pool = "mean",
    hop_seconds: Hop = None,
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    skip_existing: SkipExisting = False,
    time_zone: TimeZone = None,
    recorder_zone: RecorderZone = None,
    workers: Workers = None,
    resume: Resume = False,
    timeout: Timeout = 60.0,
    backend: Backend = "local",
    batch_size: BatchSize = None,
    raw_rate: RawRate = None,
    raw_encoding: RawEncoding = "s16",
    raw_channels: RawChannels = 1,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Keep a vector for each window, event or clip of recordings, for search and for fitting.

    The exit status is 1 if a recording could not be analysed whole, 2 if the command was misused.
    """
    from sed.cli import show_log
    from sed.text import split_names
    from streaming.cli.scanning import ScanOptions, parsed_zone, raw_stdin, run_scan
    from streaming.offline.detect import batch_size_for
    from streaming.offline.detections.embedding_rows import EmbeddingConfig
    from streaming.offline.embed import place_clips
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.pipeline.config import DetectorConfig

    show_log(quiet=quiet, verbose=verbose)
    if output is None:
        raise UsageError("embeddings need a place: give --output STORE, a folder")
    if channel is not None and channel < 1:
        raise UsageError(f"channels are counted from 1, got {channel}")
    if track is not None and track < 1:
        raise UsageError(f"tracks are counted from 1, got {track}")
    sources = recordings or []
    placed: dict[str, tuple[Event, ...]] | None = None
    missing: list[str] = []
    if (table := events or clips) is not None:
        if events and clips:
            raise UsageError("embed events or clips: leave out --events or --clips")
        placed, missing = place_clips(_read(table, need_times=bool(events)), table, sources)
        sources = sources or list(placed)
    if not sources and not missing:
        raise UsageError("nothing to embed: give recordings, or a table with --events or --clips")
    for file in missing:
        print(
            f"sed: {printable(str(table))}: {printable(file)} is not found, or not the only one of "
            "that name. Give the folder that holds the recordings of the table.",
            file=sys.stderr,
        )
    embeddings = EmbeddingConfig(str(output), layer, split_names(pool), every_seconds, placed)
    outputs = OutputConfig(
        output=f"{output}/",
        skip_existing=skip_existing,
        zone=parsed_zone(time_zone),
        recorder_zone=parsed_zone(recorder_zone),
        embeddings=embeddings,
        events=False,
    )
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        batch_size=batch_size_for(sources) if batch_size is None else batch_size,
    )
    job = JobConfig(
        outputs,
        model,
        config,
        engine,
        device,
        precision,
        channel,
        sample_rate=sample_rate,
        window_seconds=window_seconds,
        track=track,
    )
    if sources:
        stdin = raw_stdin(sources, raw_rate, raw_encoding, raw_channels)
        run_scan(job, sources, ScanOptions(backend, workers, resume, timeout, stdin, quiet))
    if missing:
        raise typer.Exit(FAILED)


def _read(table: Path, *, need_times: bool) -> list[Event]:
    """Return the rows of a table.

    Raises
    ------
    UsageError
        If it has none, or rows without times where they are needed.
    """
    from math import isinf

    from sed.events.reading.clips import read_clips

    clips = read_clips(table)
    name = printable(str(table))
    if not clips:
        raise UsageError(f"{name}: has no rows: nothing to embed")
    if need_times and any(isinf(clip.offset) for clip in clips):
        raise UsageError(f"{name}: has rows without an end: give --clips, or events with times")
    if any(not clip.file for clip in clips):
        raise UsageError(f"{name}: does not name recordings: give a format with file names, as CSV")
    return clips
