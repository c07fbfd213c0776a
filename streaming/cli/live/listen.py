"""The command `sed listen`. Heavy modules are imported when it runs."""

from __future__ import annotations

import logging
import sys

import typer

from sed.errors import FAILED, UsageError
from sed.text import printable
from streaming.cli.devices import drivers_silenced, open_sources
from streaming.cli.live.options import (
    Buffer,
    ClipFolder,
    ClipMaxSeconds,
    ClipPostRoll,
    ClipPreRoll,
    ClipsMaxDays,
    ClipsMaxMb,
    Database,
    DatabaseMaxDays,
    DatabaseMaxMb,
    Inputs,
    LiveFormat,
    LiveHop,
    MqttUrl,
    OnEvent,
    OnOnset,
    Output,
    OutputKeep,
    OutputRotate,
    PrintUnit,
    SaveAudio,
    Threads,
    Token,
    Web,
    WebhookHeader,
    WebhookUrl,
)
from streaming.cli.options import (
    AllClasses,
    AtLevel,
    Channel,
    Classes,
    Device,
    Engine,
    LiveLookahead,
    MinDuration,
    MinGap,
    Model,
    OffsetThreshold,
    OnsetThreshold,
    Precision,
    Quiet,
    RawChannels,
    RawEncoding,
    RawRate,
    SpeciesList,
    SpreadsheetSafe,
    Threshold,
    Thresholds,
    TopK,
    Unknown,
    Verbose,
)

log = logging.getLogger("sed.listen")


def listen(
    context: typer.Context,
    input: Inputs = None,
    channel: Channel = None,
    raw_rate: RawRate = None,
    raw_encoding: RawEncoding = "s16",
    raw_channels: RawChannels = 1,
    model: Model = None,
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    hop_seconds: LiveHop = None,
    threshold: Threshold = None,
    thresholds: Thresholds = None,
    onset_threshold: OnsetThreshold = None,
    offset_threshold: OffsetThreshold = None,
    min_duration_seconds: MinDuration = None,
    min_gap_seconds: MinGap = None,
    lookahead_seconds: LiveLookahead = 1.0,
    classes: Classes = "",
    species_list: SpeciesList = None,
    all_classes: AllClasses = False,
    at_level: AtLevel = "class",
    unknown: Unknown = False,
    top_k: TopK = None,
    format: LiveFormat = None,
    output: Output = None,
    output_rotate: OutputRotate = "",
    output_keep: OutputKeep = 7,
    clips: ClipFolder = None,
    clip_pre_roll: ClipPreRoll = 1.0,
    clip_post_roll: ClipPostRoll = 1.0,
    clip_max_seconds: ClipMaxSeconds = 60.0,
    clips_max_mb: ClipsMaxMb = None,
    clips_max_days: ClipsMaxDays = None,
    save_audio: SaveAudio = None,
    db: Database = None,
    db_max_days: DatabaseMaxDays = None,
    db_max_mb: DatabaseMaxMb = None,
    web: Web = None,
    token: Token = None,
    on_event: OnEvent = None,
    on_onset: OnOnset = None,
    webhook: WebhookUrl = None,
    webhook_header: WebhookHeader = None,
    mqtt: MqttUrl = None,
    spreadsheet_safe: SpreadsheetSafe = False,
    print_unit: PrintUnit = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    buffer_seconds: Buffer = 10.0,
    n_threads: Threads = 1,
) -> None:
    """Detect sound events live: from one or several microphones, a stream, or a file.

    In a terminal it draws a view of the sound and its events; elsewhere it prints a line for each
    event. Ctrl-C ends it: events that still last are closed, and a summary says how much sound was
    processed and how much was lost.
    """
    from sed.cli import show_log
    from sed.models.registry import model_name
    from sed.signals import GracefulExit
    from streaming.cli.live.outputs import LiveOutputs
    from streaming.engines.graphs.labels import class_names
    from streaming.engines.select import open_engine
    from streaming.live.listener import Listener, live_config
    from streaming.pipeline.config import DetectorConfig, parse_thresholds
    from streaming.sinks.text import format_status

    show_log(quiet=quiet, verbose=verbose)
    common, of_classes = parse_thresholds(threshold)
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode="sliding_window",
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
    )
    outputs = LiveOutputs(
        format=format,
        output=output,
        output_rotate=output_rotate,
        output_keep=output_keep,
        spreadsheet_safe=spreadsheet_safe,
        clips=clips,
        clip_pre_roll=clip_pre_roll,
        clip_post_roll=clip_post_roll,
        clip_max_seconds=clip_max_seconds,
        clips_max_mb=clips_max_mb,
        clips_max_days=clips_max_days,
        save_audio=save_audio,
        db=db,
        db_max_days=db_max_days,
        db_max_mb=db_max_mb,
        web=web,
        token=token,
        on_event=on_event,
        on_onset=on_onset,
        webhook=webhook,
        webhook_header=webhook_header,
        mqtt=mqtt,
        quiet=quiet,
    )
    if n_threads < 1 or buffer_seconds <= 0:
        raise UsageError("expected --threads of 1 or more and a --buffer above 0 seconds")
    if print_unit is not None:
        from streaming.cli.live.service import unit_of

        return print(unit_of(context, print_unit), end="")
    with drivers_silenced():
        sources = open_sources(input, channel, raw_rate, raw_encoding, raw_channels)
        if not quiet:
            print("loading the model", file=sys.stderr)
        opened = open_engine(
            model,
            engine=engine,
            device=device,
            precision=precision,
            n_streams=1,
            n_threads=n_threads,
        )
        config = live_config(config, opened.spec)
        listener = Listener(sources, opened, config, channel=channel, buffer_seconds=buffer_seconds)
        name = model_name(model)
        log.info("%s; %s, %d classes", opened, name, len(opened.spec.labels))
        if not quiet:
            for source in sources:
                print(
                    f"listening to {printable(source.name)}: {source.sample_rate:,} Hz, "
                    f"{source.n_channels} channel{'s' * (source.n_channels != 1)}",
                    file=sys.stderr,
                )
        with GracefulExit(listener.stop), outputs.open(listener, name) as dispatcher:
            for message in listener.messages():
                dispatcher.handle(message)
        if not quiet:
            print(format_status(listener.status()), file=sys.stderr)
        # Why is a `Problem`, which was reported when it happened.
        if listener.failures:
            raise typer.Exit(FAILED)
