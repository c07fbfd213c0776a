import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import TableError
from sed.events.scoring.names import match_names


def test_names_are_compared_from_the_end_without_endings_of_sounds():
    known = ["north/a.wav", "south/a.wav", "b.flac"]
    assert match_names(["north/a.wav", r"D:\rec\south\a", "rec/b.wav", "c.wav"], known) == [
        *("north/a.wav", "south/a.wav", "b.flac", None)
    ]


def test_a_name_that_fits_two_recordings_is_refused():
    with pytest.raises(TableError, match=r"a\.wav may be north/a\.wav or south/a\.wav"):
        match_names(["a.wav"], ["north/a.wav", "south/a.wav"])


def test_two_recordings_are_not_the_same_one():
    with pytest.raises(TableError, match=r"north/a\.wav and south/a\.wav may both be a\.wav"):
        match_names(["north/a.wav", "south/a.wav"], ["a.wav"])
    # Two spellings of one name are.
    assert match_names(["rec/north/a.wav", "north/a"], ["a.wav"]) == ["a.wav", "a.wav"]


def test_a_recording_of_another_folder_is_another_one():
    known, names = ["north/a.wav"], ["rec/north/a.wav", "rec/south/a.wav"]
    assert match_names(names, known) == ["north/a.wav", None]
    assert match_names(names[1:], known) == ["north/a.wav"]  # which only the folder contradicts


@given(st.lists(st.text(), unique=True))
def test_names_as_they_are_written_are_themselves(names):
    assert match_names(names, names) == names
