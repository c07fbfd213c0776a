"""What live sound leads to: files, a database, clips, calls, a page, a picture or lines."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sed.errors import UsageError
from streaming.live.listener import Listener
from streaming.messages import Dispatcher, Sink
from streaming.sinks.audio_file import AudioRecorder
from streaming.sinks.event_file import EventFileSink, EventStreamSink, check_live_format
from streaming.sinks.text import ErrorSink, TextSink


@dataclass(frozen=True)
class LiveOutputs:
    """What is kept, told and shown; what is None or False is not."""

    format: str | None = None  # of the lines; None: as `output` ends, or lines for people
    output: Path | None = None  # a file that lines are appended to
    clips: Path | None = None  # a folder for the sound of each event
    clip_pre: float = 1.0  # seconds
    clip_post: float = 1.0  # seconds
    clip_longest: float = 60.0  # seconds of an event that a clip holds
    clips_megabytes: float | None = None  # beyond which the oldest clips are deleted
    clips_days: float | None = None  # likewise
    save_audio: Path | None = None  # a folder for all that is heard
    db: Path | None = None  # an SQLite database
    web: str | None = None  # address of the page
    token: str | None = None  # what the page demands
    on_event: str | None = None  # a command
    on_onset: str | None = None  # a command
    webhook: str | None = None  # a URL
    mqtt: str | None = None  # a URL
    quiet: bool = False  # no view

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.format is not None:
            check_live_format(self.format)
        elif self.output is not None:
            check_live_format(self.output.suffix.removeprefix("."))

        if self.clips is None:
            for field in dataclasses.fields(self):
                is_about_clips = field.name.startswith("clip") and field.name != "clips"
                if is_about_clips and getattr(self, field.name) != field.default:
                    name = field.name.replace("_", "-")
                    raise UsageError(f"--{name} is about clips: give --clips DIR")

    @property
    def has_view(self) -> bool:
        """Whether the terminal is drawn on: if there is one, and nobody wants lines in it."""
        wants_lines = self.format is not None and self.output is None
        can_draw = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        return can_draw and not self.quiet and not wants_lines

    @contextmanager
    def taking(self, listener: Listener, model_name: str) -> Iterator[Dispatcher]:
        """Open all that messages of a listener go to, and close it behind the last of them.

        Raises
        ------
        SedError
            If a file, a folder or an address cannot be used.
        """
        with ExitStack() as stack:
            database = self.db
            if database is None and self.web is not None:  # the page asks one for its history
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sed-listen"))
                database = Path(folder, "events.sqlite")
            fan = Dispatcher()
            stack.callback(fan.close)
            for sink in self._sinks(listener, model_name, database):
                fan.add(sink)
            yield fan

    def _sinks(self, listener: Listener, model_name: str, database: Path | None) -> Iterator[Sink]:
        """Yield who takes messages, in the order in which they should.

        Clips come first, so that at the end the others still hear of the last ones; then what is
        kept, so that nothing is told that could still be lost; then who tells it.
        """
        if self.clips is not None:
            yield self._clips(self.clips, listener)
        if self.save_audio is not None:
            yield AudioRecorder(self.save_audio)
        if database is not None:
            from streaming.sinks.database import EventDatabase

            yield EventDatabase(database, model=model_name)
        if self.output is not None:
            yield EventFileSink(self.output, self.format)
        yield from self._alerts()
        if self.web is not None and database is not None:
            from streaming.web.server import WebView, parse_address

            detector = listener.detector
            host, port = parse_address(self.web)
            page = WebView(
                host,
                port,
                token=self.token,
                database_path=database,
                labels=detector.labels,
                log_mel=detector.spec.log_mel,
                model=model_name,
            )
            if not self.quiet:
                print(f"the page: {page.url}", file=sys.stderr)
            yield page
            model_name += f", {page.url}"
        yield from self._told(listener, model_name)

    def _told(self, listener: Listener, model_name: str) -> list[Sink]:
        """Return who speaks to the person at the terminal, or to the program behind the pipe."""
        if self.has_view:
            from streaming.terminal.view import TerminalView

            detector = listener.detector
            return [TerminalView(detector.labels, detector.spec.log_mel, model_name)]
        log = ErrorSink(sys.stderr)
        if self.output is not None:
            return [log]
        if self.format is not None:
            return [EventStreamSink(sys.stdout, self.format, gone=listener.stop), log]
        return [TextSink(sys.stdout, listener.stop), log]

    def _clips(self, folder: Path, listener: Listener) -> Sink:
        from streaming.sinks.clips import Clips, ClipsConfig

        config = ClipsConfig(
            pre_roll=self.clip_pre,
            post_roll=self.clip_post,
            max_seconds=self.clip_longest,
            max_mb=self.clips_megabytes,
            max_days=self.clips_days,
        )
        return Clips(folder, config, delay_seconds=listener.detector.delay_seconds)

    def _alerts(self) -> Iterator[Sink]:
        """Yield who tells programs and other machines; of an event when its clip is there."""
        waits = self.clips is not None
        if self.on_onset is not None:
            from streaming.sinks.command import CommandAlert

            yield CommandAlert(self.on_onset, "onset")
        if self.on_event is not None:
            from streaming.sinks.command import CommandAlert

            yield CommandAlert(self.on_event, "event", waits_for_clip=waits)
        if self.webhook is not None:
            from streaming.sinks.webhook import Webhook

            yield Webhook(self.webhook, waits_for_clip=waits)
        if self.mqtt is not None:
            from streaming.sinks.mqtt import MqttAlert

            yield MqttAlert(self.mqtt, waits_for_clip=waits)
