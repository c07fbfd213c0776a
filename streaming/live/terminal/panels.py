"""Lay out the parts of the terminal view as lines of segments of a given width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from sed.events.tracker import Event
from sed.text import clock_time, pluralize, printable
from sed.types import Floats
from streaming.live.terminal.meter import DIM, RED, YELLOW, LevelMeter, bar
from streaming.live.terminal.spectrogram import Line, Painter, Spectrogram
from streaming.messages import AudioBlock, InputStatus, Status

GUTTER = 6  # characters beside a spectrogram, for frequencies
MIN_SPECTROGRAM_LINES = 2  # with fewer lines there is no spectrogram
HIGH_LOAD = 0.8  # real-time factor that is yellow; red from 1, where the model does not keep up
MAX_LABEL_WIDTH = 24  # characters
ENTRY_WIDTH = 26  # characters of an event in the log, without label and input
_MAX_NOTICE_LINES = 4
_BAR_SECONDS = 0.25  # of an event, per character of its bar
_TICK_SECONDS, _TICK_CHARACTERS = (1, 2, 5, 10, 20, 30), 12  # steps of the axis, and the shortest


def one_line(text: str) -> str:
    """Return text on one line and without control characters, safe to print in a terminal."""
    return printable(" ".join(text.split()))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 59.95 else clock_time(int(seconds)).removeprefix("0:")


def _frequency(hz: float | None, width: int) -> Segment:
    """Return the frequency beside a line of a spectrogram; blanks for None."""
    text = "" if hz is None else f"{hz / 1000:.1f}k" if hz >= 1000 else f"{hz:.0f}"
    return Segment(f"{text:>{width - 1}} ", DIM)


def _time_axis(seconds_each: float, width: int) -> str:
    """Return the time axis of a spectrogram that ends now, with `seconds_each` per character."""
    step = next((s for s in _TICK_SECONDS if s / seconds_each >= _TICK_CHARACTERS), 60)
    text = "now".rjust(width)
    for seconds in range(step, int(width * seconds_each), step):
        stop = width - round(seconds / seconds_each)
        tick = f"-{seconds} s╵"
        if stop >= len(tick):
            text = text[: stop - len(tick)] + tick + text[stop:]
    return text


@dataclass(frozen=True)
class _LabelSpan:
    """The label of an event below a spectrogram."""

    start: int  # characters from the left edge; negative if it starts before it
    stop: int
    label: str
    style: Style


def _spans_line(spans: Sequence[_LabelSpan], width: int) -> Line:
    """Return a line with the labels of events; each ends where the next one starts.

    A label that is too long for its event is written after it.
    """
    seen = sorted((s for s in spans if s.start < width and s.stop > 0), key=lambda s: s.start)
    line: Line = []
    at = 0
    for span, until in zip(seen, [*(s.start for s in seen[1:]), width], strict=False):
        start = max(0, span.start)
        if until <= start:
            continue
        stop = min(max(span.stop, start + 1), until)
        inside, behind = "", span.label
        if cell_len(behind) < stop - start or until - stop < stop - start:
            inside, behind = behind, ""
        behind = set_cell_size(f" {behind}", min(cell_len(behind) + 1, until - stop))
        line.append(Segment(" " * (start - at)))
        line.append(
            Segment(set_cell_size(f" {inside}", stop - start), span.style + Style(reverse=True))
        )
        line.append(Segment(behind, span.style))
        at = stop + cell_len(behind)
    return line


@dataclass
class LogEntry:
    """An event in the log."""

    event: Event
    style: Style
    updated_at: float  # seconds of its input that were processed when the event was received
    lasts: bool

    def offset(self, processed_seconds: float) -> float:
        """Return the end of the event in seconds, or how far it is known to last by now."""
        return self.event.offset + (processed_seconds - self.updated_at if self.lasts else 0.0)

    def line(self, processed_seconds: float, label_width: int, name: str) -> Line:
        """Return the line of the event: `ENTRY_WIDTH`, label and name, then a bar."""
        event = self.event
        seconds = self.offset(processed_seconds) - event.onset
        time = f"{event.time:%H:%M:%S}" if event.time else f"{clock_time(int(event.onset)):>8}"
        style = self.style if self.lasts else None
        return [
            Segment(time, DIM),
            Segment(" ▶ " if self.lasts else "   ", style),
            Segment(set_cell_size(one_line(event.label), label_width), style),
            Segment(name, DIM),
            Segment(f"{_duration(seconds):>8}  {event.score:.2f} ", style),
            Segment(" " + bar(1.0, max(1, round(seconds / _BAR_SECONDS))), self.style),
        ]


@dataclass(frozen=True)
class LogNotice:
    """A gap or a problem in the log."""

    time: datetime
    text: str
    style: Style

    def lines(self, width: int, console: Console) -> list[Line]:
        """Return the text, wrapped, in at most four lines."""
        lines = [line.plain for line in Text(self.text).wrap(console, max(1, width - 9))]
        if len(lines) > _MAX_NOTICE_LINES:
            last = set_cell_size(lines[_MAX_NOTICE_LINES - 1].rstrip() + " ", max(0, width - 10))
            lines = [*lines[: _MAX_NOTICE_LINES - 1], last.rstrip() + "…"]
        times = [f"{self.time:%H:%M:%S} ", *[" " * 9] * (len(lines) - 1)]
        return [
            [Segment(t, DIM), Segment(x, self.style)] for t, x in zip(times, lines, strict=True)
        ]


def status_line(status: Status, width: int) -> Line:
    """Return the status of all inputs on a line: faults first, and as much as fits."""
    n_gaps = sum(source.n_gaps for source in status.sources)
    n_overflows = sum(source.n_overflows for source in status.sources)
    factor = status.real_time_factor
    parts = [
        *_losses(status.sources),
        (pluralize(n_gaps, "gap"), RED if n_gaps else DIM),
        *[(pluralize(n_overflows, "driver overflow"), RED)] * (n_overflows > 0),
        (
            f"real-time factor {factor:.2f}",
            RED if factor >= 1 else YELLOW if factor >= HIGH_LOAD else DIM,
        ),
        (f"latency {status.latency_seconds:.2f} s", DIM),
        (pluralize(status.n_events, "event"), DIM),
        (f"up {clock_time(int(status.uptime_seconds))}", DIM),
    ]
    line: Line = []
    for text, style in sorted(parts, key=lambda part: part[1] != RED):
        width -= len(text) + 2
        if width < -2:
            break
        line.append(Segment(text + "  ", style))
    return line


def _losses(sources: Sequence[InputStatus]) -> list[tuple[str, Style]]:
    dropped = [(source.n_dropped, source.sample_rate) for source in sources]
    missing = [(source.n_missing, source.sample_rate) for source in sources]
    losses = []
    for word, counts in (("dropped", dropped), ("missing", missing)):
        if n := sum(n for n, _ in counts):
            seconds = sum(n / rate for n, rate in counts)
            losses.append((f"{seconds:.2f} s {word} ({n:,} samples)", RED))
    return losses or [("0 s lost", DIM)]


@dataclass
class InputPanel:
    """What is shown of an input: level, spectrogram, labels of its events, probabilities."""

    name: str
    spectrogram: Spectrogram
    level: LevelMeter = field(default_factory=LevelMeter)
    status: InputStatus | None = None
    processed_seconds: float = 0.0  # of the input, lost ones included
    probs: Floats | None = None  # (classes,), of the last frame
    _rendered_for: tuple[int, ...] = ()
    _rendered: list[Line] = field(default_factory=list)

    @property
    def shown_name(self) -> str:
        """The name, safe to print in a terminal."""
        return one_line(self.name)

    @property
    def description(self) -> str:
        """The name, rate and number of channels, for the header."""
        if self.status is None:
            return self.shown_name
        n = self.status.n_channels
        kilohertz = f"{self.status.sample_rate / 1000:g} kHz"
        return f"{self.shown_name}, {kilohertz}, {n} channel{'s' * (n > 1)}"

    def add_audio(self, audio: AudioBlock) -> None:
        """Take audio and the results that it completed."""
        self.processed_seconds = (audio.start + len(audio.block)) / audio.sample_rate
        self.level.update(audio)
        if len(audio.log_mel):
            self.spectrogram.push(audio.log_mel)
        if len(audio.frame_probs):
            self.probs = audio.frame_probs[-1]

    def set_status(self, status: InputStatus) -> None:
        """Take the status; an input that is not listening has no probabilities."""
        self.status = status
        if status.state != "listening":
            self.probs = None

    def level_line(self, name_width: int, width: int) -> Line:
        """Return the line with the level."""
        state = self.status.state if self.status else "listening"
        return self.level.line(set_cell_size(self.shown_name, name_width), state, width)

    def spectrogram_lines(self, painter: Painter, n_cells: int, layout: Layout) -> list[Line]:
        """Return the spectrogram with its frequencies; rendered again when it has changed."""
        wanted = self.spectrogram.n_cells, n_cells, layout.spectrogram_lines
        if self._rendered_for != wanted:
            self._rendered_for = wanted
            levels = self.spectrogram.quantize(n_cells, 2 * layout.spectrogram_lines)
            self._rendered = painter.render(levels)
            if layout.gutter:
                hz = self.spectrogram.row_hz(layout.spectrogram_lines).tolist()
                for i, line in enumerate(self._rendered):
                    line.insert(0, _frequency(None if i % 2 else hz[i], layout.gutter))
        return self._rendered

    def labels_line(self, entries: Iterable[LogEntry], n_cells: int, layout: Layout) -> Line:
        """Return the line below the spectrogram, with the labels of the input's events."""
        spans = [
            _LabelSpan(
                self._cell(entry.event.onset, n_cells),
                self._cell(entry.offset(self.processed_seconds), n_cells),
                one_line(entry.event.label),
                entry.style,
            )
            for entry in entries
            if entry.event.file == self.name
        ]
        return [Segment(" " * layout.gutter), *_spans_line(spans, n_cells)]

    def time_axis(self, n_cells: int, layout: Layout) -> Line:
        """Return the time axis of the spectrogram."""
        axis = _time_axis(self.spectrogram.cell_seconds, n_cells)
        return [Segment(" " * layout.gutter + axis, DIM)]

    def _cell(self, seconds: float, n_cells: int) -> int:
        """Return the character of a spectrogram of `n_cells` characters at a time."""
        ago = self.spectrogram.end_seconds - seconds
        return n_cells - round(ago / self.spectrogram.cell_seconds)


class Layout(NamedTuple):
    """The parts of the view that a terminal has room for."""

    has_header: bool
    n_meters: int
    n_spectrograms: int
    spectrogram_lines: int  # of each
    gutter: int  # characters for the frequencies
    classes_width: int

    @classmethod
    def of(cls, width: int, height: int, n_sources: int) -> Layout:
        """Return the layout for a terminal of `width` by `height` characters.

        Half of the lines below header and levels are for a spectrogram, two thirds for several.
        """
        has_header = height >= 10
        n_meters = min(n_sources, height // 4)
        rest = height - 1 - has_header - n_meters
        upper = rest // 2 if n_meters == 1 else rest * 2 // 3
        n_spectrograms = next(
            (n for n in range(n_meters, 0, -1) if (upper - 1) // n - 1 >= MIN_SPECTROGRAM_LINES), 0
        )
        is_wide = width >= 60
        return cls(
            has_header,
            n_meters,
            n_spectrograms,
            (upper - 1) // n_spectrograms - 1 if n_spectrograms else 0,  # a line for the events
            GUTTER if is_wide else 0,
            min(44, width * 9 // 25) if is_wide else 0,
        )
