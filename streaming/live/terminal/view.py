"""Draw live messages in a terminal: levels, spectrograms, classes, and a log of events.

::

    sed listen  default, 50 classes  microphone, 48 kHz, 1 channel     06:31:51
    microphone ━━━━━━━━━━━━━━━━━━──┼────┃────┼───────  -31.0 dBFS  peak -14.2
     2.5k ▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀
            ▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀
           siren                                     car_horn
                           -4 s╵                -2 s╵                   now

    ▶ car_horn  ━━━━━━━━━  0.89    06:31:36    hand_saw    3.2 s  0.97  ━━━━━━
      siren                0.01    06:31:48  ▶ car_horn    0.6 s  0.64  ━

    0 s lost  0 gaps  real-time factor 0.05  latency 0.03 s  14 events  up 0:01:51

Each input has a level and, where there is room, a spectrogram of its own: one that jumped between
inputs could not be read. In a small terminal the spectrograms are left out first, then the header,
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
from streaming.live.terminal.meter import BOLD, DIM, RED, YELLOW, bar
from streaming.live.terminal.panels import (
    ENTRY_WIDTH,
    MAX_LABEL_WIDTH,
    InputPanel,
    Layout,
    LogEntry,
    LogNotice,
    one_line,
    status_line,
)
from streaming.live.terminal.spectrogram import Line, Painter, Spectrogram
from streaming.messages import (
    AudioBlock,
    EventEnded,
    EventStarted,
    FaultReporter,
    Gap,
    Message,
    Problem,
    Status,
)

REDRAW_SECONDS = 0.25  # from one drawing to the next, at least
LOG_LENGTH = 200  # events and notices that are kept
COLOURS = ("cyan", "magenta", "green", "bright_blue", "yellow")  # of the labels
BLANK_LINE_HEIGHT = 20  # lines of a terminal from which one may stay empty
MAX_CLASSES = 10  # that are shown
FAINT_PROB = 0.1  # probability below which a class is dim
MAX_NAME_WIDTH = 14  # characters of an input in the log
NAME = "sed listen"
TO_ASCII = str.maketrans("▶┃─┼━╸╵…", ">|-+==|~")  # other characters become question marks


class TerminalView:
    """Shows live sound in a terminal; a sink of messages.

    It is drawn when messages come, at most four times per second, on the alternate screen. At the
    end that screen is closed, and the last state is printed to the normal one.

    Parameters
    ----------
    labels
        One per class, in the order of the probabilities.
    log_mel
        The spectrogram of the model.
    model
        Name of the model, for the header.
    console
        The terminal; standard output if not given.
    now
        Returns the current time, with its time zone.
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
        self._log_mel = log_mel
        self._model = f"{one_line(model)}, {len(labels)} classes"
        self._console = console or Console()
        self._label_width = min(MAX_LABEL_WIDTH, max(cell_len(one_line(label)) for label in labels))
        self._painter = Painter(self._console)
        self._now = now
        self._drawn_at: datetime | None = None
        self._is_open = False
        self._faults = FaultReporter()
        self._inputs: dict[str, InputPanel] = {}
        self._log: deque[LogEntry | LogNotice] = deque(maxlen=LOG_LENGTH)
        self._lasting: dict[tuple[str, str, float], LogEntry] = {}
        self._status: Status | None = None

    def handle(self, message: Message) -> Sequence[Message]:
        """Take a message, and draw if the last drawing is old enough."""
        match message:
            case AudioBlock():
                self._input(message.source).add_audio(message)
            case EventStarted():
                self._start(message.event)
            case EventEnded():
                self._end(message.event)
            case Gap():
                self._add_gap(message)
            case Problem():
                self._add_notice(self._now(), message.text, YELLOW)
            case Status():
                self._status = message
                for status in message.sources:
                    self._input(status.name).set_status(status)
        now = self._now()
        if self._drawn_at and abs((now - self._drawn_at).total_seconds()) < REDRAW_SECONDS:
            return ()
        self._drawn_at = now
        return self._guarded(self._draw)

    def close(self) -> Sequence[Message]:
        """Close the alternate screen, and print the last state."""
        return self._guarded(self._finish)

    def _guarded(self, draw: Callable[[], None]) -> Sequence[Message]:
        """Draw, unless that failed before; report the first failure."""
        if self._faults.is_faulty:
            return ()
        try:
            draw()
        except OSError as error:
            reason = error.strerror or error
            return self._faults.update(f"cannot draw in the terminal any more: {reason}")
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

    def _input(self, name: str) -> InputPanel:
        if name not in self._inputs:
            self._inputs[name] = InputPanel(name, Spectrogram(self._log_mel))
        return self._inputs[name]

    def _style(self, label: str) -> Style:
        if label not in self._styles:  # in order of appearance, so that neighbours differ
            self._styles[label] = Style(color=COLOURS[len(self._styles) % len(COLOURS)])
        return self._styles[label]

    def _start(self, event: Event) -> None:
        updated_at = self._input(event.file).processed_seconds
        entry = LogEntry(event, self._style(event.label), updated_at, lasts=True)
        self._lasting[event.file, event.label, event.onset] = entry
        self._log.append(entry)

    def _end(self, event: Event) -> None:
        key = event.file, event.label, event.onset
        if key not in self._lasting:
            self._start(event)
        entry = self._lasting.pop(key)
        entry.event, entry.lasts = event, False

    def _add_gap(self, gap: Gap) -> None:
        panel = self._input(gap.source)
        lost = "some sound"
        if gap.n_samples:
            panel.probs = None
            panel.spectrogram.skip(gap.offset)
            lost = f"{gap.offset - gap.onset:.2f} s"
        self._add_notice(gap.time, f"{gap.source}: {lost} lost: {gap.reason}", RED)

    def _add_notice(self, time: datetime, text: str, style: Style) -> None:
        self._log.append(LogNotice(time, one_line(text), style))

    def _lines(self, width: int, height: int, *, is_filled: bool) -> list[Line]:
        """Return all lines of the view; fewer than `height` if it need not be filled."""
        inputs = list(self._inputs.values())
        layout = Layout.of(width, height, len(inputs))
        n_cells = width - layout.gutter
        entries = [entry for entry in self._log if isinstance(entry, LogEntry)]
        lines = [self._header(width)] if layout.has_header else []
        for i, panel in enumerate(inputs[: layout.n_meters]):
            lines.append(panel.level_line(min(self._name_width(), width // 4), width))
            if i < layout.n_spectrograms:
                lines += panel.spectrogram_lines(self._painter, n_cells, layout)
                lines.append(panel.labels_line(entries, n_cells, layout))
        if layout.n_spectrograms:
            lines.append(inputs[0].time_axis(n_cells, layout))
        if height >= BLANK_LINE_HEIGHT:
            lines.append([])
        lines += self._lower(width, height - len(lines) - 1, layout.classes_width, is_filled)
        lines.append(status_line(self._status, width) if self._status else [])
        if self._console.options.ascii_only:
            lines = [[Segment(_to_ascii(text), style) for text, style, _ in line] for line in lines]
        return [Segment.adjust_line_length(line, width) for line in lines]

    def _header(self, width: int) -> Line:
        time = f" {self._now():%H:%M:%S}"
        inputs = ", ".join(panel.description for panel in self._inputs.values())
        rest = set_cell_size(f"  {self._model}  {inputs}", max(0, width - len(NAME + time)))
        return [Segment(NAME, BOLD), Segment(rest), Segment(time, DIM)]

    def _name_width(self) -> int:
        """Return the width of the longest name of an input."""
        return max(cell_len(panel.shown_name) for panel in self._inputs.values())

    def _lower(self, width: int, height: int, left: int, is_filled: bool) -> list[Line]:
        """Return the current classes and, to their right, the log."""
        classes = self._classes(left - 2, height) if left else []
        log = self._log_lines(width - left, height)
        n = height if is_filled else max(len(classes), len(log))
        classes, log = (lines + [[]] * (n - len(lines)) for lines in (classes, log))
        return [Segment.adjust_line_length(classes[i], left) + log[i] for i in range(n)]

    def _classes(self, width: int, n: int) -> list[Line]:
        """Return the most probable classes of the last frames, each the maximum over the inputs."""
        known = [panel.probs for panel in self._inputs.values() if panel.probs is not None]
        if not known:
            return []
        probs = np.max(known, axis=0)
        lasting = {label for _, label, _ in self._lasting}
        lines = []
        for c in np.argsort(-probs, kind="stable")[: min(n, MAX_CLASSES)].tolist():
            label = self._labels[c]
            style = self._style(label) if label in lasting else None
            lines.append(_class_line(one_line(label), float(probs[c]), style, width))
        return lines

    def _log_lines(self, width: int, n: int) -> list[Line]:
        """Return the last lines of the log that fit."""
        lines: list[Line] = []
        for entry in reversed(self._log):
            if len(lines) >= n:
                break
            lines = [*self._entry_lines(entry, width), *lines]
        return lines[max(0, len(lines) - n) :]

    def _entry_lines(self, entry: LogEntry | LogNotice, width: int) -> list[Line]:
        if isinstance(entry, LogNotice):
            return entry.lines(width, self._console)
        panel = self._inputs[entry.event.file]
        has_names = len(self._inputs) > 1 and width >= 60
        name_width = min(self._name_width(), MAX_NAME_WIDTH) + 1 if has_names else 0
        label_width = min(self._label_width, max(0, width - ENTRY_WIDTH - name_width))
        name = set_cell_size(f" {panel.shown_name}", name_width)
        return [entry.line(panel.processed_seconds, label_width, name)]


def _class_line(label: str, prob: float, style: Style | None, width: int) -> Line:
    """Return a class with a bar for its probability; `style` if an event of the class lasts."""
    name_width = min(MAX_LABEL_WIDTH, width // 2)
    number = f" {prob:.2f}" if width >= 26 else ""
    bar_width = max(0, width - name_width - 3 - len(number))
    mark = "▶ " if style else "  "
    style = style or (DIM if prob < FAINT_PROB else None)
    return [
        Segment(mark + set_cell_size(label, name_width) + " ", style),
        Segment(f"{bar(prob, bar_width):{bar_width}}{number}", style),
    ]


def _joined(lines: Sequence[Line]) -> Segments:
    """Return lines as one renderable, without a line break after the last one."""
    segments = [segment for line in lines for segment in (*line, Segment.line())]
    return Segments(segments[:-1])


def _to_ascii(text: str) -> str:
    """Return text in ASCII, for terminals that have nothing else."""
    return text.translate(TO_ASCII).encode("ascii", "replace").decode("ascii")
