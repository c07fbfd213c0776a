"""The command `sed listen`. Heavy modules are imported when it runs."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from sed.errors import FAILED, UsageError
from sed.text import printable
from streaming.cli.devices import drivers_silenced, open_sources
from streaming.cli.options import (
    DETECTION,
    INPUT,
    OUTPUT,
    PERFORMANCE,
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
    input: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE|FILE|URL|-",
            help="What to listen to: name, part of a name or number of a sound device (see `sed "
            "devices`), a file (played at real speed), a URL, or - for standard input. May be "
            "given several times.",
            show_default="the default microphone",
            rich_help_panel=INPUT,
        ),
    ] = None,
    channel: Channel = None,
    raw_rate: RawRate = None,
    raw_encoding: RawEncoding = "s16",
    raw_channels: RawChannels = 1,
    model: Model = None,
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    hop_seconds: Annotated[
        float | None,
        typer.Option(
            "--hop",
            help="Hop: seconds from the start of one window, which is one input of the model, to "
            "the start of the next. It divides the window.",
            show_default="0.5, and of a graph of others its own",
            rich_help_panel=DETECTION,
        ),
    ] = None,
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
    format: Annotated[
        str | None,
        typer.Option(
            metavar="csv|jsonl|tsv",
            help="Format of the events that are written.",
            show_default="the ending of --output; without it a view in a terminal, or plain text",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to append events and gaps to.",
            show_default="standard output",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Save the sound of each event to this folder, as FLAC.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    clip_pre_roll: Annotated[
        float,
        typer.Option(help="Seconds of a clip before the event.", rich_help_panel=OUTPUT),
    ] = 1.0,
    clip_post_roll: Annotated[
        float,
        typer.Option(help="Seconds of a clip after the event.", rich_help_panel=OUTPUT),
    ] = 1.0,
    clip_max_seconds: Annotated[
        float,
        typer.Option(
            help="Seconds of an event that a clip contains at most.", rich_help_panel=OUTPUT
        ),
    ] = 60.0,
    clips_max_mb: Annotated[
        float | None,
        typer.Option(
            metavar="MB",
            help="Delete the oldest clips when all of them exceed this many megabytes.",
            show_default="keep all",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    clips_max_days: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            help="Delete clips that are older than this.",
            show_default="keep all",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    save_audio: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Record all inputs to this folder, as FLAC.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    db: Annotated[
        Path | None,
        typer.Option(
            help="SQLite database to write events and gaps to.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            help="Serve a page for the browser, at 127.0.0.1:8765 if no address is given.",
            metavar="[HOST:PORT]",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="Password of the page; required if other machines can reach it.",
            envvar="SED_TOKEN",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    on_event: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Command to run after each event, for example 'notify {label} {score} {clip}'. "
            "It is run without a shell.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    on_onset: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Command to run as soon as an event starts.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Post onsets, events and gaps to this URL; env:NAME or file:PATH keeps it out of "
            "the list of processes.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    webhook_header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:VALUE",
            help="Send this header too, for example 'Authorization: Bearer env:HOOK_TOKEN'. May be "
            "given several times.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Publish to this MQTT broker: mqtt://user@host/topic. The password is read from "
            "SED_MQTT_PASSWORD.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    spreadsheet_safe: SpreadsheetSafe = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    buffer_seconds: Annotated[
        float,
        typer.Option(
            "--buffer",
            help="Seconds of sound that may wait for the model before some of it is dropped.",
            rich_help_panel=PERFORMANCE,
        ),
    ] = 10.0,
    n_threads: Annotated[
        int,
        typer.Option("--threads", help="CPU cores for the model.", rich_help_panel=PERFORMANCE),
    ] = 1,
) -> None:
    """Detect sound events live: from one or several microphones, a stream, or a file.

    In a terminal it draws a view of the sound and its events; elsewhere it prints a line for each
    event. Ctrl-C ends it: events that still last are closed, and a summary says how much sound was
    processed and how much was lost.
    """
    from sed.cli import show_log
    from sed.models.registry import model_name
    from sed.signals import GracefulExit
    from streaming.cli.outputs import LiveOutputs
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
        spreadsheet_safe=spreadsheet_safe,
        clips=clips,
        clip_pre_roll=clip_pre_roll,
        clip_post_roll=clip_post_roll,
        clip_max_seconds=clip_max_seconds,
        clips_max_mb=clips_max_mb,
        clips_max_days=clips_max_days,
        save_audio=save_audio,
        db=db,
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
