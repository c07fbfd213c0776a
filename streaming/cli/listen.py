"""The commands `sed listen` and `sed devices`. What is heavy is imported when they are called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED, UsageError
from sed.text import printable
from streaming.cli.options import (
    Channel,
    Classes,
    Engine,
    MinDuration,
    MinGap,
    Model,
    OffsetThreshold,
    OnsetThreshold,
    Precision,
    RawChannels,
    RawEncoding,
    RawRate,
    Threshold,
    TopK,
    split_names,
)

if TYPE_CHECKING:
    from streaming.live.listener import Listener
    from streaming.live.sources import AudioSource


def listen(
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="What to listen to: name, part of a name or index of a sound device, a file "
            "(heard at real speed), a URL, or - for standard input. May be given several times.",
            show_default="the default device",
        ),
    ] = None,
    model: Model = None,
    hop_seconds: Annotated[
        float,
        typer.Option("--hop", help="Seconds from one window to the next; divides the window."),
    ] = 0.5,
    threshold: Threshold = None,
    onset_threshold: OnsetThreshold = None,
    offset_threshold: OffsetThreshold = None,
    min_duration_seconds: MinDuration = None,
    min_gap_seconds: MinGap = None,
    lookahead_seconds: Annotated[
        float,
        typer.Option(
            "--lookahead",
            help="Decide on a moment when a window has heard so many seconds beyond it: less is "
            "quicker, more is surer.",
        ),
    ] = 1.0,
    classes: Classes = "",
    top_k: TopK = None,
    channel: Channel = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Of the lines: csv, jsonl or tsv.",
            show_default="the ending of --output; else the view in a terminal, or plain lines",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="A file to append events and gaps to.", show_default="standard output"),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            help="A folder to save the sound of each event in, as FLAC.", show_default=False
        ),
    ] = None,
    clip_pre: Annotated[float, typer.Option(help="Seconds of a clip before the event.")] = 1.0,
    clip_post: Annotated[float, typer.Option(help="Seconds of a clip after the event.")] = 1.0,
    clip_longest: Annotated[
        float, typer.Option(help="Seconds of an event that a clip holds at most.")
    ] = 60.0,
    clips_megabytes: Annotated[
        float | None,
        typer.Option(help="Delete the oldest clips beyond this size.", show_default="keep all"),
    ] = None,
    clips_days: Annotated[
        float | None,
        typer.Option(help="Delete clips older than this.", show_default="keep all"),
    ] = None,
    save_audio: Annotated[
        Path | None,
        typer.Option(help="A folder to save all that is heard in, as FLAC.", show_default=False),
    ] = None,
    db: Annotated[
        Path | None,
        typer.Option(help="An SQLite database to keep events and gaps in.", show_default=False),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            help="Show a page in the browser, at 127.0.0.1:8765 if no address is given.",
            metavar="[HOST:PORT]",
            show_default=False,
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="What the page demands to be known; needed beyond this machine.",
            envvar="SED_TOKEN",
            show_default=False,
        ),
    ] = None,
    on_event: Annotated[
        str | None,
        typer.Option(
            help="A command to run for each event that is complete, as 'notify {label} {score} "
            "{clip}'. No shell sees it.",
            show_default=False,
        ),
    ] = None,
    on_onset: Annotated[
        str | None,
        typer.Option(help="A command to run as soon as an event begins.", show_default=False),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(help="A URL to post events, onsets and gaps to.", show_default=False),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            help="A broker to publish to, as mqtt://user@host/topic; the password in "
            "SED_MQTT_PASSWORD.",
            show_default=False,
        ),
    ] = None,
    buffer: Annotated[
        float, typer.Option(help="Seconds of sound that may wait for the model.")
    ] = 10.0,
    threads: Annotated[int, typer.Option(help="Processor cores for the model.")] = 1,
    compute: Annotated[
        str,
        typer.Option(help="Where the model runs: auto (a GPU where there is one), cpu, cuda:N."),
    ] = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    raw_rate: RawRate = None,
    raw_encoding: RawEncoding = "s16",
    raw_channels: RawChannels = 1,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No view, and nothing said but what went wrong."),
    ] = False,
) -> None:
    """Tag live sound: a microphone, several, a stream, or a file at real speed.

    In a terminal it draws what it hears; elsewhere it writes lines. Ctrl-C ends it: what was heard
    is finished, events that still last are closed, and the account of every sample is told.
    """
    from streaming.cli.outputs import LiveOutputs
    from streaming.engines.select import open_engine
    from streaming.live.listener import Listener
    from streaming.pipeline.config import DetectorConfig
    from streaming.sinks.text import format_status

    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode="sliding_window",
        threshold=threshold,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=split_names(classes),
        top_k=top_k,
    )
    results = LiveOutputs(
        format=format,
        output=output,
        clips=clips,
        clip_pre=clip_pre,
        clip_post=clip_post,
        clip_longest=clip_longest,
        clips_megabytes=clips_megabytes,
        clips_days=clips_days,
        save_audio=save_audio,
        db=db,
        web=web,
        token=token,
        on_event=on_event,
        on_onset=on_onset,
        webhook=webhook,
        mqtt=mqtt,
        quiet=quiet,
    )
    if threads < 1 or buffer <= 0:
        raise UsageError("expected threads of 1 or more and a buffer above 0")
    with _without_noise_of_drivers():
        ears = _ears(device, channel, raw_rate, raw_encoding, raw_channels)
        if not quiet:
            print("loading the model", file=sys.stderr)
        opened = open_engine(
            model,
            engine=engine,
            device=compute,
            precision=precision,
            n_streams=1,
            n_threads=threads,
            tell=lambda text: None if quiet else print(text, file=sys.stderr),
        )
        listener = Listener(ears, opened, config, channel=channel, buffer_seconds=buffer)
        name = "the default model" if model is None else str(model)
        if not quiet:
            print(f"{opened}; {name}, {len(opened.spec.labels)} classes", file=sys.stderr)
            for ear in ears:
                print(
                    f"listening to {printable(ear.name)}: {ear.sample_rate:,} Hz, "
                    f"{ear.n_channels} channel{'s' * (ear.n_channels != 1)}",
                    file=sys.stderr,
                )
        with _ended_by_signals(listener), results.taking(listener, name) as fan:
            for message in listener.messages():
                fan.handle(message)
        if not quiet:
            print(format_status(listener.status()), file=sys.stderr)


def devices() -> None:
    """List what can be heard: the name to give to `sed listen --device`, channels and rates.

    The names stay when the machine starts again; the numbers may not. The default is marked *.
    """
    from streaming.live.microphone import devices as all_devices

    with _without_noise_of_drivers():
        found = all_devices(with_rates=True)
    if not found:
        print(
            "sed: there is no microphone. Plug one in, or start the sound server.", file=sys.stderr
        )
        raise typer.Exit(FAILED)
    width = max(len(printable(device.name)) for device in found)
    for device in found:
        rates = " ".join(
            f"({rate:,})" if rate == device.sample_rate else f"{rate:,}" for rate in device.rates
        )
        print(
            f"{'*' if device.is_default else ' '}{device.index:3}  {printable(device.name):{width}}"
            f"  {device.host}, {device.n_channels} channels, Hz: {rates or 'in use?'}"
        )


def _ears(
    sources: list[str] | None,
    channel: int | None,
    raw_rate: int | None,
    raw_encoding: str,
    raw_channels: int,
) -> list[AudioSource]:
    """Open what is to be heard; what cannot be opened is told of, if anything else can."""
    from sed.audio.decode import open_raw_stdin
    from sed.errors import SedError
    from streaming.live.sources import open_source, stdin_ear

    if raw_rate is not None and "-" not in (sources or ()):
        raise UsageError("--raw-rate is about standard input: give --device -")
    ears: list[AudioSource] = []
    troubles: list[SedError] = []
    for source in sources or (None,):
        try:
            if source == "-" and raw_rate is not None:
                stdin = open_raw_stdin(raw_rate, raw_encoding, raw_channels)
                ears.append(stdin_ear(stdin))
            else:
                ears.append(open_source(source, channel=channel))
        except SedError as error:
            troubles.append(error)
    if not ears:
        raise troubles[0]
    for trouble in troubles:
        print(f"sed: {trouble}", file=sys.stderr)
    return ears


@contextmanager
def _ended_by_signals(listener: Listener) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM end the listener; the second one ends the program."""

    def end(signum: int, frame: FrameType | None) -> None:
        for name in before:
            signal.signal(name, before[name])
        listener.stop()

    before = {name: signal.signal(name, end) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def _without_noise_of_drivers() -> Iterator[None]:
    """Keep what PortAudio and ALSA print, from C, off standard error; ours still goes there."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: there is nothing to keep clean
        yield
        return
    ours, nowhere = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # if it is no file, nothing that is printed to it goes this way
        if ours.fileno() == 2:
            sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace")
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        if sys.stderr is not ours:
            sys.stderr.close()
            sys.stderr = ours
        os.close(nowhere)
        os.close(kept)
