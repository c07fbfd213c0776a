"""The picture of a recording: labels of events over the spectrogram."""

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.events.tracker import Event

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

from sed.events import plots
from sed.events.plot_axes import (
    ROW,
    TimeAxis,
    class_colour,
    draw_log_mel,
    draw_probabilities,
)
from sed.events.plots import _draw_events
from sed.features.log_mel import LogMelConfig
from sed.models.registry import find_model

SECONDS = 60.0
WIDTH_INCHES = 10.0
LABELS = ["dog", "vacuum_cleaner", "a_$b^2"]


def drawn(events):
    """Return the boxes of all labels in pixels, and the number of bars."""
    figure = Figure(figsize=(WIDTH_INCHES, 4), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, SECONDS)
    _draw_events(axes, events, {}, SECONDS / WIDTH_INCHES)
    figure.canvas.draw()
    return [text.get_window_extent() for text in axes.texts], len(axes.lines)


@pytest.mark.parametrize("seed", range(6))
def test_labels_of_close_events_do_not_overprint(seed):
    generator = np.random.default_rng(seed)
    events = [
        Event(onset, min(onset + generator.uniform(0.1, 20), SECONDS), label, 0.5)
        for onset, label in zip(generator.uniform(40, 59, 25), [*LABELS * 9], strict=False)
    ]
    boxes, n_bars = drawn(events)
    assert n_bars == len(events)
    assert len(boxes) <= len(events)
    for i, box in enumerate(boxes):
        for other in boxes[:i]:
            width = min(box.x1, other.x1) - max(box.x0, other.x0)
            height = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert width < 2 or height < 2, "two labels share pixels"


def test_a_few_close_events_all_have_their_labels():
    boxes, _ = drawn([Event(10 + 0.1 * n, 11 + 0.1 * n, "church_bells", 0.5) for n in range(7)])
    assert len(boxes) == 7
    assert np.ptp([box.y0 for box in boxes]) > 100


def test_of_very_many_events_there_are_bars_alone(monkeypatch):
    monkeypatch.setattr(plots, "MAX_LABELLED", 5)
    events = [Event(8 * n, 8 * n + 1, "dog", 0.5) for n in range(6)]
    assert [len(found) if isinstance(found, list) else found for found in drawn(events)] == [0, 6]
    assert len(drawn(events[:-1])[0]) == 5


def test_the_axis_has_round_times_of_day_where_they_are_known():
    start = datetime(2026, 5, 1, 23, 54, 30, tzinfo=timezone(timedelta(hours=2)))
    axis = TimeAxis(600.0, 600.0, start)  # from 00:04:30
    places, texts = axis.ticks()
    assert (places[0], places[-1]) == (630.0, 1170.0)
    assert (texts[0], texts[-1]) == ("00:05", "00:14")
    assert axis.title == "time of day, 2026-05-02, UTC+02:00"
    assert TimeAxis(0.0, 600.0, start).title == "time of day, 2026-05-01 to 2026-05-02, UTC+02:00"
    # To midnight is one day; the zone of the clock is unknown.
    assert TimeAxis(0.0, 330.0, start.replace(tzinfo=None)).title == "time of day, 2026-05-01"
    assert TimeAxis(0.0, 4.0, start).ticks()[1][:2] == ["23:54:30", "23:54:30"]


def test_without_a_clock_the_axis_has_the_time_in_the_recording():
    axis = TimeAxis(600.0, 600.0)
    assert axis.ticks()[0][:3] == [600.0, 660.0, 720.0]
    assert axis.ticks()[1][:2] == ["10:00", "11:00"]
    assert axis.title == "time in the recording"


def axes_of_a_spectrogram(sample_rate):
    axes = Figure().subplots()
    config = LogMelConfig()
    draw_log_mel(axes, np.zeros((10, config.n_mels)), TimeAxis(0, 1), config, sample_rate)
    return axes, config


@pytest.mark.parametrize(
    ("sample_rate", "text", "height"),
    [
        (48_000, "not analysed: 7.5 to 24 kHz", 1.065),
        (8_000, "recording\nends at\n4 kHz", 1.0),
        (16_000, None, 1.0),
        (None, None, 1.0),
    ],
)
def test_the_ends_of_bands_are_marked(sample_rate, text, height):
    axes, config = axes_of_a_spectrogram(sample_rate)
    assert [drawn.get_text() for drawn in axes.texts] == ([text] if text else [])
    assert axes.get_ylim()[1] == pytest.approx(height * config.n_mels)


def test_probabilities_have_an_axis_from_0_to_1_and_their_thresholds():
    axes = Figure().subplots()
    probs = np.array([[0.0, 1.0], [0.5, 0.25]])
    draw_probabilities(axes, probs, TimeAxis(10, 4), ["dog", "owl"], [0.5, 0.25])
    dashed = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == pytest.approx([1 + 0.5 * ROW, 0.25 * ROW])
    assert axes.get_yticks().tolist() == pytest.approx([1, 1 + ROW, 0, ROW])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "1", "0", "1"]
    values, edges, base = axes.patches[0].get_data()
    assert values == pytest.approx([1, 1 + 0.5 * ROW])
    assert (edges.tolist(), base) == ([10, 12, 14], 1)


# White, and the backgrounds of the pages: light and dark, of the page and of a card.
BACKGROUNDS = ("#ffffff", "#f6f5f1", "#121418", "#1a1d23")
LABELS_OF = {
    name: json.loads(find_model(name).with_suffix(".json").read_text())["labels"]
    for name in ("general", "everyday")
}


def luminance(colour):
    """Return the relative luminance of WCAG 2.2."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_colours_of_all_classes_differ_and_are_legible_on_light_and_dark():
    assert len(LABELS_OF["general"]) == 521
    for labels in LABELS_OF.values():
        colours = [class_colour(label) for label in labels]
        assert len(set(colours)) == len(labels)
        for background in BACKGROUNDS:
            assert min(contrast(colour, background) for colour in colours) >= 3


@given(st.text())
def test_the_colour_of_any_label_is_legible(label):
    assert min(contrast(class_colour(label), each) for each in BACKGROUNDS) >= 3


def test_the_colour_of_a_class_stays_the_same():
    colours = [class_colour(label) for label in ("dog", "siren", "")]
    assert colours == ["#9c5a69", "#b55a97", "#756ba9"]
