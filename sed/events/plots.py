"""Plot the log-mel spectrogram, the class probabilities and the events of a recording."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from sed.events.plot_axes import (
    TimeAxis,
    class_colour,
    draw_log_mel,
    draw_probabilities,
    draw_time,
    elapsed,
    label_text,
    short_text,
)
from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from sed.files import written_whole
from sed.text import pluralize
from sed.types import Floats

MAX_CLASSES = 28  # rows of probabilities
MAX_LANES = 7  # rows of labels over the spectrogram
MAX_LABELLED = 150  # events; of more, few labels would find a place
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
    thresholds: Sequence[float] = (),
    first_seconds: float = 0.0,
    start: datetime | None = None,
    sample_rate: int | None = None,
    page: int | None = None,
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
        Number of events in the picture; `events` may be the first of them.
    thresholds
        Onset threshold of each class, or none.
    first_seconds
        Where the picture begins in the recording.
    start
        When the recording began: the axis then shows the time of day.
    sample_rate
        Of the recording, to mark the band that the model does not analyse.
    page
        Number of the picture, if it is a part of the recording.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    shown = _classes_to_show(frame_probs, labels, events)
    colours = {labels[c]: class_colour(labels[c]) for c in shown}
    rows_inches = 0.27 * max(3, len(shown))
    figure = Figure(figsize=(13, 3.6 + rows_inches), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.9, rows_inches])
    duration = len(log_mel) * column_seconds
    time = TimeAxis(first_seconds, duration, start)
    draw_log_mel(top, log_mel, time, config, sample_rate)
    draw_time(bottom, time)
    _draw_events(top, events, colours, duration / 11.0, config.n_mels / top.get_ylim()[1])
    top.set_title(short_text(title), loc="left", fontsize=12, weight="bold", parse_math=False)
    summary = f"{pluralize(n_events, 'event')} in {elapsed(duration)}"
    if page is not None:
        span = f"{elapsed(first_seconds)} to {elapsed(first_seconds + duration)}"
        summary = f"page {page}, {span} of the recording: {pluralize(n_events, 'event')}"
    if n_events > len(events):
        summary += f", the first {len(events):,} drawn"
    top.set_title(summary, loc="right", fontsize=10)
    draw_probabilities(
        bottom,
        frame_probs[:, shown],
        TimeAxis(first_seconds, len(frame_probs) * frame_seconds, start),
        [labels[c] for c in shown],
        [thresholds[c] for c in shown] if thresholds else (),
    )
    save_figure(figure, path, dpi=120)


def _draw_events(
    axes: Axes,
    events: Sequence[Event],
    colours: Mapping[str, str],
    seconds_per_inch: float,
    height_share: float = 1.0,
) -> None:
    """Draw each event as a bar with its label, in the first lane with space for both.

    The lanes are in the lower `height_share` of the axes.
    Where more events are close together than there are lanes, the last have no label; none has one
    if there are too many.
    """
    first_shown, last = axes.get_xlim()
    free_from = [first_shown] * MAX_LANES
    is_labelled = len(events) <= MAX_LABELLED
    for event in sorted(events, key=lambda e: e.onset):
        text_seconds = _text_inches(label_text(event.label)) * seconds_per_inch * is_labelled
        onset, offset = max(event.onset, first_shown), min(event.offset, last)
        at_the_end = onset + text_seconds > last
        first = min(onset, offset - text_seconds) if at_the_end else onset
        lane = next((i for i, t in enumerate(free_from) if t <= first), None)
        has_label = lane is not None
        if lane is None:
            lane = free_from.index(min(free_from))
        stop = max(offset, first + text_seconds * has_label) + 0.1 * seconds_per_inch
        free_from[lane] = max(free_from[lane], stop)
        height = (0.93 - lane * 0.125) * height_share
        colour = colours.get(event.label, "#dddddd")
        axes.axvspan(onset, offset, ymax=height_share, color=colour, alpha=0.12, lw=0)
        axes.plot(
            [onset, offset],
            [height - 0.035] * 2,
            color=colour,
            lw=3.5,
            solid_capstyle="butt",
            transform=axes.get_xaxis_transform(),
        )
        if not has_label or not is_labelled:
            continue
        axes.text(
            offset if at_the_end else onset,
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


def _classes_to_show(
    frame_probs: Floats, labels: Sequence[str], events: Sequence[Event]
) -> list[int]:
    """Return classes with events, else the most likely ones, sorted by the time of their peak."""
    peak = frame_probs.max(axis=0, initial=0.0)
    detected = {event.label for event in events}
    order = sorted(range(len(labels)), key=lambda c: (labels[c] not in detected, -peak[c]))
    shown = order[: max(4, min(MAX_CLASSES, len(detected)))]
    return sorted(shown, key=lambda c: frame_probs[:, c].argmax())


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
