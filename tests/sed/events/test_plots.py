"""The picture of a recording: labels of events over the spectrogram."""

import numpy as np
import pytest

from sed.events.tracker import Event

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

from sed.events.plots import _draw_events

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
