import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.events.tracking.kinds import KindFrames, KindProbs

share = st.integers(1, 100).map(lambda n: n / 100)


@settings(deadline=None)
@given(st.data())
def test_a_kind_is_on_exactly_when_one_of_its_classes_is(data):
    n = data.draw(st.integers(1, 5))
    pairs = data.draw(st.lists(st.tuples(share, share), min_size=n, max_size=n))
    on = np.float32([max(pair) for pair in pairs])
    off = np.float32([min(pair) for pair in pairs])
    kinds = KindProbs([range(n), [0]], on, off)
    edges = np.concatenate([on, off, np.nextafter(on, np.float32(0)), np.nextafter(off, on)])
    values = st.integers(0, 1000).map(lambda n: n / 1000) | st.sampled_from(edges.tolist())
    rows = st.lists(values, min_size=n, max_size=n)
    probs = np.float32(data.draw(st.lists(rows, min_size=1, max_size=8)))
    found = kinds(probs)
    assert found.dtype == np.float32
    for kind, members in enumerate([slice(0, n), slice(0, 1)]):
        reaches_on = (probs >= on)[:, members].any(axis=1)
        reaches_off = (probs >= off)[:, members].any(axis=1)
        if kinds.onset[kind] > kinds.offset[kind]:
            np.testing.assert_array_equal(found[:, kind] >= kinds.onset[kind], reaches_on)
        np.testing.assert_array_equal(found[:, kind] >= kinds.offset[kind], reaches_off)
    np.testing.assert_array_equal(found[:, 1], probs[:, 0])  # alone, a class is not rescaled
    assert ((found >= 0) & (found <= 1)).all()


def test_scores_are_relative_to_the_thresholds():
    kinds = KindProbs([[0, 1]], np.float32([0.2, 0.6]), np.float32([0.1, 0.3]))
    assert kinds.onset.tolist() == [np.float32(0.4)]
    found = kinds(np.float32([[0.2, 0], [0.6, 0], [1, 0], [0, 0.6], [0, 0.8], [0.1, 0], [0.15, 0]]))
    np.testing.assert_allclose(found[:, 0], [0.4, 0.7, 1, 0.4, 0.7, 0.2, 0.3], rtol=1e-6)


def test_equal_thresholds_leave_the_highest_probability():
    kinds = KindProbs([[0, 2], [1]], np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32))
    probs = np.random.default_rng(0).random((20, 3)).astype(np.float32)
    expected = np.stack([probs[:, [0, 2]].max(axis=1), probs[:, 1]], axis=1)
    np.testing.assert_array_equal(kinds(probs), expected)


def test_classes_keep_their_own_medians():
    kinds = KindProbs([[0, 1]], np.full(2, 0.5, np.float32), np.full(2, 0.25, np.float32))
    frames = KindFrames(kinds, np.array([1, 3]))
    probs = np.float32([[0, 0], [0, 1], [0, 0], [0.7, 0], [0, 0]])
    found = np.concatenate([frames.push(probs[:2]), frames.push(probs[2:]), frames.flush()])
    np.testing.assert_allclose(found[:, 0], [0, 0, 0, 0.7, 0], rtol=1e-6)
    assert frames.half_median_frames == 1
