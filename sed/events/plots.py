"""Plot the log-mel spectrogram, the class probabilities and the events of a recording."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MultipleLocator

from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig, hz_to_mel
from sed.files import written_whole
from sed.text import clock_time, pluralize
from sed.types import Floats

MAX_CLASSES = 28  # rows of probabilities
MAX_LANES = 7  # rows of labels over the spectrogram
LABEL_POINTS = 8.5  # size of the letters of a label


def plot_detections(
    path: str | os.PathLike[str],
    *,
    title: str,
    log_mel: Floats,
    column_seconds: float,
    config: LogMelConfig,
    frame_probs: Floats,
    frame_seconds: float,
    labels: Sequence[str],
    events: Sequence[Event],
    n_events: int,
) -> None:
    """Plot a recording into a PNG file: spectrogram with events, probabilities of classes below.

    Parameters
    ----------
    path
        The file.
    title
        Title of the plot.
    log_mel
        Log-mel spectrogram, shape (columns, mels).
    column_seconds
        Time from one column to the next.
    config
        Parameters of the spectrogram.
    frame_probs
        Shape (frames, classes).
    frame_seconds
        Time from one frame to the next.
    labels
        Names of the classes.
    events
        Events to draw.
    n_events
        Number of events in the recording; `events` may be the first of them.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    shown = _classes_to_show(frame_probs, labels, events)
    colours = {labels[c]: class_colour(i) for i, c in enumerate(shown)}
    rows_inches = 0.27 * max(3, len(shown))
    figure = Figure(figsize=(13, 3.6 + rows_inches), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.9, rows_inches])
    _draw_log_mel(top, log_mel, column_seconds, config)
    duration = len(log_mel) * column_seconds
    _draw_events(top, events, colours, duration / 11.0)
    top.set_title(short_text(title), loc="left", fontsize=12, weight="bold", parse_math=False)
    summary = f"{pluralize(n_events, 'event')} in {_clock(duration)}"
    if n_events > len(events):
        summary += f", the first {len(events):,} drawn"
    top.set_title(summary, loc="right", fontsize=10)
    _draw_probabilities(bottom, frame_probs[:, shown], frame_seconds, [labels[c] for c in shown])
    bottom.set_xlim(0, duration)
    bottom.xaxis.set_major_locator(MultipleLocator(_tick_seconds(duration)))
    bottom.xaxis.set_major_formatter(lambda seconds, _: _clock(seconds))
    bottom.set_xlabel("time")
    save_figure(figure, path, dpi=120)


def _draw_log_mel(axes: Axes, log_mel: Floats, column_seconds: float, config: LogMelConfig) -> None:
    low, high = np.percentile(log_mel, [2, 99.7])
    axes.imshow(
        log_mel.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1e-3),
        extent=(0, len(log_mel) * column_seconds, 0, config.n_mels),
        interpolation="antialiased",
    )
    first, last = hz_to_mel(np.array([config.f_min, config.f_max]), config.mel_scale)
    marks_hz = np.array([250, 500, 1000, 2000, 4000, 8000, 16000])
    marks_hz = marks_hz[(marks_hz >= config.f_min) & (marks_hz <= config.f_max)]
    places = (hz_to_mel(marks_hz, config.mel_scale) - first) / (last - first) * config.n_mels
    axes.set_yticks(places, [f"{hz / 1000:g}" for hz in marks_hz])
    axes.set_ylabel("kHz, mel scale")


def _draw_events(
    axes: Axes, events: Sequence[Event], colours: Mapping[str, str], seconds_per_inch: float
) -> None:
    """Draw each event as a bar with its label, in the first lane with space for both.

    Where more events are close together than there are lanes, the last have no label.
    """
    free_from = [0.0] * MAX_LANES
    last = axes.get_xlim()[1]
    for event in sorted(events, key=lambda e: e.onset):
        text_seconds = _text_inches(label_text(event.label)) * seconds_per_inch
        at_the_end = event.onset + text_seconds > last
        first = min(event.onset, event.offset - text_seconds) if at_the_end else event.onset
        lane = next((i for i, t in enumerate(free_from) if t <= first), None)
        has_label = lane is not None
        if lane is None:
            lane = free_from.index(min(free_from))
        stop = max(event.offset, first + text_seconds * has_label) + 0.1 * seconds_per_inch
        free_from[lane] = max(free_from[lane], stop)
        height = 0.93 - lane * 0.125
        colour = colours.get(event.label, "#dddddd")
        axes.axvspan(event.onset, event.offset, color=colour, alpha=0.12, lw=0)
        axes.plot(
            [event.onset, event.offset],
            [height - 0.035] * 2,
            color=colour,
            lw=3.5,
            solid_capstyle="butt",
            transform=axes.get_xaxis_transform(),
        )
        if not has_label:
            continue
        axes.text(
            event.offset if at_the_end else event.onset,
            height - 0.01,
            label_text(event.label),
            color="white",
            fontsize=LABEL_POINTS,
            ha="right" if at_the_end else "left",
            va="bottom",
            transform=axes.get_xaxis_transform(),
            path_effects=[withStroke(linewidth=2, foreground="black")],
            clip_on=True,
            parse_math=False,
        )


@cache
def _text_inches(text: str) -> float:
    from matplotlib.textpath import TextPath

    path = TextPath((0, 0), text.replace("$", "S"), size=LABEL_POINTS)
    return float(path.get_extents().width) / 72 if text else 0.0


def _draw_probabilities(
    axes: Axes, probs: Floats, frame_seconds: float, names: Sequence[str]
) -> None:
    """Draw a row for each class with its probability as a filled curve."""
    edges = np.arange(len(probs) + 1) * frame_seconds
    for i, name in enumerate(names):
        base = len(names) - 1 - i
        colour = class_colour(i)
        axes.stairs(base + 0.9 * probs[:, i], edges, baseline=base, fill=True, color=colour)
        axes.axhline(base, color="#bbbbbb", lw=0.5)
        axes.text(
            -0.008, base + 0.4, label_text(name), color=colour, fontsize=9, ha="right",
            va="center", transform=axes.get_yaxis_transform(), parse_math=False,
        )  # fmt: skip
    axes.set_ylim(0, max(1, len(names)))
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title("probability of each class", loc="left", fontsize=9, color="#555555")


def _classes_to_show(
    frame_probs: Floats, labels: Sequence[str], events: Sequence[Event]
) -> list[int]:
    """Return classes with events, else the most likely ones, sorted by the time of their peak."""
    peak = frame_probs.max(axis=0, initial=0.0)
    detected = {event.label for event in events}
    order = sorted(range(len(labels)), key=lambda c: (labels[c] not in detected, -peak[c]))
    shown = order[: max(4, min(MAX_CLASSES, len(detected)))]
    return sorted(shown, key=lambda c: frame_probs[:, c].argmax())


def class_colour(i: int) -> str:
    """Return the i-th colour of a palette that is legible on black and on white."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["tab20"]((2 * i + (i // 10)) % 20))


def _tick_seconds(duration: float) -> float:
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


def _clock(seconds: float) -> str:
    """Return a time for an axis, without leading zeros: ``1:05``, ``2:01:05``."""
    return re.sub("^0:0?", "", clock_time(round(seconds)))


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int) -> None:
    """Write a figure to a PNG file, complete or not at all.

    Parameters
    ----------
    figure
        The figure.
    path
        The file.
    dpi
        Dots per inch.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with written_whole(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # about letters that the font lacks
        figure.savefig(part, dpi=dpi, format="png")
