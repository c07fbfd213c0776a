import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sed.events.tracker import TrackerConfig, track_events
from sed.timeline import Timeline
from train.distill.event_peaks import closed, event_peaks

TIMELINE = Timeline(16_000, 160, 16)
EXAMPLE = np.array([0, 0.4, 0.9, 0.5, 0.6, 0.1, 0.3, 0.3, 0, 0.7, 0.2], np.float32)


def n_tracked(probs, threshold, ratio):
    config = TrackerConfig(float(threshold), float(threshold) * ratio)
    return len(track_events(probs[:, None], ["a"], TIMELINE, config))


def test_a_peak_is_an_event_of_its_own_above_the_valley_over_the_ratio():
    peaks = event_peaks(EXAMPLE, 0.8)
    assert peaks.heights == pytest.approx([0.9, 0.7, 0.3])
    assert peaks.joins == pytest.approx([0, 0, 0.125])
    assert peaks.n_events(np.array([0.1, 0.2, 0.29, 0.31, 0.69, 0.8, 0.95])).tolist() == [
        *(2, 3, 3, 2, 2, 1, 0)
    ]


def test_peaks_below_the_lowest_threshold_are_left_out():
    assert event_peaks(EXAMPLE, 0.8, lowest=0.5).heights == pytest.approx([0.9, 0.7])


def test_short_dips_do_not_separate_events():
    probs = np.array([0, 0.9, 0, 0.8, 0, 0, 0, 0.7], np.float32)
    assert event_peaks(probs, 0.5).heights == pytest.approx([0.9, 0.8, 0.7])
    assert event_peaks(probs, 0.5, gap_frames=1).heights == pytest.approx([0.9, 0.7])
    assert event_peaks(probs, 0.5, gap_frames=3).heights == pytest.approx([0.9])
    assert closed(probs, 2) == pytest.approx([0, 0.9, 0.8, 0.8, 0, 0, 0, 0.7])


def test_silence_has_no_peaks():
    peaks = event_peaks(np.zeros(50, np.float32), 0.5)
    assert peaks.n_events(np.array([0.1])).tolist() == [0]


@settings(max_examples=50)
@given(
    probs=arrays(np.float32, st.integers(1, 40), elements=st.integers(0, 8).map(lambda k: k / 8)),
    threshold=st.integers(1, 8).map(lambda k: (k - 0.5) / 8),
    ratio=st.sampled_from([0.3, 0.5, 0.8]),
)
def test_counts_equal_those_of_the_event_tracker(probs, threshold, ratio):
    counted = event_peaks(probs, ratio).n_events(np.array([threshold]))
    assert counted.tolist() == [n_tracked(probs, threshold, ratio)]
