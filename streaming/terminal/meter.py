"""How loud an input is, as numbers and as a line of a terminal."""

from __future__ import annotations

import math

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from sed.features.log_mel import amplitude_to_db
from streaming.messages import CLIPPED, AudioBlock
from streaming.terminal.spectrogram import Line

DIM, BOLD = Style(dim=True), Style(bold=True)
GREEN, YELLOW, RED = Style(color="green"), Style(color="yellow"), Style(color="bright_red")
CLIPPING = Style(color="bright_red", bold=True, reverse=True)

LOWEST_DB = -60.0  # where the meter begins; it ends at full scale, 0 dB
ZONES = ((-18.0, GREEN), (-6.0, YELLOW), (0.0, RED))  # of the meter, up to so many decibels
TICKS_DB = (-48.0, -36.0, -24.0, -12.0)  # marked on the meter
SMOOTHING_SECONDS = 0.3  # that the level is taken over
FALL_DB = 12.0  # a second, by which the mark of the peak comes down: slower than the level
CLIPPING_SECONDS = 2.0  # that the clipping mark stays


def bar(share: float, width: int) -> str:
    """Return a bar that fills a share of so many characters, to half of one."""
    full, half = divmod(round(max(0.0, min(1.0, share)) * width * 2), 2)
    return "━" * full + "╸" * half


class Level:
    """How loud an input is: its level, a peak that comes down slowly, and whether it clipped."""

    def __init__(self) -> None:
        self._mean_square = self._peak = self._clipping_seconds = 0.0

    def take(self, heard: AudioBlock) -> None:
        """Take a piece of sound."""
        peak, rms = heard.peak, heard.rms
        if not math.isfinite(rms):
            return
        seconds = len(heard.block) / heard.sample_rate
        share = 1.0 - math.exp(-seconds / SMOOTHING_SECONDS)
        self._mean_square += share * (rms * rms - self._mean_square)
        self._peak = max(peak, self._peak * 10.0 ** (-FALL_DB * seconds / 20.0))
        self._clipping_seconds = (
            CLIPPING_SECONDS if peak >= CLIPPED else self._clipping_seconds - seconds
        )

    @property
    def is_clipping(self) -> bool:
        """Whether it clipped of late."""
        return self._clipping_seconds > 0

    @property
    def rms_db(self) -> float:
        """The level, in decibels below full scale."""
        return amplitude_to_db(math.sqrt(self._mean_square))

    @property
    def peak_db(self) -> float:
        """The peak, in decibels below full scale."""
        return amplitude_to_db(self._peak)


def meter(name: str, level: Level, state: str, width: int) -> Line:
    """Return the line of an input: its name, its level over -60 to 0 dB, and the numbers."""
    line = [Segment(name + " ", BOLD)]
    if state != "listening":
        return [*line, Segment(state, RED if state == "lost" else DIM)]
    numbers = f" {max(level.rms_db, -99):5.1f} dBFS" if width >= 50 else ""
    numbers += f"  peak {max(level.peak_db, -99):5.1f}" if width >= 80 else ""
    mark, style = (" CLIP ", CLIPPING) if level.is_clipping else (" " * 6, None)
    line += _meter_bar(level, max(0, width - cell_len(name) - len(numbers) - len(mark) - 2))
    return [*line, Segment(numbers + " "), Segment(mark, style)]


def _meter_bar(level: Level, width: int) -> Line:
    def place(db: float) -> int:
        return max(0, round((1 - db / LOWEST_DB) * width))

    text = bar(1 - level.rms_db / LOWEST_DB, width)
    ends = [place(db) for db, _ in ZONES]
    line = [
        Segment(text[begin:end], style)
        for begin, end, (_, style) in zip([0, *ends], ends, ZONES, strict=False)
    ]
    ticks = {place(db) for db in TICKS_DB}
    track = "".join("┼" if i in ticks else "─" for i in range(width))
    peak = min(width - 1, place(level.peak_db))
    if peak < len(text):
        return [*line, Segment(track[len(text) :], DIM)]
    before, after = track[len(text) : peak], track[peak + 1 :]
    return [*line, Segment(before, DIM), Segment("┃", BOLD), Segment(after, DIM)]
