"""What live sound leads to: files, a database, clips, calls, a page, a picture or lines."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from sed.errors import UsageError
from streaming.lines import Log, PlainLines
from streaming.listener import Listener
from streaming.messages import Sink
from streaming.record import EventFile, EventLines, SavedAudio, format_of


@dataclass(frozen=True)
class LiveResults:
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
            format_of(self.format)
        elif self.output is not None:
            format_of(self.output.suffix.removeprefix("."))
        if self.token is not None and self.web is None:
            raise UsageError("--token is about --web")

    @property
    def has_view(self) -> bool:
        """Whether the terminal is drawn on: if there is one, and nobody wants lines in it."""
        wants_lines = self.format is not None and self.output is None
        return sys.stdout.isatty() and not self.quiet and not wants_lines

    def sinks(self, listener: Listener, model_name: str) -> list[Sink]:
        """Return who takes the messages of a listener, in the order in which they should.

        Clips come first, so that at the end the others still hear of the last ones; then what is
        kept, so that nothing is told that could still be lost; then who tells it.

        Raises
        ------
        SedError
            If a file, a folder or an address cannot be used.
        """
        sinks: list[Sink] = []
        if self.save_audio is not None:
            sinks.append(SavedAudio(self.save_audio))
        if self.clips is not None:
            sinks.append(self._clips(self.clips, listener))
        database = self._database_path()
        if database is not None:
            from streaming.database import EventDatabase

            sinks.append(EventDatabase(database, model=model_name))
        if self.output is not None:
            sinks.append(EventFile(self.output, self.format))
        sinks += self._alerts()
        if self.web is not None:
            sinks.append(self._web(listener, database))
        return [*sinks, *self._told(listener, model_name)]

    def _told(self, listener: Listener, model_name: str) -> list[Sink]:
        """Return who speaks to the person at the terminal, or to the program behind the pipe."""
        if self.has_view:
            from streaming.terminal import TerminalView

            detector = listener.detector
            return [TerminalView(detector.labels, detector.front_end, model_name)]
        log = Log(sys.stderr)
        if self.output is not None:
            return [log]
        if self.format is not None:
            return [EventLines(sys.stdout, self.format), log]
        return [PlainLines(sys.stdout), log]
