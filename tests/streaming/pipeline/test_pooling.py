"""Pooling: against NumPy on all frames at once, for any cut of the frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from streaming.engines.base import FrameOutput
from streaming.pipeline.decoder import FrameEmbeddings
from streaming.pipeline.modes import frame_values
from streaming.pipeline.pooling import STATISTICS, Pool


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.lists(st.integers(0, 60), max_size=5), st.integers(0, 2**32 - 1))
def test_any_cut_gives_the_statistics_of_all_frames(n_frames, cuts, seed):
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((n_frames, 3)).astype(np.float32)
    attention = generator.uniform(0.1, 2.0, n_frames).astype(np.float32)
    pool = Pool(STATISTICS)
    for part in np.split(np.arange(n_frames), sorted(min(cut, n_frames) for cut in cuts)):
        pool.push(FrameEmbeddings(vectors[part], attention[part]))
    x = vectors.astype(np.float64)
    weighted = np.average(x, axis=0, weights=attention)
    expected = np.concatenate([x.mean(axis=0), x.max(axis=0), x.std(axis=0), weighted])
    assert pool.n_frames == n_frames
    assert pool.result().dtype == np.float32
    np.testing.assert_allclose(pool.result(), expected, rtol=1e-5, atol=1e-6)


def test_the_deviation_of_large_equal_values_is_zero():
    pool = Pool(["std"])
    pool.push(FrameEmbeddings(np.full((1000, 2), 1234.5678, np.float32), np.ones(1000)))
    np.testing.assert_allclose(pool.result(), 0.0, atol=1e-3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["median"], "unknown statistic 'median'"),
        (["mean", "mean"], "different statistics .* got mean, mean"),
        ([], "got none"),
    ],
)
def test_statistics_that_cannot_be_are_refused(names, message):
    with pytest.raises(UsageError, match=message):
        Pool(names)


def test_attention_that_is_rounded_to_zero_weighs_all_frames_the_same():
    nothing = np.zeros((4, 2, 3), np.float32)
    embeddings = np.arange(8, dtype=np.float32).reshape(4, 2)
    values = frame_values(FrameOutput(nothing[:, 0], nothing, nothing, embeddings))
    pool = Pool(("attention",))
    pool.push(FrameEmbeddings(values[:, 3:5], values[:, 5]))
    np.testing.assert_allclose(pool.result(), embeddings.mean(axis=0))
