"""The most probable classes of a frame."""

import numpy as np
import pytest

from sed.events.tracking.top_classes import TopClasses

LABELS = ("animal", "fowl", "rooster", "hen", "dog", "engine", "car")
ANCESTORS = [(), (0,), (1, 0), (1, 0), (0,), (), (5,)]


def top(k, ancestors=ANCESTORS, **probs):
    frame = np.array([[probs.get(label, 0.01) for label in LABELS]], np.float32)
    (row,) = TopClasses(k, ancestors)(frame)
    assert ((row == 0) | (row == frame[0])).all()
    return {label for label, value in zip(LABELS, row, strict=True) if value}


@pytest.mark.parametrize("rooster", [0.7, 0.9, 0.99])
def test_a_class_counts_in_the_place_of_its_ancestors(rooster):
    probs = {"animal": 0.95, "fowl": 0.9, "rooster": rooster, "engine": 0.85, "dog": 0.4}
    assert top(1, **probs) == {"animal", "fowl", "rooster"}
    assert top(2, **probs) == {"animal", "fowl", "rooster", "engine", "car"}
    assert top(3, **probs) == {"animal", "fowl", "rooster", "engine", "car", "dog"}


def test_siblings_count_each():
    assert top(1, rooster=0.9, hen=0.8) == {"animal", "fowl", "rooster"}
    assert top(2, rooster=0.9, hen=0.8) == {"animal", "fowl", "rooster", "hen"}


def test_without_a_hierarchy_the_most_probable_stay():
    lone = [()] * len(LABELS)
    assert top(2, lone, animal=0.9, fowl=0.8, rooster=0.7) == {"animal", "fowl"}


@pytest.mark.parametrize("ancestors", [ANCESTORS, [()] * len(LABELS)])
def test_no_frames_and_few_classes(ancestors):
    assert TopClasses(1, ancestors)(np.empty((0, 7), np.float32)).shape == (0, 7)
    frames = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(TopClasses(7, ancestors)(frames), frames)
