from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import median_filter

from sed.events.tracker import Event, EventTracker, TrackerConfig, track_events
from sed.events.tracking.median_filter import MedianFilter
from sed.timeline import Timeline
from tests.sed.events.reference_tracker import ReferenceTracker

GRID = Timeline(100, 1, 10)  # a frame is 0.1 s


def events_of(probs, **config):
    probs = np.atleast_2d(np.asarray(probs, np.float32)).T
    labels = "abc"[: probs.shape[1]]
    found = track_events(probs, labels, GRID, TrackerConfig(**config))
    return [(round(e.onset, 3), round(e.offset, 3), round(e.score, 3)) for e in found]


def test_an_event_lasts_while_it_stays_above_off_and_reaches_on():
    probs = [0.1, 0.3, 0.6, 0.9, 0.4, 0.1, 0.3, 0.4, 0.1]
    assert events_of(probs, onset_threshold=0.5, offset_threshold=0.3) == [(0.1, 0.5, 0.9)]


def test_events_at_the_very_ends_are_found():
    assert events_of([0.9, 0, 0, 0.8]) == [(0.0, 0.1, 0.9), (0.3, 0.4, 0.8)]


def test_gaps_up_to_the_merge_gap_are_closed():
    probs = [0.9, 0, 0, 0.8, 0, 0, 0, 0.7]
    assert events_of(probs, min_gap_seconds=0.2) == [(0.0, 0.4, 0.9), (0.7, 0.8, 0.7)]


def test_a_run_that_never_reaches_on_does_not_bridge_a_gap():
    probs = [0.9, 0, 0.3, 0, 0, 0.8]
    assert events_of(probs, min_gap_seconds=0.3) == [(0.0, 0.1, 0.9), (0.5, 0.6, 0.8)]


def test_short_events_are_dropped_after_merging():
    probs = [0.9, 0, 0.8, 0, 0, 0, 0.9]
    found = events_of(probs, min_gap_seconds=0.1, min_duration_seconds=0.2)
    assert found == [(0.0, 0.3, 0.9)]


def test_thresholds_and_medians_per_class():
    probs = [[0.4, 0.4, 0.4, 0.9, 0.4], [0.4, 0.4, 0.4, 0.9, 0.4]]
    assert events_of(probs, onset_threshold=(0.8, 0.95), offset_threshold=(0.5, 0.5)) == [
        (0.3, 0.4, 0.9)
    ]
    assert events_of(
        probs, onset_threshold=0.8, offset_threshold=0.5, median_filter_frames=(3, 1)
    ) == [(0.3, 0.4, 0.9)]


def test_the_end_of_the_recording_cuts_the_last_event():
    tracker = EventTracker(TrackerConfig(), ["a"], GRID)
    tracker.push(np.ones((3, 1), np.float32))
    assert tracker.flush(end_sample=25) == [Event(0.0, 0.25, "a", 1.0)]


def test_after_a_flush_the_next_recording_starts_afresh():
    tracker = EventTracker(TrackerConfig(median_filter_frames=3), ["a"], GRID)
    probs = np.array([[0], [1], [1], [0], [0]], np.float32)
    first = tracker.push(probs) + tracker.flush()
    assert tracker.push(probs) + tracker.flush() == first != []


cuts = st.lists(st.integers(0, 60), max_size=8).map(sorted)


@st.composite
def streams(draw):
    """Draw labels, frame probabilities with many equal and edge values, a config, and cuts."""
    n_classes, n_frames = draw(st.integers(1, 6)), draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    probs = rng.choice(np.float32([0, 0.1, 0.3, 0.4, 0.5, 0.8, 0.9, 1]), (n_frames, n_classes))
    if draw(st.booleans()):  # long runs
        probs = np.repeat(probs, draw(st.integers(1, 9)), axis=0)[:n_frames]
    per_class = st.sampled_from([0.3, 0.5, 0.8])
    onsets = tuple(draw(st.lists(per_class, min_size=n_classes, max_size=n_classes)))
    medians = st.lists(st.sampled_from([1, 3, 7, 17]), min_size=n_classes, max_size=n_classes)

    def of_classes(values):
        one = st.sampled_from(values)
        return one | st.lists(one, min_size=n_classes, max_size=n_classes).map(tuple)

    config = TrackerConfig(
        onset_threshold=onsets,
        offset_threshold=tuple(draw(st.sampled_from([0.5, 1.0])) * on for on in onsets),
        median_filter_frames=draw(st.sampled_from([1, 3]) | medians.map(tuple)),
        min_duration_seconds=draw(of_classes([0.0, 0.1, 0.3, 1.0])),
        min_gap_seconds=draw(of_classes([0.0, 0.1, 0.4, 1.5])),
    )
    return "abcdef"[:n_classes], probs, config, draw(cuts)


@settings(deadline=None, max_examples=100)
@given(streams(), st.sampled_from([3, 512]))
def test_every_push_gives_what_the_reference_gives(stream, max_block):
    """Compare all that is returned, event by event and bit by bit, with the reference."""
    labels, probs, config, cuts = stream
    ours, reference = (kind(config, labels, GRID) for kind in (EventTracker, ReferenceTracker))
    assert ours.lag_frames == reference.half_median_frames
    with patch("sed.events.tracking.hysteresis.MAX_BLOCK", max_block):
        for number, part in enumerate(np.split(probs, cuts)):
            assert ours.push(part) == reference.push(part)
            if number % 2:
                assert ours.started() == reference.started()
        assert ours.flush(len(probs) * 10 - 3) == reference.flush(len(probs) * 10 - 3)
        assert ours.started() == reference.started()


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    cuts,
    st.sampled_from([1, 3, (1, 3, 7)]),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from([0.0, 0.3]),
)
def test_events_do_not_depend_on_how_frames_arrive(seed, cuts, median, gap, shortest):
    probs = np.random.default_rng(seed).random((60, 3)).astype(np.float32)
    config = TrackerConfig(0.8, 0.4, median, shortest, gap)
    tracker = EventTracker(config, "abc", GRID)
    found = []
    for part in np.split(probs, cuts):
        found += tracker.push(part)
    assert found + tracker.flush() == track_events(probs, "abc", GRID, config)


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    cuts,
    st.sampled_from([1, 3]),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from([0.0, 0.3]),
)
def test_every_event_starts_once_and_no_other_does(seed, cuts, median, gap, shortest):
    probs = np.random.default_rng(seed).random((60, 3)).astype(np.float32)
    tracker = EventTracker(TrackerConfig(0.8, 0.4, median, shortest, gap), "abc", GRID)
    begun, ended = [], []
    for part in np.split(probs, cuts):
        ended += tracker.push(part)
        begun += tracker.started()
        assert {(e.onset, e.label) for e in ended} <= {(e.onset, e.label) for e in begun}
    ended += tracker.flush()
    begun += tracker.started()
    assert sorted((e.onset, e.label) for e in begun) == sorted((e.onset, e.label) for e in ended)
    last = {(e.onset, e.label): e for e in ended}
    for event in begun:
        final = last[event.onset, event.label]
        assert event.offset <= final.offset
        assert event.score <= final.score


def test_an_event_starts_in_the_frame_that_reaches_the_onset_threshold():
    tracker = EventTracker(TrackerConfig(onset_threshold=0.8, offset_threshold=0.3), ["a"], GRID)
    counts = []
    for p in (0.1, 0.4, 0.6, 0.9, 0.5, 0.1, 0.1):
        ended = tracker.push(np.array([[p]], np.float32))
        counts.append((len(tracker.started()), len(ended)))
    assert counts == [(0, 0), (0, 0), (0, 0), (1, 0), (0, 0), (0, 1), (0, 0)]


@given(st.integers(0, 10**6))
def test_events_are_those_of_the_definition(seed):
    """Compare with the definition written out naively over the whole array."""
    probs = np.random.default_rng(seed).random(80).astype(np.float32)
    on, off, gap, shortest = 0.8, 0.3, 2, 3
    runs, start = [], None
    for i, p in enumerate([*probs, 0.0]):
        if p >= off and start is None:
            start = i
        elif p < off and start is not None:
            if probs[start:i].max() >= on:
                runs.append([start, i])
            start = None
    merged = []
    for run in runs:
        if merged and run[0] - merged[-1][1] <= gap:
            merged[-1][1] = run[1]
        else:
            merged.append(run)
    expected = [(a / 10, b / 10) for a, b in merged if b - a >= shortest]
    found = events_of(
        probs,
        onset_threshold=on,
        offset_threshold=off,
        min_gap_seconds=gap / 10,
        min_duration_seconds=shortest / 10,
    )
    assert [(a, b) for a, b, _ in found] == expected


@pytest.mark.parametrize("length", [1, 3, 5, 9])
def test_the_median_filter_equals_scipys(length):
    frames = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    running = MedianFilter(np.array([length, length]))
    ours = np.concatenate([running.push(frames[:7]), running.push(frames[7:]), running.flush()])
    np.testing.assert_array_equal(ours, median_filter(frames, (length, 1), mode="nearest"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"onset_threshold": 0.3, "offset_threshold": 0.5}, "0 < offset_threshold <= onset"),
        ({"onset_threshold": 1.5}, "offset_threshold <= onset_threshold <= 1"),
        ({"median_filter_frames": 2}, "odd median_filter_frames"),
        ({"min_gap_seconds": -1.0}, ">= 0"),
    ],
)
def test_impossible_configs_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        TrackerConfig(**config)


def test_a_threshold_too_few_is_refused():
    with pytest.raises(ValueError, match="one onset_threshold for each of 3 classes, got 2"):
        EventTracker(TrackerConfig(onset_threshold=(0.5, 0.5)), "abc", GRID)
