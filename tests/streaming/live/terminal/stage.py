"""Build messages, and draw them on a terminal in memory."""

import io
import re
from datetime import UTC, datetime, timedelta

import numpy as np
from rich.console import Console

from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from streaming.live.terminal.view import TerminalView
from streaming.messages import AudioBlock, InputStatus, Status

FRONT_END = LogMelConfig()
LABELS = ("dog", "rooster", "rain")
RATE = 16_000
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NO_COLUMNS, NO_FRAMES = np.empty((0, 64), np.float32), np.empty((0, 3), np.float32)


def audio(start_seconds, amplitude=0.1, columns=NO_COLUMNS, probs=NO_FRAMES, source="mic"):
    """Return 50 ms of sound of one amplitude."""
    block = np.full((RATE // 20, 1), amplitude, np.float32)
    return AudioBlock(source, round(start_seconds * RATE), block, RATE, columns, probs)


def status(source="mic", *, state="listening", n_dropped=0, n_missing=0, n_gaps=0, load=0.12):
    account = InputStatus(source, state, RATE, 1, 0, 0, n_dropped, 0, n_missing, 0, n_gaps)
    return Status(3_723.0, load, 0.42, 7, (account,))


def event(offset, label="dog", source="mic", score=0.81):
    return Event(1.0, offset, label, score, source, NOON + timedelta(seconds=1))


def noise(n_columns=50):
    return np.random.default_rng(5).uniform(-7, 2, (n_columns, 64)).astype(np.float32)


class Stage:
    """A view, a terminal in memory, and a clock."""

    def __init__(self, width=100, height=30, labels=LABELS, file=None, **options):
        self.file = file or io.StringIO()
        options = {"color_system": "truecolor", "_environ": {}} | options
        console = Console(
            file=self.file, force_terminal=True, width=width, height=height, **options
        )
        self.now = NOON
        self.view = TerminalView(labels, FRONT_END, console=console, now=lambda: self.now)

    def play(self, seconds, **what):
        for i in range(round(seconds * 20)):
            self.now += timedelta(seconds=0.05)
            self.view.handle(audio(i / 20, **what))

    def written(self, message):
        """Return what is written to the terminal for a message, a second after the previous one."""
        self.file.seek(0)
        self.file.truncate()
        self.now += timedelta(seconds=1)
        self.view.handle(message)
        return self.file.getvalue()

    def screen(self, message=None):
        return ANSI.sub("", self.written(message or status())).split("\n")


def line_with(lines, text):
    (line,) = [line for line in lines if text in line]
    return line
