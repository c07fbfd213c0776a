"""Render a scrolling spectrogram in a terminal: two rows of mel bands in each character, ▀.

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
from sed.features.picture import MAGMA
from sed.features.waterfall import Waterfall
from sed.types import Floats

Levels = NDArray[np.uint8]
Line = list[Segment]

CELL_SECONDS = 0.1  # approximate seconds of sound per character
MAX_SECONDS = 150.0  # kept: more than a terminal of 1,000 characters shows
N_LEVELS = 32  # of brightness
LOST = N_LEVELS  # the level of lost sound
FAINT_PERCENTILE, STRONG_PERCENTILE = 35.0, 99.7  # of the decibels: ends of the palette
MIN_RANGE_DB = 36.0  # that the palette spans, so that noise alone stays dark
ADAPTING_SECONDS = 4.0  # time constant with which the palette follows the sound

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


class Spectrogram(Waterfall):
    """The last seconds of an input's spectrogram, a cell for each character, as brightness.

    Parameters
    ----------
    log_mel
        The spectrogram of the model.
    """

    def __init__(self, log_mel: LogMelConfig) -> None:
        super().__init__(log_mel, cell_seconds=CELL_SECONDS, max_seconds=MAX_SECONDS)
        self._log_mel = log_mel
        self._range: tuple[float, float] | None = None  # decibels that the palette spans
        self._n_adapted = 0  # cells that the range has followed

    def quantize(self, width: int, rows: int) -> Levels:
        """Return levels of brightness, shape (rows, width): 0 to N_LEVELS - 1, or LOST.

        The highest mel band comes first. A row shows the maximum of its bands.
        """
        cells = self.cells[-width:] * np.float32(self._log_mel.db_per_unit)
        bands = np.arange(rows) * self._log_mel.n_mels // rows
        decibels = np.maximum.reduceat(cells, bands, axis=1)
        lost = np.isnan(decibels)
        low, high = self._adapted(decibels[~lost])
        shares = (np.where(lost, low, decibels) - low) / (high - low)
        levels = np.clip(shares * N_LEVELS, 0, N_LEVELS - 1).astype(np.uint8)
        levels[lost] = LOST
        before = np.zeros((width - len(cells), rows), np.uint8)
        return np.concatenate([before, levels])[:, ::-1].T

    def row_hz(self, rows: int) -> Floats:
        """Return the centre frequencies of the rows in Hz, the highest first, shape (rows,)."""
        c = self._log_mel
        low, high = hz_to_mel(np.array([c.f_min, c.f_max]), c.mel_scale)
        centers = low + (high - low) * (np.arange(rows)[::-1] + 0.5) / rows
        return mel_to_hz(centers, c.mel_scale).astype(np.float32)

    def _adapted(self, decibels: Floats) -> tuple[float, float]:
        """Move the range of the palette towards that of the visible decibels.

        With n seconds since the last call, range += (1 - exp(-n / tau)) (wanted - range).
        """
        if decibels.size:
            percentiles = FAINT_PERCENTILE, STRONG_PERCENTILE
            faint, strong = np.percentile(decibels, percentiles).tolist()
            wanted = faint, max(strong, faint + MIN_RANGE_DB)
            seconds = (self.n_cells - self._n_adapted) * self.cell_seconds
            share = 1.0 - float(np.exp(-seconds / ADAPTING_SECONDS))
            old = self._range or wanted
            self._range = tuple(o + share * (w - o) for o, w in zip(old, wanted, strict=True))
        self._n_adapted = self.n_cells
        return self._range or (0.0, MIN_RANGE_DB)


class Painter:
    """Renders levels of brightness in the colours that a terminal has.

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

    def render(self, levels: Levels) -> list[Line]:
        """Return the lines for levels of shape (rows, width); the number of rows is even."""
        if not self._colours:
            stronger = levels.reshape(-1, 2, levels.shape[1]).max(axis=1)
            return [[Segment("".join(self._shades[v] for v in row))] for row in stronger.tolist()]
        pairs = levels[::2].astype(np.int32) * (LOST + 1) + levels[1::2]
        return [self._runs(row) for row in pairs]

    def _runs(self, pairs: NDArray[np.int32]) -> Line:
        """Return a line in which equal neighbours are one segment."""
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        lengths = np.diff(starts, append=len(pairs))
        return [
            Segment("▀" * length, self._style(pair))
            for pair, length in zip(pairs[starts].tolist(), lengths.tolist(), strict=True)
        ]

    def _style(self, pair: int) -> Style:
        if pair not in self._styles:
            top, bottom = divmod(pair, LOST + 1)
            style = Style.from_color(self._colours[top], self._colours[bottom])
            self._styles[pair] = style
        return self._styles[pair]


def _spread(names: Sequence[str]) -> list[str]:
    """Return a name for each level: the first ones for the lowest levels."""
    return [names[level * len(names) // N_LEVELS] for level in range(N_LEVELS)]


def _ramp(anchors: Sequence[str]) -> list[str]:
    """Return a colour for each level, interpolated between the anchors."""
    colours = np.array([Color.parse(name).triplet for name in anchors], np.float64)
    at = np.linspace(0, len(anchors) - 1, N_LEVELS)
    mixed = [np.interp(at, range(len(anchors)), channel) for channel in colours.T]
    return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in np.rint(mixed).astype(int).T.tolist()]
