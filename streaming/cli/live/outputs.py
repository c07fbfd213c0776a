"""Build each sink that `sed listen` sends its messages to, from the options of the command."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed.errors import UsageError, check_extra
from sed.events.hierarchy import Hierarchy
from sed.events.sqlite import DatabaseError
from sed.text import split_names
from streaming.live.listener import Listener
from streaming.messages import Sink
from streaming.sinks.alerts.secrets import read_header, read_secret, secret_variables
from streaming.sinks.audio_file import AudioRecorder
from streaming.sinks.event_file import EventFileSink, EventStreamSink
from streaming.sinks.live_formats import live_format
from streaming.sinks.record.counts import hourly_counts
from streaming.sinks.storage.retention import RetentionConfig
from streaming.sinks.storage.rotation import RotationConfig
from streaming.sinks.text import ErrorSink, TextSink

if TYPE_CHECKING:
    from streaming.sinks.alerts.home_assistant import HomeAssistantConfig
    from streaming.web.server import WebView

AlertMaker = partial[Any]  # of a sink
# Of the outputs, those that may be exchanged while it listens.
ALERT_FIELDS = frozenset(
    [
        *("on_event", "on_onset", "webhook", "webhook_header", "mqtt", "push"),
        *("home_assistant", "home_assistant_prefix"),
    ]
)


@dataclass(frozen=True)
class LiveOutputs:
    """Where the results of live sound go; an output that is None is not used.

    Raises
    ------
    UsageError
        If a format is unknown, or an option about clips is given without `clips`.
    MissingExtraError
        If an output needs an extra that is not installed.
    """

    format: str | None = None  # of events; None: the ending of `output`, or text for people
    output: Path | None = None  # file that events and gaps are appended to
    output_rotate: str = ""  # day, week or a size at which that file is begun anew
    output_keep: int = 7  # files that are kept besides it
    spreadsheet_safe: bool = False  # no cell of CSV and TSV is a formula
    clips: Path | None = None  # folder for the sound of each event
    clip_pre_roll: float = 1.0  # seconds of a clip before the event
    clip_post_roll: float = 1.0  # seconds of a clip after the event
    clip_max_seconds: float = 60.0  # of an event in a clip
    clips_max_mb: float | None = None  # megabytes of all clips; beyond, the oldest are deleted
    clips_max_days: float | None = None  # age from which clips are deleted
    save_audio: Path | None = None  # folder for recordings of all inputs
    db: Path | None = None  # SQLite database
    db_max_days: float | None = None  # age from which its events are deleted
    db_max_mb: float | None = None  # megabytes of it; beyond, the oldest events are deleted
    web: str | None = None  # address of the web page, HOST:PORT
    token: str | None = None  # password of the web page
    on_event: str | None = None  # command to run after each event
    on_onset: str | None = None  # command to run at the onset of each event
    webhook: str | None = None  # URL to post to, or env:NAME or file:PATH
    webhook_header: list[str] | None = None  # NAME: VALUE, whose value may be env:NAME or file:PATH
    mqtt: str | None = None  # URL of a broker and topic
    home_assistant: str | None = None  # classes that get sensors in Home Assistant, or "all"
    home_assistant_prefix: str = "homeassistant"  # of the topics of discovery
    push: list[str] | None = None  # addresses of Apprise, or env:NAME or file:PATH
    quiet: bool = False  # no terminal view, and no address of the page

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.web is not None:
            check_extra("starlette", "--web")
        if self.mqtt is not None:
            check_extra("paho", "--mqtt")
        if self.format is not None or self.output is not None:
            live_format(self.output, self.format)
        if self.home_assistant is not None and self.mqtt is None:
            raise UsageError("--home-assistant needs a broker: give --mqtt URL too")
        if self.webhook_header and self.webhook is None:
            raise UsageError("--webhook-header applies to a webhook: give --webhook URL too")
        RetentionConfig(self.db_max_days, self.db_max_mb)
        RotationConfig(self.output_rotate, self.output_keep)
        if self.db is None and (self.db_max_days is not None or self.db_max_mb is not None):
            raise UsageError("--db-max-days and --db-max-mb apply to a database: give --db too")
        if self.output is None and self.output_rotate:
            raise UsageError("--output-rotate applies to a file: give --output FILE too")
        if self.clips is None:
            for field in dataclasses.fields(self):
                is_about_clips = field.name.startswith("clip") and field.name != "clips"
                if is_about_clips and getattr(self, field.name) != field.default:
                    name = field.name.replace("_", "-")
                    raise UsageError(f"--{name} applies to clips: give --clips DIR too")

    @property
    def _has_view(self) -> bool:
        """Whether to draw on the terminal: if there is one that can, and no lines are wanted."""
        wants_lines = self.format is not None and self.output is None
        can_draw = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        return can_draw and not self.quiet and not wants_lines

    def records(self, listener: Listener, model_name: str, database: Path | None) -> Iterator[Sink]:
        """Yield the sinks that keep everything, in the order in which they handle a message.

        Clips come first, so that at the end the other sinks still receive `ClipSaved` of the last
        ones. Files and the database come next, so that alerts and views never show an event that
        could still be lost.
        """
        species = listener.detector.spec.names_by_label()
        if self.clips is not None:
            yield self._clips(self.clips, listener)
        if self.save_audio is not None:
            yield AudioRecorder(self.save_audio)
        if database is not None:
            from streaming.sinks.database import EventDatabase

            retention = RetentionConfig(self.db_max_days, self.db_max_mb)
            yield EventDatabase(database, model=model_name, species=species, retention=retention)
        if self.output is not None:
            yield EventFileSink(
                self.output,
                self.format,
                species,
                spreadsheet_safe=self.spreadsheet_safe,
                rotation=RotationConfig(self.output_rotate, self.output_keep),
            )

    def page(
        self,
        listener: Listener,
        model_name: str,
        database: Path,
        settings: Callable[[], Mapping[str, Mapping[str, str]]],
    ) -> WebView:
        """Return the page for the browser, which is served from now on; it shows the settings."""
        from streaming.web.http_server import parse_address
        from streaming.web.server import WebView

        assert self.web is not None
        detector = listener.detector
        host, port = parse_address(self.web)
        page = WebView(
            host,
            port,
            token=read_secret(self.token) if self.token else self.token,
            database_path=database,
            labels=detector.labels,
            log_mel=detector.spec.spectrogram,
            model=model_name,
            hierarchy=detector.spec.hierarchy,
            settings=settings,
        )
        if not self.quiet:
            print(f"web page: {page.url}", file=sys.stderr)
        return page

    def console(self, listener: Listener, model_name: str) -> list[Sink]:
        """Return the sinks that write to standard output and standard error."""
        if self._has_view:
            from streaming.live.terminal.view import TerminalView

            detector = listener.detector
            return [TerminalView(detector.labels, detector.spec.spectrogram, model_name)]
        errors = ErrorSink(sys.stderr)
        if self.output is not None:
            return [errors]
        if self.format is not None:
            lines = EventStreamSink(
                sys.stdout,
                self.format,
                on_broken_pipe=listener.stop,
                species=listener.detector.spec.names_by_label(),
                spreadsheet_safe=self.spreadsheet_safe,
            )
            return [lines, errors]
        return [TextSink(sys.stdout, listener.stop), errors]

    def _clips(self, folder: Path, listener: Listener) -> Sink:
        from streaming.sinks.clips import ClipRecorder, ClipsConfig

        config = ClipsConfig(
            pre_roll=self.clip_pre_roll,
            post_roll=self.clip_post_roll,
            max_seconds=self.clip_max_seconds,
            max_mb=self.clips_max_mb,
            max_days=self.clips_max_days,
        )
        return ClipRecorder(folder, config, delay_seconds=listener.detector.delay_seconds)

    def alerts(
        self, labels: Sequence[str] = (), hierarchy: Hierarchy | None = None
    ) -> dict[str, AlertMaker]:
        """Return what makes each alert, by its name in rules.

        Where clips are saved, an event is sent after its clip.

        Parameters
        ----------
        labels
            Those of the run, for Home Assistant.
        hierarchy
            That of the model.

        Raises
        ------
        UsageError, SedError
            If a secret cannot be read, or there is no such class.
        """
        waits = self.clips is not None
        headers = self.webhook_header or []
        values = (header.partition(":")[2].strip() for header in headers)
        secrets = (self.webhook, self.mqtt, self.token, *(self.push or []))
        hidden = secret_variables([*(each or "" for each in secrets), *values])
        found: dict[str, AlertMaker] = {}
        if self.on_onset is not None:
            from streaming.sinks.alerts.command import CommandAlert

            found["on_onset"] = partial(CommandAlert, self.on_onset, "onset", hidden=hidden)
        if self.on_event is not None:
            from streaming.sinks.alerts.command import CommandAlert

            found["on_event"] = partial(
                CommandAlert, self.on_event, "event", waits_for_clip=waits, hidden=hidden
            )
        if self.webhook is not None:
            from streaming.sinks.alerts.webhook import Webhook

            found["webhook"] = partial(
                Webhook,
                read_secret(self.webhook),
                headers=dict(map(read_header, headers)),
                waits_for_clip=waits,
            )
        if self.mqtt is not None:
            from streaming.sinks.alerts.mqtt import MqttAlert

            found["mqtt"] = partial(
                MqttAlert,
                read_secret(self.mqtt),
                waits_for_clip=waits,
                home_assistant=self._home_assistant(labels, hierarchy),
            )
        if self.push:
            from streaming.sinks.alerts.push import PushAlert

            found["push"] = partial(
                PushAlert, list(map(read_secret, self.push)), waits_for_clip=waits
            )
        return found

    def _home_assistant(
        self, labels: Sequence[str], hierarchy: Hierarchy | None
    ) -> HomeAssistantConfig | None:
        if self.home_assistant is None:
            return None
        from streaming.sinks.alerts.home_assistant import HomeAssistantConfig, shown_classes

        classes = shown_classes(split_names(self.home_assistant), labels, hierarchy)
        n_today = 0 if self.db is None else _events_today(self.db)
        return HomeAssistantConfig(classes, self.home_assistant_prefix, n_today)


def _events_today(database: Path) -> int:
    """Return how many events of this day a database has; 0 if it cannot be read."""
    now = datetime.now()
    try:
        _, counts = hourly_counts(database, now.hour + 1, now=now)
    except DatabaseError:
        return 0
    return sum(map(sum, counts.values()))
