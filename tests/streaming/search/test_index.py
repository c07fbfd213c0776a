"""The approximate index: it finds what the exact search finds, grows, and notices changes."""

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import MissingExtraError, SedError
from sed.events.embedding_store.store import EmbeddingStore, compact
from streaming.search import index as index_module
from streaming.search.exact import search_exact
from streaming.search.index import INDEX, STATE, open_index, read_state, update_index
from streaming.search.search import Ranking, SearchConfig
from tests.streaming.search.conftest import DIMENSION, make_store, random_recordings

pytest.importorskip("usearch", reason="usearch is not installed")
pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

QUERIES = np.random.default_rng(9).standard_normal((5, DIMENSION)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "store", random_recordings())


def check_neighbours(path, metric="cosine"):
    """Compare with the exact search.

    The graph depends on the order in which threads add rows, so neighbours may be missed: some in
    a hundred here. Without any graph, 10 of 240 rows would have a recall of 0.04.
    """
    store = EmbeddingStore(path)
    search = open_index(store)
    n_found = 0
    exact = search_exact(store, QUERIES, 10, metric=metric)
    for query, (rows, scores) in zip(QUERIES, exact, strict=True):
        score_of = dict(zip(rows.tolist(), scores.tolist(), strict=True))
        found, similarity = search(query, 10)
        assert np.all(np.diff(similarity) <= 1e-6)
        for row, score in zip(found.tolist(), similarity.tolist(), strict=True):
            if row in score_of:
                n_found += 1
                assert score == pytest.approx(score_of[row], abs=1e-5)
    assert n_found >= 0.8 * sum(len(rows) for rows, _ in exact)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_an_index_finds_the_rows_of_the_exact_search(path, metric):
    calls = []
    update_index(path, metric=metric, on_progress=lambda *call: calls.append(call))
    assert calls[-1] == (240, 240)
    check_neighbours(path, metric)
    state = read_state(EmbeddingStore(path))
    assert (state.metric, state.n_missing, state.n_superseded) == (metric, 0, 0)


def test_an_index_takes_up_what_was_added_and_forgets_what_was_superseded(path, monkeypatch):
    update_index(path)
    monkeypatch.setattr(index_module, "compact", lambda p: compact(p, rows_per_part=2))
    changed = random_recordings(seed=1)
    make_store(path, {"3.wav": changed["3.wav"][:7], "new.wav": changed["4.wav"]})
    state = read_state(EmbeddingStore(path))
    assert (state.n_missing, state.n_superseded) == (47, 40)
    built = []
    add = index_module._add
    monkeypatch.setattr(index_module, "_add", lambda i, k, v: (built.append(len(k)), add(i, k, v)))
    update_index(path)
    assert sum(built) == 47
    check_neighbours(path)
    update_index(path)
    assert sum(built) == 47
    update_index(path, metric="dot")
    assert sum(built) == 47 + 247
    check_neighbours(path, "dot")


def test_an_index_is_built_again_when_its_parts_are_gone_or_changed(path):
    update_index(path)
    make_store(path, {f"{i}.wav": v for i, v in enumerate(random_recordings(seed=2).values())})
    update_index(path)
    state = read_state(EmbeddingStore(path))
    assert (state.n_missing, state.n_superseded, list(state.parts)) == (0, 0, ["1"])
    check_neighbours(path)


def test_a_search_uses_a_current_index_only_and_says_why(path, caplog, monkeypatch):
    def uses_index(metric="cosine", **options):
        config = SearchConfig(metric=metric)
        return Ranking(EmbeddingStore(path), config, **options)._index is not None

    assert not uses_index()
    update_index(path)
    assert uses_index()
    assert not uses_index(exact=True)
    assert not caplog.messages
    assert not uses_index(metric="dot")
    assert caplog.messages[-1].endswith("since the index is for the metric cosine")
    make_store(path, {"new.wav": np.ones((1, DIMENSION))})
    assert not uses_index()
    assert "the index lacks 1 row, which `sed search STORE --index` adds" in caplog.messages[-1]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not uses_index()
    assert "needs an extra: pip install 'sed-engine[search]'" in caplog.messages[-1]


def test_a_kill_between_both_files_of_an_index_is_noticed(path):
    update_index(path)
    (path / INDEX).write_bytes((path / INDEX).read_bytes() + b"more")
    assert read_state(EmbeddingStore(path)) is None
    with pytest.raises(SedError, match=r"has no index that can be used\. Make it with `sed search"):
        open_index(EmbeddingStore(path))
    update_index(path)
    check_neighbours(path)
    (path / STATE).write_text("[]")
    assert read_state(EmbeddingStore(path)) is None
    update_index(path)
    values = json.loads((path / STATE).read_text())
    (path / INDEX).write_bytes(b"x" * values["bytes"])
    with pytest.raises(
        SedError, match=r"cannot be read as an index\. Delete it, and make it again"
    ):
        open_index(EmbeddingStore(path))


def test_an_interrupted_build_continues_from_what_was_saved(path, monkeypatch):
    compact(path, rows_per_part=80)
    monkeypatch.setattr(index_module, "compact", lambda path: None)
    monkeypatch.setattr(index_module, "SAVE_SECONDS", 0.0)

    def stop(n_done, n_rows):
        if n_done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_index(path, on_progress=stop)
    assert read_state(EmbeddingStore(path)).n_missing == 160
    calls = []
    update_index(path, on_progress=lambda *call: calls.append(call))
    assert calls[0][0] == 160
    check_neighbours(path)


def test_rows_of_zeros_are_never_found(tmp_path):
    path = make_store(tmp_path / "zeros", {"a": np.zeros((3, DIMENSION)), "b": np.eye(DIMENSION)})
    update_index(path)
    rows, _ = open_index(EmbeddingStore(path))(QUERIES[0], 40)
    assert sorted(rows.tolist()) == list(range(3, 19))


def test_without_usearch_the_extra_is_named(path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("usearch"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'sed-engine\[search\]'"):
        update_index(path)


def test_the_command_builds_an_index_and_info_shows_it(path):
    done = CliRunner().invoke(app(), ["search", str(path), "--index"])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "  index     cosine, current" in CliRunner().invoke(app(), ["info", str(path)]).stdout
    assert Path(path / INDEX).stat().st_size > 240 * DIMENSION
    make_store(path, {"new.wav": np.ones((1, DIMENSION))})
    assert (
        "  index     cosine, lacks 1 row" in CliRunner().invoke(app(), ["info", str(path)]).stdout
    )
