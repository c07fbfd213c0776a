"""The most specific class is reported, whatever the blocks in which frames arrive."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.events.hierarchy import Hierarchy
from sed.events.tracker import EventTracker, TrackerConfig
from sed.timeline import Timeline

GRID = Timeline(100, 1, 10)  # a frame is 0.1 s: a second to wait is 10 frames, the rest is 30
DOG = Hierarchy.from_dict(("animal", "dog"), {"dog": ["animal"]})


def frames_of(n, **spans):
    """Return frames (n, classes) in which each class is on in [start, stop) or several of them."""
    probs = np.full((n, len(spans)), 0.01, np.float32)
    for c, span in enumerate(spans.values()):
        for start, stop in span if isinstance(span, list) else [span]:
            probs[start:stop, c] = 0.9
    return probs


def run(hierarchy, probs, cuts=(), labels=None, **config):
    tracker = EventTracker(TrackerConfig(**config), labels or hierarchy.labels, GRID, hierarchy)
    ended, started = [], []
    for part in np.split(probs, cuts):
        ended += tracker.push(part)
        started += tracker.started()
        assert {(e.label, e.onset) for e in ended} <= {(e.label, e.onset) for e in started}
    return ended + tracker.flush(), started + tracker.started()


def found(hierarchy, probs, **config):
    events, _ = run(hierarchy, probs, **config)
    return [(e.label, round(10 * e.onset), round(10 * e.offset)) for e in events]


@pytest.mark.parametrize(
    ("animal", "dog", "expected"),
    [
        ((10, 20), (10, 20), [("dog", 10, 20)]),
        # The parent is first, by up to a second: still one sound.
        ((10, 20), (20, 25), [("dog", 20, 25)]),
        ((10, 14), (21, 25), [("animal", 10, 14), ("dog", 21, 25)]),
        # The dog comes later: the animal is reported whole.
        ((10, 60), (25, 30), [("dog", 25, 30), ("animal", 10, 60)]),
        # The dog ends first: what lasts three seconds longer is reported from there.
        ((10, 60), (10, 20), [("dog", 10, 20), ("animal", 20, 60)]),
        ((10, 49), (10, 20), [("dog", 10, 20)]),
        ((10, 60), [(10, 20), (40, 45)], [("dog", 10, 20), ("dog", 40, 45)]),
        # An event within a second after a dog is its echo.
        ((25, 30), (10, 20), [("dog", 10, 20)]),
        ((31, 35), (10, 20), [("dog", 10, 20), ("animal", 31, 35)]),
    ],
)
def test_the_rule(animal, dog, expected):
    assert found(DOG, frames_of(100, animal=animal, dog=dog)) == expected


def test_all_levels_below_count():
    hierarchy = Hierarchy.from_dict(
        ("bark", "dog", "pet", "growl"),
        {"bark": ["dog"], "growl": ["dog"], "dog": ["pet"], "pet": ["animal"]},
    )
    probs = frames_of(90, bark=(10, 20), dog=(8, 22), pet=(5, 30), growl=(12, 18))
    assert found(hierarchy, probs) == [("growl", 12, 18), ("bark", 10, 20)]
    probs = frames_of(90, bark=(0, 0), dog=(8, 22), pet=(5, 30), growl=(0, 0))
    assert found(hierarchy, probs) == [("dog", 8, 22)]


def test_a_class_below_counts_only_where_it_passes_its_threshold_in_time():
    probs = frames_of(60, animal=(10, 20), dog=(10, 20))
    probs[10:20, 1] = 0.4  # above the offset threshold only
    assert found(DOG, probs) == [("animal", 10, 20)]
    probs[18:20, 1] = 0.9
    assert found(DOG, probs) == [("dog", 10, 20)]
    assert found(DOG, probs, min_duration_seconds=0.5) == [("dog", 10, 20)]
    probs[10:18, 1] = 0.01
    assert found(DOG, probs, min_duration_seconds=0.5) == [("animal", 10, 20)]


def test_an_event_is_decided_one_second_after_it_is_certain():
    tracker = EventTracker(TrackerConfig(), DOG.labels, GRID, DOG)
    assert tracker.hold_frames == 10
    probs = frames_of(60, animal=(10, 15), dog=(0, 0))
    counts = []
    for i in range(60):
        ended = tracker.push(probs[i : i + 1])
        counts.append((len(tracker.started()), len(ended)))
    assert counts.index((1, 1)) == 20  # the event began in frame 10
    probs = frames_of(60, animal=(10, 45), dog=(40, 42))
    events = [(len(tracker.push(p)), len(tracker.started())) for p in np.split(probs, 60)]
    assert events.index((0, 1)) == 20
    assert (events[40], events[42], events[45]) == ((0, 1), (1, 0), (1, 0))


def test_without_relations_among_the_labels_nothing_waits():
    tracker = EventTracker(TrackerConfig(), ("dog", "rain"), GRID, DOG)
    assert tracker.hold_frames == 0


@st.composite
def streams(draw):
    """Draw a hierarchy with several parents and levels, frames with long runs, and cuts."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_classes, n_frames = draw(st.integers(2, 6)), draw(st.integers(1, 150))
    labels = tuple(f"class {c}" for c in range(n_classes))
    parents = {
        labels[c]: [labels[p] for p in rng.choice(c, min(c, rng.integers(0, 3)), replace=False)]
        for c in range(1, n_classes)
    }
    values, share = np.float32([0, 0.1, 0.3, 0.5, 0.8, 0.9]), [0.4, 0.1, 0.1, 0.15, 0.15, 0.1]
    probs = rng.choice(values, (n_frames, n_classes), p=share)
    probs = np.repeat(probs, draw(st.integers(1, 25)), axis=0)[:n_frames]
    cuts = draw(st.just(range(1, n_frames)) | st.lists(st.integers(0, n_frames)).map(sorted))
    config = {
        "median_filter_frames": draw(st.sampled_from([1, 3])),
        "min_duration_seconds": draw(st.sampled_from([0.0, 0.3, 1.5])),
        "min_gap_seconds": draw(st.sampled_from([0.0, 0.2, 1.0, 3.0])),
    }
    return Hierarchy.from_dict(labels, parents), probs, cuts, config


@settings(deadline=None, max_examples=100)
@given(streams())
def test_events_do_not_depend_on_how_frames_arrive(stream):
    hierarchy, probs, cuts, config = stream
    events, started = run(hierarchy, probs, (), **config)
    cut_events, cut_started = run(hierarchy, probs, cuts, **config)
    assert cut_events == events
    begun = sorted((e.onset, e.label) for e in events)
    assert begun == sorted((e.onset, e.label) for e in started)
    assert begun == sorted((e.onset, e.label) for e in cut_started)
    for event in cut_started:
        (final,) = [e for e in events if (e.onset, e.label) == (event.onset, event.label)]
        assert event.onset < event.offset <= final.offset
        assert event.score <= final.score


@settings(deadline=None, max_examples=50)
@given(streams())
def test_what_is_reported_is_part_of_what_all_classes_give(stream):
    hierarchy, probs, _, config = stream
    events, _ = run(hierarchy, probs, **config)
    every, _ = run(None, probs, labels=hierarchy.labels, **config)
    whole = {(e.label, e.offset, e.score): e.onset for e in every}
    assert all(e.onset >= whole[e.label, e.offset, e.score] for e in events)
    # Leaves are all reported, and of every sound something is.
    for event in every:
        if not hierarchy.descendants(event.label):
            assert event in events
    assert bool(events) == bool(every)
