"""A spectrogram that scrolls through a terminal: two mel rows in each character, ▀.

::

    columns ─▶ cells of 0.1 s, in decibels ─▶ levels ─▶ colours, or shades if there are none
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from sed.features.log_mel import LogMelConfig, hz_to_mel, mel_to_hz
from sed.types import Floats

Levels = NDArray[np.uint8]
Line = list[Segment]

CELL_SECONDS = 0.1  # of sound in a character, about
MOST_CELLS = 1_000  # kept; no terminal is wider
N_LEVELS = 32  # of brightness
GAP = N_LEVELS  # the level of lost sound
FAINT_PERCENT, STRONG_PERCENT = 35.0, 99.7  # of the picture: where the palette begins and ends
LEAST_RANGE_DB = 36.0  # that the palette spans, so that hiss alone stays dark
ADAPTING_SECONDS = 4.0  # that the palette takes to follow the sound

MAGMA = (
    "#000004", "#1c1044", "#4f127b", "#812581", "#b5367a",
    "#e55064", "#fb8761", "#fec287", "#fcfdbf",
)  # fmt: skip
SIXTEEN = (
    "black",
    "blue",
    "magenta",
    "bright_magenta",
    "bright_red",
    "bright_yellow",
    "bright_white",
)
SHADES = " ░▒▓█"
ASCII_SHADES = " .:-=+*#%@"
LOST_COLOUR, LOST_SHADE = "bright_black", "x"


class Spectrogram:
    """The last columns of an input, as many as a terminal could show.

    Parameters
    ----------
    log_mel
        What a column is.
    """

    def __init__(self, log_mel: LogMelConfig) -> None:
        self._front_end = log_mel
        column_seconds = log_mel.hop_length / log_mel.sample_rate
        self._cell_columns = max(1, round(CELL_SECONDS / column_seconds))
        self.cell_seconds = self._cell_columns * column_seconds
        self.end_seconds = 0.0  # of the input, at the right edge
        self.n_cells = 0  # ever pushed
        self._pending = np.empty((0, log_mel.n_mels), np.float32)  # less than a cell
        self._cells = self._pending  # (cells, mels), decibels; lost ones are no number
        self._range: tuple[float, float] | None = None  # decibels that the palette spans
        self._n_adapted = 0  # cells that the range has seen

    def push(self, columns: Floats) -> None:
        """Take the next columns, shape (columns, mels)."""
        columns = np.concatenate([self._pending, columns])
        whole = len(columns) // self._cell_columns * self._cell_columns
        self._pending = columns[whole:]
        grouped = columns[:whole].reshape(-1, self._cell_columns, columns.shape[1])
        self._append(grouped.max(axis=1) * np.float32(self._front_end.db_per_unit))
        self.end_seconds += len(grouped) * self.cell_seconds

    def skip(self, until_seconds: float) -> None:
        """Go on at a later moment: what lies between is lost."""
        n_cells = max(0, round((until_seconds - self.end_seconds) / self.cell_seconds))
        self._pending = self._pending[:0]
        shape = min(n_cells, MOST_CELLS), self._front_end.n_mels
        self._append(np.full(shape, np.nan, np.float32))
        self.end_seconds = until_seconds

    def levels(self, width: int, rows: int) -> Levels:
        """Return what to show, shape (rows, width): 0 to N_LEVELS - 1, or GAP.

        The highest band comes first. A row shows the strongest of its bands.
        """
        cells = self._cells[-width:]
        bands = np.arange(rows) * self._front_end.n_mels // rows
        picture = np.maximum.reduceat(cells, bands, axis=1)
        lost = np.isnan(picture)
        low, high = self._adapted(picture[~lost])
        shares = (np.where(lost, low, picture) - low) / (high - low)
        levels = np.clip(shares * N_LEVELS, 0, N_LEVELS - 1).astype(np.uint8)
        levels[lost] = GAP
        before = np.zeros((width - len(cells), rows), np.uint8)
        return np.concatenate([before, levels])[:, ::-1].T

    def row_hz(self, rows: int) -> Floats:
        """Return the frequencies in the middle of the rows, the highest first."""
        c = self._front_end
        low, high = hz_to_mel(np.array([c.f_min, c.f_max]), c.mel_scale)
        middles = low + (high - low) * (np.arange(rows)[::-1] + 0.5) / rows
        return mel_to_hz(middles, c.mel_scale).astype(np.float32)

    def _append(self, cells: Floats) -> None:
        self._cells = np.concatenate([self._cells, cells])[-MOST_CELLS:]
        self.n_cells += len(cells)

    def _adapted(self, decibels: Floats) -> tuple[float, float]:
        """Move the range of the palette towards that of the picture."""
        if decibels.size:
            faint, strong = np.percentile(decibels, (FAINT_PERCENT, STRONG_PERCENT)).tolist()
            wanted = faint, max(strong, faint + LEAST_RANGE_DB)
            seconds = (self.n_cells - self._n_adapted) * self.cell_seconds
            share = 1.0 - float(np.exp(-seconds / ADAPTING_SECONDS))
            old = self._range or wanted
            self._range = tuple(o + share * (w - o) for o, w in zip(old, wanted, strict=True))
        self._n_adapted = self.n_cells
        return self._range or (0.0, LEAST_RANGE_DB)


class Brush:
    """Paints levels in what colours a terminal has.

    Parameters
    ----------
    console
        The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._styles: dict[int, Style] = {}
        is_ascii = console.options.ascii_only
        system = None if console.no_color or is_ascii else console.color_system
        if system is None:
            shades = ASCII_SHADES if is_ascii else SHADES
            self._shades = [*_spread(shades), LOST_SHADE]
            self._colours: list[Color] = []
        else:
            names = SIXTEEN if system in ("standard", "windows") else _ramp(MAGMA)
            self._colours = [Color.parse(name) for name in [*_spread(names), LOST_COLOUR]]

    def paint(self, levels: Levels) -> list[Line]:
        """Return the lines of a picture, shape (rows, width), its rows even in number."""
        if not self._colours:
            stronger = levels.reshape(-1, 2, levels.shape[1]).max(axis=1)
            return [[Segment("".join(self._shades[v] for v in row))] for row in stronger.tolist()]
        pairs = levels[::2].astype(np.int32) * (GAP + 1) + levels[1::2]
        return [self._runs(row) for row in pairs]

    def _runs(self, pairs: NDArray[np.int32]) -> Line:
        """Return a line in which neighbours that look the same are one segment."""
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        lengths = np.diff(starts, append=len(pairs))
        return [
            Segment("▀" * length, self._style(pair))
            for pair, length in zip(pairs[starts].tolist(), lengths.tolist(), strict=True)
        ]

    def _style(self, pair: int) -> Style:
        if pair not in self._styles:
            top, bottom = divmod(pair, GAP + 1)
            style = Style.from_color(self._colours[top], self._colours[bottom])
            self._styles[pair] = style
        return self._styles[pair]


def _spread(few: Sequence[str]) -> list[str]:
    """Return one of a few for each level."""
    return [few[level * len(few) // N_LEVELS] for level in range(N_LEVELS)]


def _ramp(anchors: Sequence[str]) -> list[str]:
    """Return a colour for each level, between its neighbours among the anchors."""
    colours = np.array([Color.parse(name).triplet for name in anchors], np.float64)
    at = np.linspace(0, len(anchors) - 1, N_LEVELS)
    mixed = [np.interp(at, range(len(anchors)), channel) for channel in colours.T]
    return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in np.rint(mixed).astype(int).T.tolist()]
