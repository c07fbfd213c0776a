import numpy as np
import pytest

from streaming.pipeline.overlap_add import OverlapAdd

EDGES = np.minimum(np.arange(17) * 32, 500)  # 16 frames of 32 columns in 500


def stitched(hop, n_windows, value):
    stitcher = OverlapAdd(EDGES, 32, hop)
    parts = [
        stitcher.push(k * hop, np.stack([value(k, i) for i in range(16)]).astype(np.float32))
        for k in range(n_windows)
    ]
    return np.concatenate([*parts, stitcher.flush((n_windows - 1) * hop + 500)])


@pytest.mark.parametrize("hop", [500, 250, 125, 100, 50, 4])
def test_windows_that_agree_stay_as_they_are(hop):
    frames = stitched(hop, 6, lambda k, i: np.array([0.25, 1.0]))
    assert len(frames) == -(-(5 * hop + 500) // 32)
    np.testing.assert_allclose(frames, [[0.25, 1.0]] * len(frames), rtol=1e-6)


@pytest.mark.parametrize("hop", [500, 250, 50])
def test_time_is_kept(hop):
    """Frames that say when they are come out in their place, to within a frame."""
    centre = (EDGES[:-1] + EDGES[1:]) / 2
    frames = stitched(hop, 5, lambda k, i: np.array([k * hop + centre[i]]))
    expected = np.arange(len(frames)) * 32 + 16
    assert np.abs(frames[:-1, 0] - expected[:-1]).max() < 16


def test_the_middle_of_a_window_counts_most():
    """Two windows disagree where they overlap; the one whose middle is nearer wins."""
    frames = stitched(250, 2, lambda k, i: np.array([float(k)]))[:, 0]
    assert frames[0] == 0.0
    assert frames[20] == 1.0
    assert frames[9] < 0.3
    assert frames[14] > 0.7
    assert (np.diff(frames[8:16]) > 0).all()


def test_frames_come_out_as_soon_as_no_window_can_change_them():
    stitcher = OverlapAdd(EDGES, 32, 250)
    ones = np.ones((16, 1), np.float32)
    assert len(stitcher.push(0, ones)) == 250 // 32
    assert len(stitcher.push(250, ones)) == 500 // 32 - 250 // 32


def test_padding_is_not_reported():
    stitcher = OverlapAdd(EDGES, 32, 500)
    first = stitcher.push(0, np.ones((16, 1), np.float32))
    assert len(first) + len(stitcher.flush(end_column=500)) == 16
    stitcher.push(0, np.ones((16, 1), np.float32))
    stitcher.flush(end_column=500)
    stitcher = OverlapAdd(EDGES, 32, 250)
    early = stitcher.push(0, np.ones((16, 1), np.float32))
    assert len(early) + len(stitcher.flush(end_column=300)) == 10  # not 16


def test_nothing_gives_nothing():
    assert OverlapAdd(EDGES, 32, 250).flush(0).size == 0


@pytest.mark.parametrize(
    ("lookahead_seconds", "n_frames"), [(None, 1), (450, 1), (100, 12), (0, 15)]
)
def test_with_a_lookahead_frames_are_final_before_all_windows_were_added(
    lookahead_seconds, n_frames
):
    stitcher = OverlapAdd(EDGES, 32, 50, lookahead_seconds)
    assert len(stitcher.push(0, np.ones((16, 1), np.float32))) == n_frames


@pytest.mark.parametrize("lookahead_seconds", [0, 32, 100, 333])
def test_with_a_look_ahead_later_windows_do_not_change_what_is_final(lookahead_seconds):
    """Each frame is a mean of the windows up to the first that reaches so far beyond it."""
    stitcher = OverlapAdd(EDGES, 32, 50, lookahead_seconds)
    frames = [
        stitcher.push(start, np.full((16, 1), start, np.float32)) for start in range(0, 1000, 50)
    ]
    together = np.concatenate([*frames, stitcher.flush(950 + 500)])[:, 0]
    assert len(together) == -(-1450 // 32)
    for j, value in enumerate(together[20:40], start=20):
        newest = next(s for s in range(0, 2000, 50) if (s + 500 - lookahead_seconds) // 32 > j)
        assert 32 * (j + 1) - 500 - 32 <= value <= min(newest, 950) + 1e-3
    assert (np.diff(together) > -1e-3).all()


def test_a_look_ahead_longer_than_the_overlap_is_all_of_it():
    whole, longer = OverlapAdd(EDGES, 32, 250), OverlapAdd(EDGES, 32, 250, 10_000)
    assert longer.lookahead_columns == whole.lookahead_columns == 250
