"""Draw the parts of the picture of a recording: time, spectrogram and probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from sed.events.timestamps import later
from sed.features.log_mel import LogMelConfig, hz_to_mel
from sed.text import clock_time
from sed.types import Floats

ROW = 0.88  # height of a row of probabilities, of the distance between rows


@dataclass(frozen=True)
class TimeAxis:
    """The time that a picture shows.

    Attributes
    ----------
    first_seconds
        Where the picture begins in the recording.
    seconds
        How long it is.
    start
        When the recording began; None if that is unknown.
    """

    first_seconds: float
    seconds: float
    start: datetime | None = None

    def ticks(self) -> tuple[list[float], list[str]]:
        """Return round times, in seconds from the start of the recording, and their texts."""
        step, origin = tick_seconds(self.seconds), 0.0
        if self.start is not None:
            clock = self.start
            origin = clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6
        last = self.first_seconds + self.seconds
        first = int(np.ceil((self.first_seconds + origin - 1e-6) / step))
        places = np.arange(first, int((last + origin + 1e-6) // step) + 1) * step - origin
        return places.tolist(), [self.text(second, short=step >= 60) for second in places]

    def text(self, seconds: float, *, short: bool = False) -> str:
        """Return a moment of the recording: the time of day if that is known."""
        if self.start is None:
            return elapsed(seconds)
        return f"{later(self.start, round(seconds, 3)):{'%H:%M' if short else '%H:%M:%S'}}"

    @property
    def title(self) -> str:
        """What the axis shows: the days, and the offset of the clock if it is known."""
        if self.start is None:
            return "time in the recording"
        first = later(self.start, self.first_seconds)
        last = later(self.start, self.first_seconds + max(0.0, self.seconds - 1))  # not midnight
        days = f"{first:%Y-%m-%d}"
        if last.date() != first.date():
            days += f" to {last:%Y-%m-%d}"
        zone = first.strftime("%z")
        return f"time of day, {days}" + (f", UTC{zone[:3]}:{zone[3:]}" if zone else "")


def draw_time(axes: Axes, time: TimeAxis) -> None:
    """Set limits, ticks and title of the time axis."""
    axes.set_xlim(time.first_seconds, time.first_seconds + time.seconds)
    places, texts = time.ticks()
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FixedFormatter(texts))
    axes.set_xlabel(time.title)


def draw_log_mel(
    axes: Axes,
    log_mel: Floats,
    time: TimeAxis,
    config: LogMelConfig,
    sample_rate: int | None = None,
) -> None:
    """Draw a spectrogram, and mark where the band of the model or of the recording ends.

    Parameters
    ----------
    axes
        Where it is drawn.
    log_mel
        Shape (columns, mels).
    time
        The time that the columns cover.
    config
        Parameters of the spectrogram.
    sample_rate
        Of the recording; no band is marked if it is unknown.
    """
    low, high = np.percentile(log_mel, [2, 99.7])
    axes.imshow(
        log_mel.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1e-3),
        extent=(time.first_seconds, time.first_seconds + time.seconds, 0, config.n_mels),
        interpolation="antialiased",
    )
    first, last = hz_to_mel(np.array([config.f_min, config.f_max]), config.mel_scale)
    marks_hz = np.array([250, 500, 1000, 2000, 4000, 8000, 16000])
    marks_hz = marks_hz[(marks_hz >= config.f_min) & (marks_hz <= config.f_max)]

    def place(hz: NDArray[Any]) -> NDArray[np.float64]:
        mels = hz_to_mel(hz.astype(np.float64), config.mel_scale)
        return np.asarray((mels - first) / (last - first) * config.n_mels)

    axes.set_yticks(place(marks_hz), [f"{hz / 1000:g}" for hz in marks_hz])
    axes.set_ylabel("kHz, mel scale")
    if sample_rate is not None:
        _draw_band(axes, config, sample_rate / 2, float(place(np.array([sample_rate / 2]))[0]))


def _draw_band(axes: Axes, config: LogMelConfig, end_hz: float, end: float) -> None:
    """Shade what the model does not analyse of a recording, or what the recording does not hold."""
    height = axes.get_yaxis_transform()
    if end_hz > 1.1 * config.f_max:
        top = 1.065 * config.n_mels
        axes.set_ylim(0, top)
        axes.axhspan(
            config.n_mels, top, facecolor="#e8e8e8", edgecolor="#bbbbbb", hatch="////", lw=0
        )
        axes.axhline(config.n_mels, color="#555555", lw=0.8)
        text = f"not analysed: {config.f_max / 1000:.3g} to {end_hz / 1000:.3g} kHz"
        axes.text(
            0.5, (config.n_mels + top) / 2, text, transform=height, fontsize=7.5, ha="center",
            va="center", bbox={"facecolor": "#e8e8e8", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    elif end_hz < 0.95 * config.f_max:
        axes.axhline(end, color="white", lw=0.8, ls="--")
        text = f"recording\nends at\n{end_hz / 1000:.3g} kHz"
        axes.text(1.004, end, text, transform=height, fontsize=6.5, ha="left", va="center")


def draw_probabilities(
    axes: Axes, probs: Floats, time: TimeAxis, names: Sequence[str], thresholds: Sequence[float]
) -> None:
    """Draw a row for each class, from 0 to 1: its probability as a filled curve, its threshold.

    Parameters
    ----------
    axes
        Where they are drawn.
    probs
        Shape (frames, classes).
    time
        The time that the frames cover.
    names
        Names of the classes.
    thresholds
        Onset threshold of each class, or none.
    """
    edges = time.first_seconds + np.linspace(0, time.seconds, len(probs) + 1)
    ticks: list[tuple[float, str]] = []
    for i, name in enumerate(names):
        base = len(names) - 1 - i
        colour = class_colour(name)
        axes.stairs(base + ROW * probs[:, i], edges, baseline=base, fill=True, color=colour)
        axes.axhline(base, color="#bbbbbb", lw=0.5)
        axes.axhline(base + ROW, color="#e6e6e6", lw=0.5, zorder=0)
        if len(thresholds):
            axes.axhline(base + ROW * thresholds[i], color="#444444", lw=0.6, ls=(0, (4, 3)))
        ticks += [(base, "0"), (base + ROW, "1")]
        axes.text(
            -0.008, base + 0.4, label_text(name), color=colour, fontsize=9, ha="right",
            va="center", transform=axes.get_yaxis_transform(), parse_math=False,
        )  # fmt: skip
    axes.set_ylim(0, max(1, len(names)))
    axes.yaxis.tick_right()
    axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
    axes.tick_params(axis="y", labelsize=6, length=2, pad=1.5, color="#888888")
    for text in axes.get_yticklabels():  # so that those of two rows do not meet
        text.set_verticalalignment("bottom" if text.get_text() == "0" else "top")
    axes.spines[["top", "right", "left"]].set_visible(False)
    title = "probability of each class, 0 to 1" + "; dashed: its threshold" * bool(len(thresholds))
    axes.set_title(title, loc="left", fontsize=9, color="#555555")


def class_colour(label: str) -> str:
    """Return the colour of a class as ``#rrggbb``, the same in all pictures, pages and sessions.

    Hue, lightness and chroma follow from a hash of the label. Any of these colours has a contrast
    (WCAG 2.2) of at least 3 to white and to the pages, light and dark. `classColour` in
    `streaming/web/page/colours.js` is the same function.
    """
    # FNV-1a, then the last steps of MurmurHash3, after which each bit depends on every letter.
    # It starts where the most similar two of fifty everyday sounds differ most.
    number = 0x0F89C824
    for byte in label.encode("utf-8", "replace"):
        number = (number ^ byte) * 0x01000193 % 2**32
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        number = (number ^ (number >> shift)) * factor % 2**32
    number ^= number >> 16
    hue = 2 * math.pi * (number % 2**16) / 2**16
    lightness = 0.54 + 0.08 * (number // 2**16 % 2**8) / 255
    chroma = 0.08 + 0.1 * (number // 2**24) / 255
    while not 0 <= min(rgb := _oklch_to_rgb(lightness, chroma, hue)) <= max(rgb) <= 1:
        chroma *= 0.96
    return "#" + "".join(f"{math.floor(255 * _srgb(value) + 0.5):02x}" for value in rgb)


def _oklch_to_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Return linear red, green and blue; Ottosson 2020, "A perceptual color space"."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _srgb(value: float) -> float:
    """Return a linear value from 0 to 1 in the encoding of sRGB (IEC 61966-2-1)."""
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def run_colour(i: int) -> str:
    """Return the i-th colour of a palette for curves that are no classes."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["tab20"]((2 * i + (i // 10)) % 20))


def tick_seconds(duration: float) -> float:
    """Return a round distance of ticks for about ten of them."""
    steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
    return next((step for step in steps if duration / step <= 14), 86400.0)


def label_text(label: str) -> str:
    """Return a label as a short text of words on one line."""
    return short_text(label.replace("_", " "))


def short_text(text: str) -> str:
    """Return a text on one line, cut to 60 letters."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def elapsed(seconds: float) -> str:
    """Return a time in a recording, without leading zeros: ``1:05``, ``2:01:05``."""
    return re.sub("^0:0?", "", clock_time(round(seconds)))
