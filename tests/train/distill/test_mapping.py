"""Labels of collections as classes of AudioSet."""

import pytest

from sed.errors import TableError
from sed.events.tracker import Event
from train.data.clips import Clip
from train.distill.mapping import map_labels


def test_a_label_becomes_a_class_and_says_nothing_about_its_parents():
    (clip,) = map_labels([Clip("x.wav", ("door_wood_knock",), "x")], "esc50")
    assert clip.labels == ("knock",)
    assert {"door", "tap"} <= set(clip.unknown)
    assert not {"dog", "siren", "knock"} & set(clip.unknown)


def test_a_label_that_no_class_fits_is_left_out():
    events = (Event(0.5, 1.0, "can_opening", 1.0), Event(1.0, 2.0, "dog", 1.0))
    clips = [
        Clip("x.wav", ("can_opening",), "x", secondary=("rain",)),
        Clip("y.wav", ("can_opening", "dog"), "y", events=events),
    ]
    first, second = map_labels(clips, "esc50")
    assert first.labels == ()
    assert first.secondary == ("rain",)
    assert {"hiss", "clink", "thunder"} <= set(first.unknown)
    assert second.labels == ("dog",)
    assert second.events == (Event(1.0, 2.0, "dog", 1.0),)


def test_a_label_without_a_row_is_refused():
    with pytest.raises(TableError, match=r"x.wav: the map of labels has no 'dogs'. Did you mean"):
        map_labels([Clip("x.wav", ("dogs",), "x")], "esc50")
