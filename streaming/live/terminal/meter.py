"""Measure the level of an input, and show it on a line of a terminal."""

from __future__ import annotations

import math

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from sed.features.log_mel import amplitude_to_db
from streaming.live.terminal.spectrogram import Line
from streaming.messages import CLIPPED, AudioBlock

DIM, BOLD = Style(dim=True), Style(bold=True)
GREEN, YELLOW, RED = Style(color="green"), Style(color="yellow"), Style(color="bright_red")
CLIPPING = Style(color="bright_red", bold=True, reverse=True)

START_DB = -60.0  # left end of the meter; the right end is full scale, 0 dB
ZONES = ((-18.0, GREEN), (-6.0, YELLOW), (0.0, RED))  # colours of the meter up to these decibels
TICKS_DB = (-48.0, -36.0, -24.0, -12.0)  # marked on the meter
SMOOTHING_SECONDS = 0.3  # time constant of the level
FALL_DB = 12.0  # per second, by which the peak mark falls: slower than the level
CLIPPING_SECONDS = 2.0  # for which the clipping mark stays


def bar(share: float, width: int) -> str:
    """Return a bar that fills a share of `width` characters, rounded to half a character."""
    full, half = divmod(round(max(0.0, min(1.0, share)) * width * 2), 2)
    return "━" * full + "╸" * half


class LevelMeter:
    """The level of an input, a peak that falls slowly, and whether the input clipped."""

    def __init__(self) -> None:
        self._mean_square = self._peak = self._clipping_seconds = 0.0

    def update(self, audio: AudioBlock) -> None:
        """Take a block of audio.

        With the length t of the block: mean_square += (1 - exp(-t / tau)) (rms^2 - mean_square).
        """
        peak, rms = audio.peak, audio.rms
        if not math.isfinite(rms):
            return
        seconds = len(audio.block) / audio.sample_rate
        share = 1.0 - math.exp(-seconds / SMOOTHING_SECONDS)
        self._mean_square += share * (rms * rms - self._mean_square)
        self._peak = max(peak, self._peak * 10.0 ** (-FALL_DB * seconds / 20.0))
        self._clipping_seconds = (
            CLIPPING_SECONDS if peak >= CLIPPED else self._clipping_seconds - seconds
        )

    @property
    def is_clipping(self) -> bool:
        """Whether the input clipped in the last seconds."""
        return self._clipping_seconds > 0

    @property
    def rms_db(self) -> float:
        """The level in decibels relative to full scale."""
        return amplitude_to_db(math.sqrt(self._mean_square))

    @property
    def peak_db(self) -> float:
        """The peak in decibels relative to full scale."""
        return amplitude_to_db(self._peak)

    def line(self, name: str, state: str, width: int) -> Line:
        """Return a line with the name of the input, its level from -60 to 0 dB, and the numbers.

        An input that is lost or ended has its state in place of the level.
        """
        line = [Segment(name + " ", BOLD)]
        if state != "listening":
            return [*line, Segment(state, RED if state == "lost" else DIM)]
        numbers = f" {max(self.rms_db, -99):5.1f} dBFS" if width >= 50 else ""
        numbers += f"  peak {max(self.peak_db, -99):5.1f}" if width >= 80 else ""
        mark, style = (" CLIP ", CLIPPING) if self.is_clipping else (" " * 6, None)
        line += _meter_bar(self, max(0, width - cell_len(name) - len(numbers) - len(mark) - 2))
        return [*line, Segment(numbers + " "), Segment(mark, style)]


def _meter_bar(level: LevelMeter, width: int) -> Line:
    def place(db: float) -> int:
        return max(0, round((1 - db / START_DB) * width))

    text = bar(1 - level.rms_db / START_DB, width)
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
