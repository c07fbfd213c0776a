import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.events.reading.frames import FrameScores
from sed.events.scoring.frames import runs, runs_of

LEVELS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), max_size=12)


@given(LEVELS)
def test_at_each_threshold_there_are_the_runs_of_frames_that_reach_it(levels):
    probs = np.array(levels)
    begin, end, first, last = runs(probs)
    assert len(begin) <= len(probs)
    for threshold in (0.05, 0.1, 0.2, 0.25, 0.5, 0.6, 0.75, 0.9, 1.0):
        there = (first < threshold) & (threshold <= last)
        padded = np.concatenate([[False], probs >= threshold, [False]]).astype(int)
        edges = np.diff(padded)
        expected = {*zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True)}
        found = [*zip(begin[there], end[there], strict=True)]
        assert len(found) == len(expected)
        assert {*found} == expected


def test_runs_have_the_times_of_their_frames_and_the_classes_of_interest():
    probs = np.array([[0.2, 0.9], [0.8, 0.9], [0.4, 0.0]], np.float32)
    frames = FrameScores("a.wav", ("dog", "cat"), np.array([0.0, 0.5, 1.5, 2.0]), probs)
    found = runs_of([frames], [3], ["owl", "dog"])
    rows = zip(found.events.onset, found.events.offset, found.first, found.last, strict=True)
    assert sorted(tuple(round(float(x), 3) for x in row) for row in rows) == [
        (0.0, 2.0, 0.0, 0.2),
        (0.5, 1.5, 0.4, 0.8),
        (0.5, 2.0, 0.2, 0.4),
    ]
    assert {*found.events.file.tolist()} == {3}
    assert {*found.events.label.tolist()} == {1}
    assert len(runs_of([frames], [0], ["owl"]).events) == 0
    assert pytest.approx(found.last) == found.events.score
