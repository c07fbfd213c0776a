"""The command `sed listen`. Heavy modules are imported when it runs."""

from __future__ import annotations

import typer

from sed.errors import FAILED
from streaming.cli.live.options import (
    Buffer,
    ClipFolder,
    ClipMaxSeconds,
    ClipPostRoll,
    ClipPreRoll,
    ClipsMaxDays,
    ClipsMaxMb,
    ConfigFile,
    Database,
    DatabaseMaxDays,
    DatabaseMaxMb,
    HomeAssistantClasses,
    HomeAssistantPrefix,
    Inputs,
    LiveFormat,
    LiveHop,
    MaxPerHour,
    MqttUrl,
    OnEvent,
    OnOnset,
    Output,
    OutputKeep,
    OutputRotate,
    PrintConfig,
    PrintUnit,
    PushUrls,
    Replay,
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


def listen(
    context: typer.Context,
    config: ConfigFile = None,
    print_config: PrintConfig = False,
    print_unit: PrintUnit = None,
    replay: Replay = None,
    max_per_hour: MaxPerHour = 10.0,
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
    home_assistant: HomeAssistantClasses = None,
    home_assistant_prefix: HomeAssistantPrefix = "homeassistant",
    push: PushUrls = None,
    spreadsheet_safe: SpreadsheetSafe = False,
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
    given = dict(locals())
    from sed.cli import show_log
    from streaming.cli.live.config_file import live_options
    from streaming.cli.live.settings import SettingsReader

    def source(name: str) -> str:
        found = context.get_parameter_source(name)
        return "" if found is None else found.name

    reader = SettingsReader(live_options(listen), given, source, config)
    if print_config:
        print(reader.file_text(), end="")
        return
    settings = reader.read()
    values = settings.values
    if print_unit is not None:
        from streaming.cli.live.service import unit_of

        print(unit_of(context, print_unit, reader.file_values()), end="")
        return
    show_log(quiet=values["quiet"], verbose=values["verbose"])
    if replay is not None:
        from streaming.cli.live.replay import show_replay

        show_replay(replay, settings, max_per_hour)
        return
    from streaming.cli.live.run import run

    # Why is a `Problem`, which was reported when it happened.
    if run(reader, settings):
        raise typer.Exit(FAILED)
