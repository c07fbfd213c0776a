import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.pipeline.windows import SlidingWindow

SILENCE = np.full(1, -9.0, np.float32)


def windows_of(n_columns, hop, cuts=()):
    columns = np.arange(n_columns, dtype=np.float32)[:, None]
    slicer = SlidingWindow(12, hop, SILENCE)
    windows = []
    for part in np.split(columns, sorted(cuts)):
        windows += slicer.push(part)
    return windows + slicer.flush()


@given(
    st.integers(1, 100),
    st.sampled_from([1, 2, 3, 4, 6, 12]),
    st.lists(st.integers(0, 100), max_size=5),
)
def test_every_column_is_in_a_window_and_no_more_windows_than_needed(n, hop, cuts):
    windows = windows_of(n, hop, [min(c, n) for c in cuts])
    assert [w.start for w in windows] == list(range(0, windows[-1].start + 1, hop))
    assert windows[-1].start + 12 >= n
    assert windows[-1].start + 12 - hop < n or len(windows) == 1
    for window in windows:
        expected = np.arange(window.start, window.start + 12, dtype=np.float32)
        expected[expected >= n] = -9.0
        np.testing.assert_array_equal(window.log_mel[:, 0], expected)


def test_a_recording_of_whole_windows_needs_no_padding():
    assert [w.start for w in windows_of(24, 12)] == [0, 12]


def test_nothing_gives_nothing():
    assert windows_of(0, 3) == []


def test_a_hop_that_does_not_divide_the_window_is_refused():
    with pytest.raises(ValueError, match="divides the window of 12 columns, got 5"):
        SlidingWindow(12, 5, SILENCE)
