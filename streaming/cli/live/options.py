"""Options of `sed listen` that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streaming.cli.options import DETECTION, INPUT, OUTPUT, PERFORMANCE

ABOUT_FILES = "Configuration"  # panel of the options that a file cannot set

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Options and rules for alerts, in a TOML file (see docs/alerts.md). Options of the "
        "command line override it. kill -HUP reads it again.",
        show_default=False,
        rich_help_panel=ABOUT_FILES,
    ),
]
PrintConfig = Annotated[
    bool,
    typer.Option(
        "--print-config",
        help="Print such a file with all options that are given, and the others as comments.",
        rich_help_panel=ABOUT_FILES,
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        metavar="DATABASE",
        help="Do not listen: show what the rules of --config would have done with the events of "
        "this database (--db), and which classes are frequent. --output writes the alerts as CSV.",
        show_default=False,
        rich_help_panel=ABOUT_FILES,
    ),
]
MaxPerHour = Annotated[
    float,
    typer.Option(
        metavar="N",
        help="With --replay: suggest thresholds for classes that are found more often.",
        rich_help_panel=ABOUT_FILES,
    ),
]
PrintUnit = Annotated[
    str | None,
    typer.Option(
        metavar="[system|user]",
        help="Print the systemd unit that runs this as a service, and do nothing else.",
        show_default=False,
        rich_help_panel=ABOUT_FILES,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DEVICE|FILE|URL|-",
        help="What to listen to: name, part of a name or number of a sound device (see `sed "
        "devices`), a file (played at real speed), a URL, or - for standard input. May be "
        "given several times.",
        show_default="the default microphone",
        rich_help_panel=INPUT,
    ),
]
LiveHop = Annotated[
    float | None,
    typer.Option(
        "--hop",
        help="Hop: seconds from the start of one window, which is one input of the model, to "
        "the start of the next. It divides the window.",
        show_default="0.5, and of a graph of others its own",
        rich_help_panel=DETECTION,
    ),
]
LiveFormat = Annotated[
    str | None,
    typer.Option(
        metavar="csv|jsonl|tsv",
        help="Format of the events that are written.",
        show_default="the ending of --output; without it a view in a terminal, or plain text",
        rich_help_panel=OUTPUT,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="File to append events and gaps to.",
        show_default="standard output",
        rich_help_panel=OUTPUT,
    ),
]
OutputRotate = Annotated[
    str,
    typer.Option(
        metavar="day|week|SIZE",
        help="Begin the file of --output anew each day or week, or at a size such as 10MB; the "
        "ones before are NAME.1.ENDING, NAME.2.ENDING and so on.",
        show_default="one file",
        rich_help_panel=OUTPUT,
    ),
]
OutputKeep = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Files that --output-rotate keeps besides the one that is written.",
        rich_help_panel=OUTPUT,
    ),
]
ClipFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Save the sound of each event to this folder, as FLAC.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
ClipPreRoll = Annotated[
    float,
    typer.Option(help="Seconds of a clip before the event.", rich_help_panel=OUTPUT),
]
ClipPostRoll = Annotated[
    float,
    typer.Option(help="Seconds of a clip after the event.", rich_help_panel=OUTPUT),
]
ClipMaxSeconds = Annotated[
    float,
    typer.Option(help="Seconds of an event that a clip contains at most.", rich_help_panel=OUTPUT),
]
ClipsMaxMb = Annotated[
    float | None,
    typer.Option(
        metavar="MB",
        help="Delete the oldest clips when all of them exceed this many megabytes.",
        show_default="keep all",
        rich_help_panel=OUTPUT,
    ),
]
ClipsMaxDays = Annotated[
    float | None,
    typer.Option(
        metavar="DAYS",
        help="Delete clips that are older than this.",
        show_default="keep all",
        rich_help_panel=OUTPUT,
    ),
]
SaveAudio = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Record all inputs to this folder, as FLAC.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Database = Annotated[
    Path | None,
    typer.Option(
        help="SQLite database to write events and gaps to.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
DatabaseMaxDays = Annotated[
    float | None,
    typer.Option(
        metavar="DAYS",
        help="Delete events and gaps of the database that are older than this.",
        show_default="keep all",
        rich_help_panel=OUTPUT,
    ),
]
DatabaseMaxMb = Annotated[
    float | None,
    typer.Option(
        metavar="MB",
        help="Delete the oldest events of the database when it exceeds this many megabytes.",
        show_default="keep all",
        rich_help_panel=OUTPUT,
    ),
]
Web = Annotated[
    str | None,
    typer.Option(
        help="Serve a page for the browser, at 127.0.0.1:8765 if no address is given.",
        metavar="[HOST:PORT]",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        help="Password of the page; required if other machines can reach it.",
        envvar="SED_TOKEN",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
OnEvent = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Command to run after each event, for example 'notify {label} {score} {clip}'. "
        "It is run without a shell.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
OnOnset = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Command to run as soon as an event starts.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
WebhookUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Post onsets, events and gaps to this URL; env:NAME or file:PATH keeps it out of "
        "the list of processes.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
WebhookHeader = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:VALUE",
        help="Send this header too, for example 'Authorization: Bearer env:HOOK_TOKEN'. May be "
        "given several times.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
MqttUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Publish to this MQTT broker: mqtt://user@host/topic. The password is read from "
        "SED_MQTT_PASSWORD.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
HomeAssistantClasses = Annotated[
    str | None,
    typer.Option(
        "--home-assistant",
        metavar="[CLASSES]",
        help="Let Home Assistant find this run by MQTT: sensors for these classes and kinds, "
        "separated by commas; all if none is named.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
HomeAssistantPrefix = Annotated[
    str,
    typer.Option(
        metavar="TOPIC",
        help="Where Home Assistant looks for what it can find.",
        rich_help_panel=OUTPUT,
    ),
]
PushUrls = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        help="Send each event as a push notification to this address of Apprise; env:NAME or "
        "file:PATH keeps it out of the list of processes. May be given several times.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Buffer = Annotated[
    float,
    typer.Option(
        "--buffer",
        help="Seconds of sound that may wait for the model before some of it is dropped.",
        rich_help_panel=PERFORMANCE,
    ),
]
Threads = Annotated[
    int,
    typer.Option("--threads", help="CPU cores for the model.", rich_help_panel=PERFORMANCE),
]
