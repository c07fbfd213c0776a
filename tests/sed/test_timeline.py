import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.timeline import Timeline, samples_from_seconds, seconds_from_samples

GRID = Timeline(16_000, 160, 32)


@given(st.integers(0, 10**12), st.sampled_from([8_000, 11_025, 44_100, 48_000, 384_000]))
def test_samples_survive_seconds_and_back(samples, rate):
    assert samples_from_seconds(seconds_from_samples(samples, rate), rate) == samples


def test_a_frame_after_a_week_is_exact():
    frame = 7 * 24 * 3600 * 100 // 32
    assert GRID.frame_time(frame) == frame * 0.32


def test_durations_become_the_nearest_number_of_frames():
    assert [GRID.frames_from_seconds(s) for s in (0, 0.15, 0.16, 0.32, 1.0)] == [0, 0, 1, 1, 3]


def test_a_duration_that_is_no_whole_number_of_columns_is_refused():
    assert GRID.columns_from_seconds(2.5) == 250
    with pytest.raises(ValueError, match=r"0.123 s is not a whole number of columns of 10 ms"):
        GRID.columns_from_seconds(0.123)
