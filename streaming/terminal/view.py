"""What a listener says, as a picture that moves in a terminal.

::

    sed listen  default, 50 classes  microphone, 48 kHz, 1 channel     06:31:51
    microphone ━━━━━━━━━━━━━━━━━━──┼────┃────┼───────  -31.0 dBFS  peak -14.2
     2.5k ▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀
            ▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀
           siren                                     car_horn
                           -4 s╵                -2 s╵                   now

    ▶ car_horn  ━━━━━━━━━  0.89    06:31:36    hand_saw    3.2 s  0.97  ━━━━━━
      siren                0.01    06:31:48  ▶ car_horn    0.6 s  0.64  ━

    lost 0  load 0.05  latency 0.03 s  gaps 0  overflows 0  events 14  up 0:01:51

Every input has a level and, where there is room, a spectrogram of its own: a picture that jumps
from one to the other cannot be read. A small terminal does without the spectrograms, the header,
the classes and the levels; the log and the last line stay longest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.control import Control
from rich.segment import Segment, Segments
from rich.style import Style

from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from streaming.messages import AudioBlock, EventEnded, EventStarted, Gap, Message, Problem, Status
from streaming.terminal import panels
from streaming.terminal.meter import BOLD, DIM, RED, YELLOW, meter
from streaming.terminal.spectrogram import Brush, Line, Spectrogram

REDRAW_SECONDS = 0.25  # from one picture to the next, at least
LOG_LENGTH = 200  # events and notes kept
COLOURS = ("cyan", "magenta", "green", "bright_blue", "yellow")  # of the labels
AIRY = 20  # lines of a terminal, from which one may stay empty
MOST_CLASSES = 10  # shown
MOST_NAME = 14  # characters of an input in the log
NAME = "sed listen"
TO_ASCII = str.maketrans("▶┃─┼━╸╵…", ">|-+==|~")  # the rest becomes question marks


class TerminalView:
    """Shows in a terminal what is heard, found and lost; a sink of messages.

    It is drawn when messages come, at most four times a second, on a screen of its own. At the end
    that is closed, and the last picture stays above what is printed next.

    Parameters
    ----------
    labels
        One per class, in the order of the probabilities.
    log_mel
        What the columns of the spectrogram are.
    model
        Its name, for the header.
    console
        The terminal; the one of standard output if not given.
    now
        What tells the time.
    """

    def __init__(
        self,
        labels: Sequence[str],
        log_mel: LogMelConfig,
        model: str = "default",
        *,
        console: Console | None = None,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self._labels = tuple(labels)
        self._styles: dict[str, Style] = {}  # of the labels of events
        self._front_end = log_mel
        self._model = f"{panels.shown(model)}, {len(labels)} classes"
        self._console = console or Console()
        self._label_width = min(
            panels.MOST_LABEL, max(cell_len(panels.shown(label)) for label in labels)
        )
        self._brush = Brush(self._console)
        self._now = now
        self._drawn_at: datetime | None = None
        self._is_open = self._is_broken = False
        self._sources: dict[str, panels.Source] = {}
        self._log: deque[panels.Entry | panels.Note] = deque(maxlen=LOG_LENGTH)
        self._lasting: dict[tuple[str, str, float], panels.Entry] = {}
        self._status: Status | None = None

    def handle(self, message: Message) -> Sequence[Message]:
        """Take a message, and draw if it is time to."""
        match message:
            case AudioBlock():
                self._source(message.source).take(message)
            case EventStarted():
                self._begin(message.event)
            case EventEnded():
                self._end(message.event)
            case Gap():
                self._lose(message)
            case Problem():
                self._note(self._now(), message.text, YELLOW)
            case Status():
                self._status = message
                for status in message.sources:
                    self._source(status.name).report(status)
        now = self._now()
        if self._drawn_at and abs((now - self._drawn_at).total_seconds()) < REDRAW_SECONDS:
            return ()
        self._drawn_at = now
        return self._guarded(self._draw)

    def close(self) -> Sequence[Message]:
        """Give the screen back, and leave the last picture on it."""
        return self._guarded(self._finish)

    def _guarded(self, draw: Callable[[], None]) -> Sequence[Message]:
        """Draw, unless the terminal is gone; tell so once."""
        if self._is_broken:
            return ()
        try:
            draw()
        except OSError as error:
            self._is_broken = True
            return [Problem(f"the terminal cannot be drawn on any more: {error.strerror or error}")]
        return ()

    def _draw(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._console.set_alt_screen()
            self._console.show_cursor(False)
        width, height = self._console.size
        lines = self._lines(width, height, is_filled=True)
        self._console.print(Control.home(), _joined(lines), end="", crop=False)

    def _finish(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._console.set_alt_screen(False)
        self._console.show_cursor()
        width, height = self._console.size
        lines = self._lines(width, max(1, height - 1), is_filled=False)
        self._console.print(_joined([*lines, []]), end="", crop=False)

    def _source(self, name: str) -> panels.Source:
        if name not in self._sources:
            self._sources[name] = panels.Source(name, Spectrogram(self._front_end))
        return self._sources[name]

    def _style(self, label: str) -> Style:
        if label not in self._styles:  # in their order, so that neighbours differ
            self._styles[label] = Style(color=COLOURS[len(self._styles) % len(COLOURS)])
        return self._styles[label]

    def _begin(self, event: Event) -> None:
        told_at = self._source(event.file).processed_seconds
        entry = panels.Entry(event, self._style(event.label), told_at, lasts=True)
        self._lasting[event.file, event.label, event.onset] = entry
        self._log.append(entry)

    def _end(self, event: Event) -> None:
        key = event.file, event.label, event.onset
        if key not in self._lasting:
            self._begin(event)
        entry = self._lasting.pop(key)
        entry.event, entry.lasts = event, False

    def _lose(self, gap: Gap) -> None:
        source = self._source(gap.source)
        lost = "some sound"
        if gap.n_samples:
            source.probs = None
            source.spectrogram.skip(gap.offset)
            lost = f"{gap.offset - gap.onset:.2f} s"
        self._note(gap.time, f"{gap.source}: {lost} lost: {gap.reason}", RED)

    def _note(self, time: datetime, text: str, style: Style) -> None:
        self._log.append(panels.Note(time, panels.shown(text), style))

    def _lines(self, width: int, height: int, *, is_filled: bool) -> list[Line]:
        """Return a picture of so many characters; if it need not be filled, it may be lower."""
        sources = list(self._sources.values())
        layout = panels.Layout.of(width, height, len(sources))
        lines = [self._header(width)] if layout.has_header else []
        for i, source in enumerate(sources[: layout.n_meters]):
            lines.append(self._meter(source, width))
            if i < layout.n_pictures:
                lines += self._picture(source, width, layout)
        if layout.n_pictures:
            cell_seconds = sources[0].spectrogram.cell_seconds
            axis = panels.time_axis(cell_seconds, width - layout.gutter)
            lines.append([Segment(" " * layout.gutter + axis, DIM)])
        if height >= AIRY:
            lines.append([])
        lines += self._lower(width, height - len(lines) - 1, layout.classes_width, is_filled)
        lines.append(panels.status_line(self._status, width) if self._status else [])
        if self._console.options.ascii_only:
            lines = [[Segment(_in_ascii(text), style) for text, style, _ in line] for line in lines]
        return [Segment.adjust_line_length(line, width) for line in lines]

    def _header(self, width: int) -> Line:
        time = f" {self._now():%H:%M:%S}"
        inputs = ", ".join(source.description for source in self._sources.values())
        rest = set_cell_size(f"  {self._model}  {inputs}", max(0, width - len(NAME + time)))
        return [Segment(NAME, BOLD), Segment(rest), Segment(time, DIM)]

    def _meter(self, source: panels.Source, width: int) -> Line:
        name = set_cell_size(source.shown_name, min(self._longest(), width // 4))
        return meter(name, source.level, source.state, width)

    def _longest(self) -> int:
        """Return the length of the longest name of an input."""
        return max(cell_len(source.shown_name) for source in self._sources.values())

    def _picture(self, source: panels.Source, width: int, layout: panels.Layout) -> list[Line]:
        """Return the spectrogram of an input, and below it the events that were found in it."""
        n_cells = width - layout.gutter
        spans = [
            panels.Span(
                source.place(told.event.onset, n_cells),
                source.place(told.offset(source.processed_seconds), n_cells),
                panels.shown(told.event.label),
                told.style,
            )
            for told in self._log
            if isinstance(told, panels.Entry) and told.event.file == source.name
        ]
        names = [Segment(" " * layout.gutter), *panels.spans_line(spans, n_cells)]
        return [*source.picture(self._brush, n_cells, layout), names]

    def _lower(self, width: int, height: int, left: int, is_filled: bool) -> list[Line]:
        """Return the classes of this moment and, beside them, the log."""
        classes = self._classes(left - 2, height) if left else []
        log = self._log_lines(width - left, height)
        n = height if is_filled else max(len(classes), len(log))
        classes, log = (lines + [[]] * (n - len(lines)) for lines in (classes, log))
        return [Segment.adjust_line_length(classes[i], left) + log[i] for i in range(n)]

    def _classes(self, width: int, n: int) -> list[Line]:
        """Return the likeliest classes of the last frames, in whatever input they are."""
        known = [s.probs for s in self._sources.values() if s.probs is not None]
        if not known:
            return []
        probs = np.max(known, axis=0)
        lasting = {label for _, label, _ in self._lasting}
        lines = []
        for c in np.argsort(-probs, kind="stable")[: min(n, MOST_CLASSES)].tolist():
            label = self._labels[c]
            style = self._style(label) if label in lasting else None
            lines.append(panels.class_line(panels.shown(label), float(probs[c]), style, width))
        return lines

    def _log_lines(self, width: int, n: int) -> list[Line]:
        """Return the last lines of the log that fit."""
        lines: list[Line] = []
        for told in reversed(self._log):
            if len(lines) >= n:
                break
            lines = [*self._told(told, width), *lines]
        return lines[max(0, len(lines) - n) :]

    def _told(self, told: panels.Entry | panels.Note, width: int) -> list[Line]:
        if isinstance(told, panels.Note):
            return panels.note_lines(told, width, self._console)
        source = self._sources[told.event.file]
        has_names = len(self._sources) > 1 and width >= 60
        name_width = min(self._longest(), MOST_NAME) + 1 if has_names else 0
        label_width = min(self._label_width, max(0, width - panels.ENTRY_WIDTH - name_width))
        name = set_cell_size(f" {source.shown_name}", name_width)
        return [panels.entry_line(told, source.processed_seconds, label_width, name)]


def _joined(lines: Sequence[Line]) -> Segments:
    """Return lines as one thing to print, without a line's end after the last."""
    segments = [segment for line in lines for segment in (*line, Segment.line())]
    return Segments(segments[:-1])


def _in_ascii(text: str) -> str:
    """Return text as a terminal can have it that knows nothing else."""
    return text.translate(TO_ASCII).encode("ascii", "replace").decode("ascii")
