"""The panels: layout, labels, status line and times."""

import pytest
from rich.style import Style

from streaming.live.terminal.panels import (
    Layout,
    _duration,
    _LabelSpan,
    _spans_line,
    _time_axis,
    status_line,
)
from tests.streaming.live.terminal.stage import status


def test_a_label_too_long_for_its_event_is_written_after_it():
    style = Style(color="cyan")
    spans = [
        _LabelSpan(2, 4, "rooster", style),
        _LabelSpan(20, 30, "東京", style),
        _LabelSpan(26, 40, "rain", style),
    ]
    line = _spans_line(spans, 36)
    assert "".join(segment.text for segment in line) == "     rooster         東京  rain     "
    assert [segment.text for segment in line if segment.style and segment.style.reverse] == [
        "  ",
        " 東京 ",
        " rain     ",
    ]


def test_the_status_line_shows_faults_first():
    def text(width, **what):
        return "".join(segment.text for segment in status_line(status(**what), width)).strip()

    assert text(100) == (
        "0 s lost  0 gaps  real-time factor 0.12  latency 0.42 s  7 events  up 1:02:03"
    )
    assert text(60) == "0 s lost  0 gaps  real-time factor 0.12  latency 0.42 s"
    wrong = {"n_dropped": 24_320, "n_missing": 8_000, "n_gaps": 2, "load": 1.5}
    assert text(75, **wrong) == (
        "1.52 s dropped (24,320 samples)  0.50 s missing (8,000 samples)  2 gaps"
    )
    first = status_line(status(**wrong), 75)[0]
    assert first.style == Style(color="bright_red")


@pytest.mark.parametrize(
    ("height", "has_header", "n_meters", "n_spectrograms"),
    [(1, False, 0, 0), (4, False, 1, 0), (10, True, 1, 0), (15, True, 1, 1), (30, True, 2, 2)],
)
def test_a_low_terminal_does_without_some_parts(height, has_header, n_meters, n_spectrograms):
    layout = Layout.of(80, height, 2 if height == 30 else 1)
    assert layout[:3] == (has_header, n_meters, n_spectrograms)


def test_durations_and_times_are_readable():
    assert [_duration(s) for s in (0.64, 59.94, 75, 3_723)] == [
        "0.6 s",
        "59.9 s",
        "01:15",
        "1:02:03",
    ]
    assert _time_axis(0.1, 30) == "     -2 s╵                 now"
