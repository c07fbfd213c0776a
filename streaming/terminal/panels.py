"""The parts of the terminal view, each a few lines of so many characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from sed.events.tracker import Event
from sed.text import clock_time, printable
from sed.types import Floats
from streaming.messages import AudioBlock, InputStatus, Status
from streaming.terminal.meter import DIM, RED, YELLOW, Level, bar
from streaming.terminal.spectrogram import Brush, Line, Spectrogram

GUTTER = 6  # characters beside a spectrogram, for frequencies
LEAST_PICTURE = 2  # lines of a spectrogram; with fewer there is none
HIGH_LOAD = 0.8  # yellow from here; red where it does not keep up
FAINT = 0.1  # probability below which a class is shown dimly
MOST_LABEL = 24  # characters
MOST_NOTE_LINES = 4  # of the log, for one trouble
ENTRY_WIDTH = 26  # characters of an entry of the log: time, mark, duration and score
BAR_SECONDS = 0.25  # of an event in a character of its bar
TICK_SECONDS, TICK_CHARACTERS = (1, 2, 5, 10, 20, 30), 12  # from tick to tick, at least


def shown(text: str) -> str:
    """Return text as a terminal may have it: on one line and without control characters."""
    return printable(" ".join(text.split()))


def duration(seconds: float) -> str:
    """Return a duration as people read it."""
    return f"{seconds:.1f} s" if seconds < 59.95 else clock_time(int(seconds)).removeprefix("0:")


def frequency(hz: float | None, width: int) -> Segment:
    """Return what stands beside a line of a spectrogram: its frequency, or nothing."""
    text = "" if hz is None else f"{hz / 1000:.1f}k" if hz >= 1000 else f"{hz:.0f}"
    return Segment(f"{text:>{width - 1}} ", DIM)


def time_axis(seconds_each: float, width: int) -> str:
    """Return the times under a picture that ends now, each character so many seconds."""
    step = next((s for s in TICK_SECONDS if s / seconds_each >= TICK_CHARACTERS), 60)
    text = "now".rjust(width)
    for seconds in range(step, int(width * seconds_each), step):
        stop = width - round(seconds / seconds_each)
        tick = f"-{seconds} s╵"
        if stop >= len(tick):
            text = text[: stop - len(tick)] + tick + text[stop:]
    return text


@dataclass(frozen=True)
class Span:
    """An event as it stands under a picture."""

    start: int  # characters from the left edge, maybe before it
    stop: int
    label: str
    style: Style


def spans_line(spans: Sequence[Span], width: int) -> Line:
    """Return the line that names the events in a picture; each ends where the next one begins.

    A label that is too long for its event stands behind it.
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


def class_line(label: str, prob: float, style: Style | None, width: int) -> Line:
    """Return a class with its probability as a bar; with a style if an event of it lasts."""
    name_width = min(MOST_LABEL, width // 2)
    number = f" {prob:.2f}" if width >= 26 else ""
    bar_width = max(0, width - name_width - 3 - len(number))
    mark = "▶ " if style else "  "
    style = style or (DIM if prob < FAINT else None)
    return [
        Segment(mark + set_cell_size(label, name_width) + " ", style),
        Segment(f"{bar(prob, bar_width):{bar_width}}{number}", style),
    ]


@dataclass
class Entry:
    """An event in the log."""

    event: Event
    style: Style
    told_at: float  # seconds that its input had been heard for when it was told
    lasts: bool

    def offset(self, processed_seconds: float) -> float:
        """Return when it ended, or how far it is known to reach by now."""
        return self.event.offset + (processed_seconds - self.told_at if self.lasts else 0.0)


@dataclass(frozen=True)
class Note:
    """Something in the log that is no event."""

    time: datetime
    text: str
    style: Style


def entry_line(entry: Entry, processed_seconds: float, label_width: int, name: str) -> Line:
    """Return an event of the log; what is told of it takes ENTRY_WIDTH, its label and the name."""
    event = entry.event
    seconds = entry.offset(processed_seconds) - event.onset
    time = f"{event.time:%H:%M:%S}" if event.time else f"{clock_time(int(event.onset)):>8}"
    style = entry.style if entry.lasts else None
    return [
        Segment(time, DIM),
        Segment(" ▶ " if entry.lasts else "   ", style),
        Segment(set_cell_size(shown(event.label), label_width), style),
        Segment(name, DIM),
        Segment(f"{duration(seconds):>8}  {event.score:.2f} ", style),
        Segment(" " + bar(1.0, max(1, round(seconds / BAR_SECONDS))), entry.style),
    ]


def note_lines(note: Note, width: int, console: Console) -> list[Line]:
    """Return the lines of a note, at most a few."""
    lines = [line.plain for line in Text(note.text).wrap(console, max(1, width - 9))]
    if len(lines) > MOST_NOTE_LINES:
        last = set_cell_size(lines[MOST_NOTE_LINES - 1].rstrip() + " ", max(0, width - 10))
        lines = [*lines[: MOST_NOTE_LINES - 1], last.rstrip() + "…"]
    times = [f"{note.time:%H:%M:%S} ", *[" " * 9] * (len(lines) - 1)]
    return [[Segment(t, DIM), Segment(x, note.style)] for t, x in zip(times, lines, strict=True)]


def status_line(status: Status, width: int) -> Line:
    """Return how listening goes; first what is wrong.

    What does not fit is left out.
    """
    n_gaps = sum(source.n_gaps for source in status.sources)
    n_overflows = sum(source.n_overflows for source in status.sources)
    slow = RED if status.real_time_factor >= 1 else YELLOW if status.real_time_factor >= HIGH_LOAD else DIM
    parts = [
        *_losses(status.sources),
        (f"load {status.real_time_factor:.2f}", slow),
        (f"latency {status.latency_seconds:.2f} s", DIM),
        (f"gaps {n_gaps}", RED if n_gaps else DIM),
        (f"overflows {n_overflows}", RED if n_overflows else DIM),
        (f"events {status.n_events}", DIM),
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
            losses.append((f"{word} {n:,} ({seconds:.2f} s)", RED))
    return losses or [("lost 0", DIM)]


@dataclass
class Source:
    """An input as it is shown."""

    name: str
    spectrogram: Spectrogram
    level: Level = field(default_factory=Level)
    status: InputStatus | None = None
    processed_seconds: float = 0.0  # of the input, lost ones included
    probs: Floats | None = None  # of the last frame
    _painted_for: tuple[int, ...] = ()
    _painted: list[Line] = field(default_factory=list)

    @property
    def shown_name(self) -> str:
        """Its name, as a terminal may have it."""
        return shown(self.name)

    @property
    def state(self) -> str:
        """Listening, lost or ended."""
        return self.status.state if self.status else "listening"

    @property
    def description(self) -> str:
        """What it is, for the header."""
        if self.status is None:
            return self.shown_name
        n = self.status.n_channels
        kilohertz = f"{self.status.sample_rate / 1000:g} kHz"
        return f"{self.shown_name}, {kilohertz}, {n} channel{'s' * (n > 1)}"

    def take(self, heard: AudioBlock) -> None:
        """Take a piece of sound."""
        self.processed_seconds = (heard.start + len(heard.block)) / heard.sample_rate
        self.level.take(heard)
        if len(heard.log_mel):
            self.spectrogram.push(heard.log_mel)
        if len(heard.frame_probs):
            self.probs = heard.frame_probs[-1]

    def report(self, status: InputStatus) -> None:
        """Take how it goes; an input that is gone has no classes."""
        self.status = status
        if status.state != "listening":
            self.probs = None

    def place(self, seconds: float, n_cells: int) -> int:
        """Return where a moment lies in a picture of so many characters."""
        ago = self.spectrogram.end_seconds - seconds
        return n_cells - round(ago / self.spectrogram.cell_seconds)

    def picture(self, brush: Brush, n_cells: int, layout: Layout) -> list[Line]:
        """Return the spectrogram with its frequencies; painted anew when there is more of it."""
        wanted = self.spectrogram.n_cells, n_cells, layout.picture_lines
        if self._painted_for != wanted:
            self._painted_for = wanted
            levels = self.spectrogram.levels(n_cells, 2 * layout.picture_lines)
            self._painted = brush.paint(levels)
            if layout.gutter:
                hz = self.spectrogram.row_hz(layout.picture_lines).tolist()
                for i, line in enumerate(self._painted):
                    line.insert(0, frequency(None if i % 2 else hz[i], layout.gutter))
        return self._painted


class Layout(NamedTuple):
    """What there is room for."""

    has_header: bool
    n_meters: int
    n_pictures: int
    picture_lines: int  # of each
    gutter: int  # characters for the frequencies
    classes_width: int

    @classmethod
    def of(cls, width: int, height: int, n_sources: int) -> Layout:
        """Return the layout for a terminal.

        Below the header and the levels, half of it is for the spectrogram, and more for several.
        """
        has_header = height >= 10
        n_meters = min(n_sources, height // 4)
        rest = height - 1 - has_header - n_meters
        upper = rest // 2 if n_meters == 1 else rest * 2 // 3
        n_pictures = next(
            (n for n in range(n_meters, 0, -1) if (upper - 1) // n - 1 >= LEAST_PICTURE), 0
        )
        is_wide = width >= 60
        return cls(
            has_header,
            n_meters,
            n_pictures,
            (upper - 1) // n_pictures - 1 if n_pictures else 0,  # a line for the events
            GUTTER if is_wide else 0,
            min(44, width * 9 // 25) if is_wide else 0,
        )
