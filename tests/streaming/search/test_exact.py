"""Exact search: the same rows and similarities as NumPy finds over the whole array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.events.embedding_store.store import EmbeddingStore, compact
from streaming.search import exact
from streaming.search.exact import half_to_float, search_exact, similarities
from tests.streaming.search.conftest import DIMENSION, make_store, random_recordings

pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def test_every_float16_is_converted_exactly():
    halves = np.arange(65_536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    out = np.empty(len(halves), np.float32)
    half_to_float(halves, out)
    assert np.array_equal(out.view(np.int32), halves.astype(np.float32).view(np.int32))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    recordings = random_recordings()
    recordings["1.wav"][3] = 0  # no direction
    recordings["2.wav"][:5] = recordings["2.wav"][7]  # equal rows
    path = make_store(tmp_path_factory.mktemp("exact") / "store", recordings)
    compact(path, rows_per_part=100)
    return EmbeddingStore(path)


def brute_force(store, query, k, metric):
    scores = similarities(store.vectors(range(store.n_rows)), query[None], metric)[0]
    return np.lexsort((np.arange(store.n_rows), -scores))[:k], scores


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    k=st.sampled_from([1, 7, 50, 240, 1_000]),
    block_rows=st.integers(1, 300),
    chunk_rows=st.integers(1, 70),
    n_threads=st.integers(1, 4),
    metric=st.sampled_from(["cosine", "dot"]),
)
def test_the_rows_are_those_of_a_search_in_memory(
    store, seed, k, block_rows, chunk_rows, n_threads, metric
):
    queries = np.random.default_rng(seed).standard_normal((3, DIMENSION)).astype(np.float32)
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "BLOCK_BYTES", block_rows * 2 * DIMENSION)
        patch.setattr(exact, "CHUNK_VALUES", chunk_rows * DIMENSION)
        found = search_exact(
            store,
            queries,
            k,
            metric=metric,
            n_threads=n_threads,
            on_progress=lambda *c: calls.append(c),
        )
    for query, (rows, scores) in zip(queries, found, strict=True):
        wanted, every_score = brute_force(store, query, k, metric)
        assert len(rows) == min(k, 240)
        assert np.allclose(scores, every_score[wanted], atol=2e-5)
        # Rows whose similarities differ by the rounding of a sum may change places.
        assert np.allclose(every_score[rows], every_score[wanted], atol=2e-5)
        assert len(set(rows.tolist())) == len(rows)
    assert calls[-1] == (240, 240)


def test_a_row_finds_itself_and_equal_rows_come_in_their_order(store):
    ((rows, scores),) = search_exact(store, store.vectors([87]), 6)
    assert rows.tolist() == [80, 81, 82, 83, 84, 87]
    assert scores.tolist() == pytest.approx([1.0] * 6, abs=1e-6)


def test_a_vector_of_zeros_is_similar_to_nothing(store):
    ((rows, scores),) = search_exact(store, np.ones((1, DIMENSION), np.float32), 240)
    assert scores[rows == 43].tolist() == [0.0]


def test_a_damaged_file_ends_a_search(store, monkeypatch):
    def broken(*_, **__):
        yield np.arange(2), np.zeros((2, DIMENSION), np.float16)
        raise OSError("gone")

    monkeypatch.setattr(store, "blocks", broken)
    with pytest.raises(OSError, match="gone"):
        search_exact(store, np.ones((1, DIMENSION), np.float32), 1)
