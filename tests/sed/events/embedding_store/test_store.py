"""The embedding store: what is written comes back, whatever is killed, embedded again or merged."""

import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import SedError, UsageError
from sed.events.embedding_store import compact as compaction
from sed.events.embedding_store.compact import ORPHAN_SECONDS
from sed.events.embedding_store.store import (
    EmbeddingStore,
    EmbeddingWriter,
    StoreConfig,
    compact,
    create_store,
    read_store_config,
    recording_paths,
    recording_written_whole,
)
from sed.events.tracker import Event

pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

CONFIG = StoreConfig("m.safetensors", "ab12", "features", ("mean", "max"), 3, "every 5 s")


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path):
    create_store(tmp_path / "store", CONFIG)
    return tmp_path / "store"


def rows_of(name, n_rows, version=0):
    """Return rows and vectors that are different for each name, version and row."""
    events = [Event(5.0 * i, 5.0 * i + 5, f"v{version}", 0.0, f"in/{name}") for i in range(n_rows)]
    number = sum(name.encode("utf-8", "surrogateescape")) % 1_000
    return events, np.array([[number, version, i] for i in range(n_rows)]).reshape(-1, 3)


def write(store, name, n_rows, version=0):
    events, vectors = rows_of(name, n_rows, version)
    with recording_written_whole(store, name, 3) as writer:
        for i in range(0, n_rows, 2):
            writer.write(events[i : i + 2], vectors[i : i + 2])


def contents(store):
    """Return the rows and vectors of each recording, read in three ways that must agree."""
    opened = EmbeddingStore(store)
    rows = list(range(opened.n_rows))
    events = opened.events(rows)
    blocks = [(numbers, vectors.copy()) for numbers, vectors in opened.blocks(3)]
    vectors = np.concatenate([v for _, v in blocks]) if blocks else np.empty((0, 3))
    assert [int(n) for numbers, _ in blocks for n in numbers] == rows
    assert np.array_equal(vectors, opened.vectors(rows))
    assert len(opened.recordings) == opened.n_recordings
    found = {name: [] for name in opened.recordings}
    for event, vector in zip(events, vectors, strict=True):
        found[event.file.removeprefix("in/")].append((event, *vector.tolist()))
    return found


def expected(name, n_rows, version=0):
    events, vectors = rows_of(name, n_rows, version)
    return [(event, *vector) for event, vector in zip(events, vectors.tolist(), strict=True)]


def test_rows_come_back_before_and_after_they_are_merged(store):
    sizes = {"a.wav": 5, "b.wav": 1, "none.wav": 0, "sub/ü c.wav": 7}
    for name, n_rows in sizes.items():
        write(store, name, n_rows)
    wanted = {name: expected(name, n_rows) for name, n_rows in sizes.items()}
    assert contents(store) == wanted
    compact(store, min_rows=14)
    assert len(list((store / "recordings").iterdir())) == 8
    compact(store, min_rows=13)
    assert sorted(p.name for p in (store / "parts").iterdir()) == ["000000.npy", "000000.parquet"]
    assert not list((store / "recordings").iterdir())
    assert contents(store) == wanted
    opened = EmbeddingStore(store)
    assert opened.events([3, 0, 3])[0] == opened.events([3])[0]
    assert np.array_equal(opened.vectors([3, 0, 3]), opened.vectors([3, 0, 3, 1])[:3])
    assert opened.vectors([]).shape == (0, 3)
    compact(store)
    assert sorted(p.name for p in (store / "parts").iterdir()) == ["000000.npy", "000000.parquet"]


def test_pandas_and_numpy_read_a_store(store):
    time = datetime(2024, 5, 1, 5, 30, tzinfo=UTC)
    with recording_written_whole(store, "a.wav", 3) as writer:
        writer.write([Event(0.0, 5.0, "wren", 0.25, "in/a.wav", time)], np.ones((1, 3)))
    write(store, "b.wav", 2)
    compact(store)
    rows = pd.read_parquet(store / "parts" / "000000.parquet")
    vectors = np.load(store / "parts" / "000000.npy", mmap_mode="r")
    assert vectors.dtype == np.float16
    assert vectors.shape == (len(rows), 3) == (3, 3)
    assert list(rows.columns) == [
        *("file", "onset", "offset", "label", "score", "time", "utc_offset_minutes"),
        *("local_time", "recording"),
    ]
    by_name = dict(zip(rows.recording, np.asarray(vectors).tolist(), strict=True))
    assert by_name["a.wav"] == [1.0, 1.0, 1.0]
    assert by_name["b.wav"] == rows_of("b.wav", 2)[1][1].tolist()
    wren = rows[rows.recording == "a.wav"].iloc[0]
    assert (wren.label, wren.score, wren.time.to_pydatetime()) == ("wren", 0.25, time)


def test_a_later_recording_takes_the_place_of_an_earlier_one(store):
    for name in ("a.wav", "b.wav", "c.wav"):
        write(store, name, 4)
    compact(store)
    write(store, "b.wav", 2, version=1)
    wanted = {"a.wav": expected("a.wav", 4), "b.wav": expected("b.wav", 2, 1)}
    wanted["c.wav"] = expected("c.wav", 4)
    assert contents(store) == wanted
    opened = EmbeddingStore(store)
    assert opened.files[0].slices.tolist() == [[0, 4], [8, 12]]
    assert opened.rows_of(0, np.arange(12)).tolist() == [0, 1, 2, 3, -1, -1, -1, -1, 4, 5, 6, 7]
    assert opened.rows_of(1, np.arange(2)).tolist() == [8, 9]
    compact(store)
    assert contents(store) == wanted
    assert [p.stem for p in (store / "parts").glob("*.npy")] == ["000001"]


class KilledError(BaseException):
    """The process has ended: nothing after it changes a file."""


def kill_after(patch, n_steps):
    """Let so many files be renamed or deleted, and nothing after them."""
    steps = iter(range(n_steps))

    def wrap(function):
        def step(*arguments, **options):
            if next(steps, None) is None:
                raise KilledError
            return function(*arguments, **options)

        return step

    patch.setattr(os, "replace", wrap(os.replace))
    patch.setattr(os, "unlink", wrap(os.unlink))


def test_a_kill_at_any_step_of_a_merge_neither_loses_nor_doubles_a_row(store, tmp_path):
    for name in ("a", "b", "c", "d"):
        write(store, name, 3)
    compact(store, rows_per_part=7)
    write(store, "b", 5, version=1)
    write(store, "e", 2)
    wanted = contents(store)
    assert {name: len(rows) for name, rows in wanted.items()} == dict(a=3, b=5, c=3, d=3, e=2)
    for n_steps in range(100):
        copied = tmp_path / f"killed {n_steps}"
        (copied / "parts").mkdir(parents=True)
        (copied / "recordings").mkdir()
        for path in store.rglob("*.*"):
            (copied / path.relative_to(store)).write_bytes(path.read_bytes())
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, n_steps)
            try:
                compact(copied, rows_per_part=1_000)
            except KilledError:
                killed = True
            else:
                killed = False
        assert contents(copied) == wanted
        compact(copied, rows_per_part=1_000)
        assert contents(copied) == wanted
        if not killed:
            break
    # Two files are renamed; those of two parts and two recordings are deleted.
    assert n_steps >= 2 + 8


names = st.sampled_from(["a", "b", "ü/c", "d"])
kills = st.none() | st.integers(0, 8)
operations = st.one_of(
    st.tuples(st.just("write"), names, st.integers(0, 5), kills),
    st.tuples(st.just("compact"), st.integers(1, 12), st.integers(0, 9), kills),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(operations, min_size=3, max_size=12))
def test_any_sequence_of_writes_merges_and_kills_leaves_what_was_written(
    tmp_path_factory, sequence
):
    store = tmp_path_factory.mktemp("any") / "store"
    create_store(store, CONFIG)
    state: dict[str, list] = {}
    written: dict[str, list] = {}  # all versions of each recording
    for version, (kind, first, second, kill) in enumerate(sequence):
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, 10_000 if kill is None else kill)
            killed = False
            try:
                if kind == "write":
                    written.setdefault(first, []).append(expected(first, second, version))
                    write(store, first, second, version)
                else:
                    compact(store, rows_per_part=first, min_rows=second)
            except KilledError:
                killed = True
        found = contents(store)
        if kind == "write" and not killed:
            state[first] = written[first][-1]
        elif kind == "write":  # the new rows, earlier ones, or none: never a mixture
            assert found.get(first) in [None, *written[first]]
            state.pop(first, None)
            state |= {first: found[first]} if first in found else {}
        assert found == state
    compact(store)
    assert contents(store) == state


def test_a_recording_embedded_again_during_a_merge_stays(store, monkeypatch):
    write(store, "a", 3)
    write(store, "b", 3)
    from sed.events.embedding_store import compact as compact_module

    monkeypatch.setattr(compact_module, "_sync_folder", lambda _: write(store, "b", 2, 1))
    compact(store)
    assert contents(store) == {"a": expected("a", 3), "b": expected("b", 2, 1)}


def test_what_a_killed_program_left_is_ignored_and_deleted_later(store):
    write(store, "a", 2)
    npy, parquet = recording_paths(store, "half")
    np.save(npy, np.zeros((4, 3), np.float16))
    (store / "recordings" / f".{parquet.name}.77.part").write_bytes(b"PAR1")
    assert contents(store) == {"a": expected("a", 2)}
    compact(store)
    assert npy.exists()
    long_ago = npy.stat().st_mtime - 2 * ORPHAN_SECONDS
    os.utime(npy, (long_ago, long_ago))
    compact(store)
    assert not npy.exists()
    assert contents(store) == {"a": expected("a", 2)}


def test_files_of_two_versions_of_a_recording_do_not_count(store, caplog):
    write(store, "a", 2)
    write(store, "b", 2)
    np.save(recording_paths(store, "b")[0], np.zeros((4, 3), np.float16))
    assert contents(store) == {"a": expected("a", 2)}
    assert "is not complete and is ignored. Embed the recording again." in caplog.text


def test_vectors_are_clipped_and_must_be_finite(store):
    events, _ = rows_of("a", 2)
    with recording_written_whole(store, "a", 3) as writer:
        writer.write(events, np.array([[1e6, -1e6, 0.1], [65_504, 65_519, 0]]))
    largest = 65_504.0
    assert EmbeddingStore(store).vectors([0, 1]).tolist() == [
        [largest, -largest, float(np.float16(0.1))],
        [largest, largest, 0.0],
    ]
    with (
        pytest.raises(SedError, match=r"b: the embedding of 5\.000–10\.000 s is not finite"),
        recording_written_whole(store, "b", 3) as writer,
    ):
        writer.write(events, np.array([[1, 2, 3], [1, np.nan, 3]]))
    with (
        pytest.raises(UsageError, match=r"expected vectors of shape \(2, 3\), got \(2, 4\)"),
        recording_written_whole(store, "b", 3) as writer,
    ):
        writer.write(events, np.ones((2, 4)))
    assert EmbeddingStore(store).recordings == {"a"}
    assert len(list((store / "recordings").iterdir())) == 2


def test_a_writer_fills_the_files_that_the_caller_gives(tmp_path):
    events, vectors = rows_of("a", 4)
    with EmbeddingWriter(tmp_path / "x.npy", tmp_path / "x.parquet", "a", 3) as writer:
        writer.write(events[:1], vectors[:1])
        writer.write([], np.empty((0, 3)))
        writer.write(events[1:], vectors[1:])
    assert np.load(tmp_path / "x.npy").tolist() == vectors.tolist()
    assert pd.read_parquet(tmp_path / "x.parquet").onset.tolist() == [0.0, 5.0, 10.0, 15.0]


def test_names_that_are_no_text_or_very_long(store):
    odd = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    names = [odd, "é" * 300, "../up.wav", "a/b", "a_b", "A/b", "C:\\x.wav", ".hidden"]
    for name in names:
        write(store, name, 1)
    paths = {recording_paths(store, name) for name in names}
    assert len({str(npy).lower() for npy, _ in paths}) == len(names)
    assert all(npy.parent == store / "recordings" and npy.exists() for npy, _ in paths)
    recordings = EmbeddingStore(store).recordings
    assert recordings == {r"caf\xe9.wav", *names[1:]}
    compact(store)
    assert EmbeddingStore(store).recordings == recordings


def test_a_store_has_one_way_of_embedding(store):
    another = replace(CONFIG, pool=("mean",))
    create_store(store, another)  # there is nothing in it yet
    assert read_store_config(store) == another
    create_store(store, CONFIG)
    with recording_written_whole(store, "a.wav", CONFIG.dimension) as writer:
        writer.write([Event(0.0, 1.0, "", 1.0, "a.wav")], np.zeros((1, CONFIG.dimension)))
    create_store(store, replace(CONFIG, versions={"torch": "9"}, model="elsewhere"))
    assert read_store_config(store) == CONFIG
    with pytest.raises(
        UsageError, match=r"this store has the pooling \(--pool\) mean, max, not mean"
    ):
        create_store(store, replace(CONFIG, pool=("mean",)))
    with pytest.raises(UsageError, match="has the dimension 3, not 4"):
        create_store(store, replace(CONFIG, dimension=4))
    with pytest.raises(SedError, match="is a file, or a folder with other files"):
        create_store(store.parent, CONFIG)


def test_a_store_is_made_beside_the_journal_of_its_scan(tmp_path):
    (tmp_path / ".sed-journal.sqlite").write_bytes(b"a journal")
    create_store(tmp_path, CONFIG)
    assert read_store_config(tmp_path) == CONFIG


def test_damaged_files_are_named_with_the_remedy(store, tmp_path):
    with pytest.raises(SedError, match=r"is not an embedding store \(there is no store\.json\)"):
        EmbeddingStore(tmp_path)
    write(store, "a", 300)
    npy, parquet = recording_paths(store, "a")
    remedy = "Delete this .npy and its .parquet, and embed their recordings again."

    def check(path, data, message):
        good = path.read_bytes()
        path.write_bytes(data) if data is not None else path.unlink()
        with pytest.raises(SedError) as raised:
            EmbeddingStore(store)
        assert str(raised.value) == f"{path}: {message} {remedy}"
        path.write_bytes(good)

    check(npy, npy.read_bytes()[:-1], "it is truncated.")
    check(npy, b"\x93NUMPY\x01", "it cannot be read.")
    check(npy, None, "it is missing, and its .parquet is there.")
    wide = tmp_path / "wide.npy"
    np.save(wide, np.zeros((300, 4), np.float16))
    check(npy, wide.read_bytes(), "its vectors have 4 values, the store has 3.")
    np.save(wide, np.zeros((300, 3), np.float32))
    check(npy, wide.read_bytes(), "expected float16 (rows, 3), got float32 (300, 3).")
    check(parquet, parquet.read_bytes()[:-9], "it cannot be read.")
    check(parquet, b"", "it cannot be read.")
    opened = EmbeddingStore(store)
    with pytest.raises(UsageError, match="has rows 0 to 299, and not 300"):
        opened.vectors([0, 300])
    os.truncate(npy, npy.stat().st_size - 1)
    with pytest.raises(SedError, match="cannot be read: it is truncated"):
        opened.vectors([299])


def test_a_store_json_that_is_damaged_or_of_a_newer_version(store):
    path = store / "store.json"
    values = json.loads(path.read_text())
    assert values["format_version"] == 1
    for changed, message in (
        (values | {"format_version": 2}, "has format version 2, and this program reads up to 1"),
        (values | {"dimension": 0}, "expected a dimension of at least 1, got 0"),
        (values | {"window_seconds": "5"}, "expected a window_seconds above 0, got '5'"),
        (values | {"colour": 1}, "unknown key 'colour'"),
        (values | {"format": "other"}, "is damaged"),
        ([], "is damaged"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(SedError, match=message):
            read_store_config(store)


def test_row_groups_are_filled_and_rows_are_found_across_them(store, monkeypatch):
    from sed.events.writing import parquet

    monkeypatch.setattr(parquet, "STORE_ROWS_PER_GROUP", 8)
    generator = random.Random(3)
    sizes = {f"r{i}": generator.randint(0, 13) for i in range(12)}
    for name, n_rows in sizes.items():
        write(store, name, n_rows)
    write(store, "r5", 9)
    compact(store)
    (path,) = (store / "parts").glob("*.parquet")
    with pytest.importorskip("pyarrow.parquet").ParquetFile(path) as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert min(groups[:-1]) >= 8
    assert contents(store) == {n: expected(n, k) for n, k in (sizes | {"r5": 9}).items()}


def test_blocks_can_reuse_buffers(store):
    write(store, "a", 5)
    write(store, "b", 4)
    buffers = [np.empty((2, 3), np.float16) for _ in range(2)]
    found = []
    for i, (rows, vectors) in enumerate(EmbeddingStore(store).blocks(2, buffers=buffers)):
        assert np.shares_memory(vectors, buffers[i % 2])
        found += list(zip(rows.tolist(), vectors[:, 2].tolist(), strict=True))
    assert found == list(enumerate([0, 1, 2, 3, 4, 0, 1, 2, 3]))
    with pytest.raises(UsageError, match="max_rows of at least 1"):
        next(EmbeddingStore(store).blocks(0))


def test_a_path_is_enough(tmp_path):
    create_store(str(tmp_path / "s"), CONFIG)
    assert EmbeddingStore(str(tmp_path / "s")).n_rows == 0
    assert list(EmbeddingStore(tmp_path / "s").blocks()) == []
    assert Path(tmp_path / "s" / "store.json").exists()


def test_a_recording_that_is_replaced_while_it_is_merged_is_kept(tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    store = tmp_path / "store"
    create_store(store, StoreConfig("m", "", "features", ("mean",), 2, "clips"))

    def add(value):
        with recording_written_whole(store, "a", 2) as writer:
            writer.write([Event(0, 1, "", 1.0, "a")], np.full((1, 2), value))

    delete, threads = compaction._delete, []

    def replaced_meanwhile(source):
        threads.append(Thread(target=add, args=(2.0,)))
        threads[0].start()
        threads[0].join(0.2)
        delete(source)

    add(1.0)
    monkeypatch.setattr(compaction, "_delete", replaced_meanwhile)
    compact(store)
    threads[0].join()
    opened = EmbeddingStore(store)
    assert opened.vectors(np.arange(opened.n_rows)).tolist() == [[2.0, 2.0]]


def test_stores_are_read_and_merged_by_several_programs_while_recordings_are_added(tmp_path):
    store = tmp_path / "store"
    create_store(store, StoreConfig("m", "", "features", ("mean",), 2, "clips"))

    def add(n):
        with recording_written_whole(store, f"{n}", 2) as writer:
            writer.write([Event(0, 1, "", 1.0, f"{n}")], np.full((1, 2), n))

    def add_to_end():
        for n in range(20, 40):
            add(n)

    def read():
        for _ in range(10):
            opened = EmbeddingStore(store)
            rows = np.arange(opened.n_rows)
            assert opened.n_rows == opened.n_recordings >= 20
            with suppress(SedError):  # merged since it was opened
                files = [float(event.file) for event in opened.events(rows)]
                np.testing.assert_array_equal(opened.vectors(rows)[:, 0], files)

    def merge():
        for _ in range(10):
            compact(store)

    def replace():
        for n in range(20):
            add(n % 3)

    for n in range(20):
        add(n)
    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(work) for work in (merge, merge, read, add_to_end)]:
            done.result()
    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(work) for work in (merge, replace)]:
            done.result()
    compact(store)
    opened = EmbeddingStore(store)
    assert sorted(opened.vectors(np.arange(opened.n_rows))[:, 0]) == list(range(40))
