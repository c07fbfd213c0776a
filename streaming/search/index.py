"""Keep an approximate index beside a store: HNSW of usearch, read through memory mapping.

HNSW: Malkov and Yashunin (2018), https://arxiv.org/abs/1603.09320. The index holds the parts of a
store; a key is the number of the part times 2³² plus the row of the part, which later parts do not
change. Vectors are kept as 8-bit integers, and the similarity of what is found is computed again
from the store.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.errors import MissingExtraError, SedError
from sed.events.embedding_store.store import EmbeddingStore, compact, part_number
from sed.files import parse_json, written_whole
from sed.text import printable
from sed.types import Floats
from streaming.search.exact import Best, OnProgress, similarities

INDEX, STATE = "index.usearch", "index.json"
FORMAT_VERSION = 1
SCALAR = "i8"
# Neighbours per row, and candidates while a row is added and while it is searched. With 512 instead
# of 1024, a query takes half the time, and the recall of 50 rows among a million is 0.977.
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 128, 1024
OVERSAMPLING = 4  # rows that are compared exactly, for each that is returned
ADD_ROWS = 8_192  # between two calls of on_progress
SAVE_SECONDS = 600.0  # a killed build continues from the last save
MAX_SUPERSEDED = 0.3  # of the rows of an index; beyond, it is built again
METRICS = {"cosine": "cos", "dot": "ip"}

Parts = dict[str, list[int]]


@dataclass(frozen=True)
class IndexState:
    """What ``index.json`` says, and what of it is true.

    Attributes
    ----------
    metric
        cosine or dot.
    parts
        The parts in the index: number, and what identifies its files.
    n_missing
        Rows of the store that are not in the index.
    n_superseded
        Rows of the index that the store has no longer.
    """

    metric: str
    parts: Parts
    n_missing: int
    n_superseded: int


def read_state(store: EmbeddingStore) -> IndexState | None:
    """Return the state of the index of a store; None where there is none that can be used."""
    try:
        values = parse_json((store.path / STATE).read_text("utf-8"))
        if values["format_version"] != FORMAT_VERSION:
            return None
        if values["bytes"] != (store.path / INDEX).stat().st_size:
            return None  # killed between both files
        metric, parts = str(values["metric"]), dict(values["parts"])
        n_indexed = sum(part[0] for part in parts.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    there = {key: file.n_live for _, key, file in _parts(store) if parts.get(key) == _id(file)}
    n_covered = sum(there.values())
    return IndexState(metric, parts, store.n_rows - n_covered, n_indexed - n_covered)


def update_index(
    path: str | os.PathLike[str],
    *,
    metric: str = "cosine",
    on_progress: OnProgress | None = None,
) -> None:
    """Build the index of a store, or add the rows that it lacks.

    The store is compacted first, and the index is held in memory: about ``dimension + 200`` bytes
    per row. It is saved whole, every ten minutes and at the end; a build that was interrupted
    continues from there.

    Parameters
    ----------
    path
        The store.
    metric
        cosine or dot; an index of the other one is built again.
    on_progress
        Called with the rows in the index, and the rows of the store.

    Raises
    ------
    MissingExtraError
        If usearch is not installed.
    SedError
        If the store is damaged, or cannot be written.
    """
    _usearch(path)
    compact(path)
    store = EmbeddingStore(path)
    state = read_state(store)
    parts = _parts(store)
    index, indexed = None, Parts()
    if state is not None and _can_grow(state, metric, parts):
        if not state.n_missing:
            return
        index, indexed = _restore(store, view=False), dict(state.parts)
    if index is None:
        index, indexed = (
            _usearch(path).Index(
                ndim=store.config.dimension,
                metric=METRICS[metric],
                dtype=SCALAR,
                connectivity=CONNECTIVITY,
                expansion_add=EXPANSION_ADD,
            ),
            Parts(),
        )
    saved = time.monotonic()
    n_done = sum(file.n_live for _, key, file in parts if key in indexed)
    for i, key, file in parts:
        if key in indexed:
            continue
        identity = _id(file)
        rows, in_file = store.rows_in(i)
        for begin in range(0, len(rows), ADD_ROWS):
            taken = slice(begin, begin + ADD_ROWS)
            _add(index, (int(key) << 32) + in_file[taken], store.vectors(rows[taken]))
            if on_progress is not None:
                on_progress(n_done + min(begin + ADD_ROWS, len(rows)), store.n_rows)
        n_done += len(rows)
        indexed[key] = identity
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(store, index, metric, indexed)
            saved = time.monotonic()
    _save(store, index, metric, indexed)


def open_index(store: EmbeddingStore) -> Callable[[Floats, int], Best]:
    """Open the index of a store, mapped into memory.

    Returns
    -------
    Callable
        Takes a query, (dimension,), and a number of rows; returns row numbers and similarities,
        the most similar first.

    Raises
    ------
    MissingExtraError
        If usearch is not installed.
    SedError
        If there is no index, or it is damaged.
    """
    state = read_state(store)
    if state is None:
        raise SedError(
            f"{printable(str(store.path))}: has no index that can be used. Make it with `sed "
            "search STORE --index`."
        )
    index = _restore(store, view=True)
    index.expansion_search = EXPANSION_SEARCH
    files = {int(key): i for i, key, file in _parts(store) if state.parts.get(key) == _id(file)}

    def search(query: Floats, k: int) -> Best:
        matches = index.search(query, min(OVERSAMPLING * k + state.n_superseded, len(index)))
        rows = _rows_of_keys(store, files, np.asarray(matches.keys, np.int64))
        scores = similarities(store.vectors(rows), query[None], state.metric)[0]
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]

    return search


def _rows_of_keys(
    store: EmbeddingStore, files: Mapping[int, int], keys: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the rows of keys, without those that were superseded."""
    numbers, in_part = keys >> 32, keys & 0xFFFFFFFF
    found = [
        store.rows_of(files[number], in_part[numbers == number])
        for number in np.unique(numbers).tolist()
        if number in files
    ]
    rows = np.concatenate([np.empty(0, np.int64), *found])
    return rows[rows >= 0]


def _can_grow(state: IndexState, metric: str, parts: list[tuple[int, str, Any]]) -> bool:
    """Return whether rows can be added to an index, or whether it has to be built again."""
    identities = {key: _id(file) for _, key, file in parts}
    changed = [key for key, part in state.parts.items() if identities.get(key, part) != part]
    n_indexed = sum(part[0] for part in state.parts.values())
    few = state.n_superseded <= MAX_SUPERSEDED * n_indexed
    return state.metric == metric and not changed and few


def _parts(store: EmbeddingStore) -> list[tuple[int, str, Any]]:
    """Return the place in `store.files`, the key in ``index.json``, and the file of each part."""
    return [
        (i, str(part_number(file.parquet)), file)
        for i, file in enumerate(store.files)
        if file.parquet.parent.name == "parts"
    ]


def _id(file: Any) -> list[int]:
    """Return what a part differs in from another one of its number."""
    stat = file.parquet.stat()
    return [file.n_rows, stat.st_size, stat.st_mtime_ns]


def _add(index: Any, keys: NDArray[np.int64], vectors: Floats) -> None:
    """Add rows; vectors of zeros have no direction and are never found."""
    some = vectors.any(axis=1)
    index.add(keys[some].astype(np.uint64), vectors[some])


def _save(store: EmbeddingStore, index: Any, metric: str, parts: Parts) -> None:
    with written_whole(store.path / INDEX) as part:
        index.save(str(part))
        size = part.stat().st_size
    values = {"format_version": FORMAT_VERSION, "metric": metric, "bytes": size, "parts": parts}
    with written_whole(store.path / STATE) as part:
        part.write_text(json.dumps(values) + "\n", "utf-8")


def _restore(store: EmbeddingStore, *, view: bool) -> Any:
    path: Path = store.path / INDEX
    try:
        index = _usearch(store.path).Index.restore(str(path), view=view)
        if index is None or index.ndim != store.config.dimension:
            raise ValueError("another dimension")
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise SedError(
            f"{printable(str(path))}: cannot be read as an index. Delete it, and make it again "
            "with `sed search STORE --index`."
        ) from error
    return index


def _usearch(path: str | os.PathLike[str]) -> Any:
    try:
        import usearch.index
    except ImportError:
        raise MissingExtraError(f"{printable(os.fspath(path))}: the index", "search") from None
    return usearch.index
