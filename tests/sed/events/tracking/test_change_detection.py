"""Change detection against the definition, written out over the whole array."""

import dataclasses
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.events.hierarchy import Hierarchy
from sed.events.tracker import EventTracker, TrackerConfig, track_events
from sed.events.tracking.median_filter import MedianFilter
from sed.timeline import Timeline

GRID = Timeline(100, 1, 10)  # a frame is 0.1 s
SCALE = 1 << 30
CONFIG = TrackerConfig(0.5, 0.1, decoder="change_detection", step_filter_seconds=0.4)


def borders(p, s):
    """Return the rises, falls and quiet places of probabilities, integers, and a half filter."""
    n = len(p)
    padded = [0] * (2 * s + 2) + list(p) + [0] * (3 * s + 2)

    def step(t):
        t += 2 * s + 2
        return sum(padded[t : t + s]) - sum(padded[t - s : t])

    found, last = [], 1  # the direction of the last change
    for t in range(n + 1):
        change = step(t) - step(t - 1)
        if change < 0 and step(t) < 0:
            later = [step(t + k) - step(t + k - 1) for k in range(1, s + 1)]
            if next((c for c in later if c), 1) > 0:
                found.append((t, 1))
        last = np.sign(change) or last
        if last > 0 and step(t + 1) < step(t) and step(t) > 0:
            found.append((t, 2))
        if t >= 2 * s and not any(p[t - 2 * s : t]) and t > 2 * s and p[t - 2 * s - 1]:
            found.append((t, 0))
    return sorted(found)


def reference(p, config, wait, gap, shortest):
    """Return the events of one class: start, stop, score."""
    s = max(1, GRID.frames_from_seconds(config.step_filter_seconds) // 2)
    p = [int(v) for v in np.rint(np.where(p < np.float32(config.offset_threshold), 0, p) * SCALE)]
    is_max = config.event_score == "max"

    def score(parts, start, stop):
        if is_max:
            return max(max(p[a : min(b, a + wait)]) for a, b in parts) / SCALE
        end = min(stop, start + wait)
        return sum(p[start:end]) / ((end - start) * SCALE)

    groups, parts, last = [], [], None

    def add(a, b):
        if not parts:
            return [(a, b)]
        start, stop = parts[0][0], parts[-1][1]
        # The end of a part that goes on is not known when it is merged.
        before, new = score(parts, start, stop), score([(a, b)], a, min(b, a + wait))
        low = sum(p[stop:a]) / ((a - stop) * SCALE) if a > stop else min(before, new)
        high = max(before, new)
        limit = max(config.merge_threshold_absolute, config.merge_threshold_relative * high)
        if high - low <= limit:
            return [*parts, (a, b)]
        groups.append(parts)
        return [(a, b)]

    for t, what in borders(p, s):
        if last is not None:
            a, rose = last
            if t - a > wait or (what and (rose or what == 1)):
                parts = add(a, t if what else max(a + wait, t - 2 * s))
        if what == 0:
            groups, parts, last = groups + [parts] * bool(parts), [], None
        else:
            last = t, what == 2
    if last is not None and len(p) + 1 - last[0] > wait:
        parts = add(last[0], max(last[0] + wait, len(p) + 1 - 2 * s))
    groups += [parts] * bool(parts)
    events = []
    for parts in groups:
        start, stop = parts[0][0], parts[-1][1]
        value = score(parts, start, stop)
        if value < float(np.float32(config.onset_threshold)):
            continue
        if events and gap and start - events[-1][1] <= gap:
            events[-1] = events[-1][0], stop, max(events[-1][2], value)
        else:
            events.append((start, stop, value))
    return [event for event in events if event[1] - event[0] >= shortest]


shapes = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 0.05, 0.2, 0.4, 0.5, 0.55, 0.9, 1])),
    max_size=14,
)


@st.composite
def streams(draw, most=3):
    """Draw probabilities of classes with steps, slopes and noise, a config, and cuts."""
    n_classes, n_frames = draw(st.integers(1, most)), draw(st.integers(0, 70))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    probs = np.zeros((n_frames, n_classes), np.float32)
    for c in range(n_classes):
        steps = [v for n, v in draw(shapes) for _ in range(n)][:n_frames]
        probs[: len(steps), c] = steps
    noise = draw(st.sampled_from([0, 0, 0.05, 0.3]))
    probs = np.clip(probs + noise * rng.standard_normal(probs.shape), 0, 1).astype(np.float32)

    def of_classes(*values):
        one = st.sampled_from(values)
        return draw(st.lists(one, min_size=n_classes, max_size=n_classes).map(tuple))

    config = TrackerConfig(
        onset_threshold=of_classes(0.3, 0.5, 0.6),
        offset_threshold=of_classes(0.01, 0.1, 0.3),
        median_filter_frames=of_classes(1, 3),
        min_duration_seconds=of_classes(0.0, 0.3),
        min_gap_seconds=of_classes(0.0, 0.0, 0.5),
        decoder="change_detection",
        step_filter_seconds=of_classes(0.0, 0.4, 1.0),
        merge_threshold_absolute=of_classes(0.0, 0.1, 0.3),
        merge_threshold_relative=of_classes(0.0, 0.2, 0.5),
        event_score=of_classes("mean", "max"),
    )
    cuts = draw(st.lists(st.integers(0, 70), max_size=8).map(sorted))
    return "abcdef"[:n_classes], probs, config, cuts


@settings(deadline=None, max_examples=120)
@given(streams(), st.sampled_from([0.3, 1.0, 5.0]), st.sampled_from([4, 256]))
def test_events_are_those_of_the_definition(stream, wait, max_block):
    labels, probs, config, cuts = stream
    with (
        patch("sed.events.tracker.WAIT_SECONDS", wait),
        patch("sed.events.tracking.change_detection.MAX_BLOCK", max_block),
    ):
        tracker = EventTracker(config, labels, GRID)
        found = [event for part in np.split(probs, cuts) for event in tracker.push(part)]
        found += tracker.flush()
    median = MedianFilter(np.array(config.median_filter_frames))
    filtered = np.concatenate([median.push(probs), median.flush()])
    for c, label in enumerate(labels):
        one = config.select([c])
        values = {key: v[0] if isinstance(v, tuple) else v for key, v in vars(one).items()}
        one = dataclasses.replace(one, **values)
        frames = [
            GRID.frames_from_seconds(s) for s in (one.min_gap_seconds, one.min_duration_seconds)
        ]
        expected = reference(filtered[:, c], one, round(10 * wait), *frames)
        ours = [e for e in found if e.label == label]
        assert [(e.onset, e.offset) for e in ours] == [(a / 10, b / 10) for a, b, _ in expected]
        assert [e.score for e in ours] == pytest.approx([score for _, _, score in expected])


def run(tracker, parts, *, started=False):
    """Return the events, and those that have started if wanted."""
    found, begun = [], []
    for part in parts:
        found += tracker.push(part)
        if started:
            begun += tracker.started()
            keys = {(e.onset, e.label) for e in begun}
            assert {(e.onset, e.label) for e in found} <= keys
    found += tracker.flush()
    return found, begun + tracker.started()


TREE = Hierarchy.from_dict("abcd", {"b": ["a"], "c": ["b"]})


@settings(deadline=None, max_examples=80)
@given(streams(4), st.booleans(), st.lists(st.booleans(), min_size=4, max_size=4))
def test_both_decoders_give_the_same_events_however_frames_arrive(stream, hierarchy, changing):
    """Compare streams with one push of everything, with and without a hierarchy."""
    labels, probs, config, cuts = stream
    names = ["change_detection" if one else "hysteresis" for one in changing]
    config = dataclasses.replace(config, decoder=tuple(names[: len(labels)]))
    probs = np.tile(probs, (3, 1))
    cuts = [2 * cut for cut in cuts]
    tree = TREE.with_labels(labels) if hierarchy else None
    tracker = EventTracker(config, labels, GRID, tree)
    whole, _ = run(tracker, [probs])
    streamed, begun = run(tracker, np.split(probs, cuts), started=True)
    assert streamed == whole
    last = {(e.onset, e.label): e for e in streamed}
    assert sorted((e.onset, e.label) for e in begun) == sorted(last)
    for event in begun:
        assert event.offset <= last[event.onset, event.label].offset
        assert event.score <= last[event.onset, event.label].score
    if tree is None:
        for c, label in enumerate(labels):
            alone = track_events(probs[:, [c]], label, GRID, config.select([c]))
            assert [e for e in streamed if e.label == label] == alone


def found(probs, **changes):
    probs = np.asarray(probs, np.float32)[:, None]
    events = track_events(probs, "a", GRID, dataclasses.replace(CONFIG, **changes))
    return [(round(10 * e.onset), round(10 * e.offset), round(e.score, 3)) for e in events]


def test_borders_do_not_depend_on_the_threshold():
    probs = [0] * 5 + [0.6] * 6 + [0] * 5 + [0.9] * 4 + [0] * 3
    assert found(probs) == [(5, 11, 0.6), (16, 20, 0.9)]
    assert found(probs, onset_threshold=0.7) == [(16, 20, 0.9)]


def test_events_at_the_ends_are_found():
    assert found([0.9] * 4 + [0] * 8 + [0.8] * 3) == [(0, 4, 0.9), (12, 15, 0.8)]


def test_a_dip_that_is_shallow_by_either_threshold_is_merged():
    probs = [0] * 5 + [0.8] * 6 + [0.6] * 3 + [0.8] * 6 + [0] * 5
    deep = {"merge_threshold_absolute": 0.1, "merge_threshold_relative": 0.1}
    assert found(probs, **deep) == [(5, 11, 0.8), (11, 14, 0.6), (14, 20, 0.8)][::2]
    assert found(probs, **deep | {"merge_threshold_absolute": 0.25}) == [(5, 20, 0.76)]
    assert found(probs, **deep | {"merge_threshold_relative": 0.3}) == [(5, 20, 0.76)]


def test_a_step_inside_a_sound_is_a_border():
    probs = [0] * 5 + [0.4] * 8 + [0.9] * 8 + [0] * 5
    assert found(probs) == [(13, 21, 0.9)]
    assert found(probs, onset_threshold=0.3) == [(5, 13, 0.4), (13, 21, 0.9)]
    assert found(probs, merge_threshold_absolute=0.5) == [(5, 21, 0.65)]


def test_the_score_is_the_mean_or_the_maximum():
    probs = [0] * 5 + [0.4, 0.6, 0.8, 0.6] + [0] * 5
    assert found(probs, step_filter_seconds=0.8) == [(5, 9, 0.6)]
    assert found(probs, step_filter_seconds=0.8, event_score="max") == [(5, 9, 0.8)]
    assert found(probs, step_filter_seconds=0.8, onset_threshold=0.7) == []


def test_a_long_sound_starts_after_the_wait_and_its_event_ends_when_it_does():
    tracker = EventTracker(CONFIG, "a", GRID)
    probs = np.float32([0] * 10 + [0.8] * 200 + [0] * 20)[:, None]
    begun, ended = [], []
    for n, frame in enumerate(probs):
        ended += [(n, e) for e in tracker.push(frame[None])]
        begun += [(n, e.onset) for e in tracker.started()]
    wait = 50 + tracker.lag_frames
    assert begun == [(10 + wait, 1.0)]
    assert [(n, e.onset, e.offset) for n, e in ended] == [(210 + 4 + tracker.lag_frames, 1.0, 21.0)]
    assert tracker.gap_frames == 100


def test_a_parent_waits_for_a_class_whose_events_are_certain_later():
    config = dataclasses.replace(CONFIG, decoder=("hysteresis", "change_detection", "hysteresis"))
    probs = np.zeros((120, 3), np.float32)
    probs[10:60, 0], probs[12:42, 1] = 0.9, 0.8
    tracker = EventTracker(config, "abc", GRID, TREE.with_labels("abc"))
    assert tracker.hold_frames == 60
    events, _ = run(tracker, [probs])
    assert [(e.label, e.onset, e.offset) for e in events] == [("b", 1.2, 4.2)]
