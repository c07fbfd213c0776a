"""Measure the search of a large store: exact, and through the approximate index.

    python -m benchmarks.speed.search                          # 10 million rows: 11 GB of disk
    python -m benchmarks.speed.search --rows 1000000 --index-rows 200000

Makes a store of vectors in clusters under runs/, as embeddings of sounds are, and deletes it in the
end. The exact search runs in processes of its own, once with the files dropped from the page cache
and then three times with them in it. The index holds the first `--index-rows` rows; its queries are
vectors that are not in the store. Saves docs/results/search.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.store import save
from sed.events.embedding_store.store import EmbeddingStore, StoreConfig, create_store
from sed.events.embedding_store.writer import NpyWriter
from sed.events.tracker import Event
from sed.events.writing.parquet import RowsWriter
from sed.types import Floats

DIMENSION = 512
TOP = 50
ROWS_PER_PART = 262_144
ROWS_PER_RECORDING = 720  # an hour, every 5 s
N_QUERIES = 100
SEED = 12


class Vectors:
    """Draws vectors in clusters, of about 32 dimensions each, with noise in all the others."""

    def __init__(self) -> None:
        generator = np.random.default_rng(SEED)
        self._centres = generator.standard_normal((2_000, DIMENSION), np.float32)
        self._basis = generator.standard_normal((32, DIMENSION), np.float32)
        self._noise = generator.standard_normal((ROWS_PER_PART, DIMENSION), np.float32) * 0.3

    def draw(self, generator: np.random.Generator, n: int) -> Floats:
        """Return vectors (n, DIMENSION)."""
        vectors = self._centres[generator.integers(0, len(self._centres), n)]
        vectors += generator.standard_normal((n, 32), np.float32) @ self._basis * 0.15
        vectors += np.roll(self._noise, int(generator.integers(0, ROWS_PER_PART)), axis=0)[:n]
        return vectors


def make_store(folder: Path, n_rows: int, vectors: Vectors) -> None:
    """Write a store of parts."""
    config = StoreConfig("none", "0" * 12, "features", ("mean",), DIMENSION, "every 5 s")
    create_store(folder, config)
    (folder / "parts").mkdir()
    for number, first in enumerate(range(0, n_rows, ROWS_PER_PART)):
        n = min(ROWS_PER_PART, n_rows - first)
        npy = NpyWriter(folder / "parts" / f"{number:06}.npy", DIMENSION)
        generator = np.random.default_rng((SEED, number))
        npy.write(vectors.draw(generator, n).astype(np.float16))
        npy.close()
        with RowsWriter(folder / "parts" / f"{number:06}.parquet") as rows:
            for begin in range(0, n, ROWS_PER_RECORDING):
                name = f"{number:04}/{begin:06}.wav"
                rows.begin(name)
                count = min(ROWS_PER_RECORDING, n - begin)
                rows.write_rows([Event(5.0 * i, 5.0 * i + 5, "", 1.0, name) for i in range(count)])
        print(f"  {first + n:,} rows written", flush=True)


def drop_from_cache(folder: Path) -> None:
    """Drop the files of a folder from the page cache, as far as the system does that."""
    for path in folder.rglob("*.npy"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def search_once(folder: Path) -> None:
    """Search once and print what it took; in a process of its own."""
    started = time.perf_counter()
    from streaming.search.search import Ranking, SearchConfig

    imported = time.perf_counter()
    store = EmbeddingStore(folder)
    query = store.vectors([store.n_rows // 2])
    opened = time.perf_counter()
    found = Ranking(store, SearchConfig(top=TOP), exact=True).find(query, query[:0])
    ended = time.perf_counter()
    assert len(found) == TOP
    assert found[0][1] > 0.999
    peak = next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    seconds = {
        "import": imported - started,
        "open": opened - imported,
        "search": ended - opened,
        "all": ended - started,
    }
    print(json.dumps(seconds | {"peak_mb": peak * 1024 / 1e6, "torch": "torch" in sys.modules}))


def measure_exact(folder: Path) -> dict[str, Any]:
    """Return what searches in processes of their own took."""

    def once() -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.speed.search", "--once", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"  {done.stdout.strip()}", flush=True)
        return json.loads(done.stdout)

    drop_from_cache(folder)
    return {"from_disk": once(), "in_cache": [once() for _ in range(3)]}


def measure_index(folder: Path, vectors: Vectors) -> dict[str, Any]:
    """Build the index; return its size, recall and times."""
    from streaming.search import index as index_module
    from streaming.search.exact import search_exact

    started = time.perf_counter()
    index_module.update_index(folder)
    build = time.perf_counter() - started
    store = EmbeddingStore(folder)
    queries = vectors.draw(np.random.default_rng((SEED, 10**6)), N_QUERIES)
    truth = search_exact(store, queries, TOP)
    started = time.perf_counter()
    search = index_module.open_index(EmbeddingStore(folder))
    first, _ = search(queries[0], TOP)
    opening = time.perf_counter() - started
    recalls, times = [], []
    for query, (rows, _) in zip(queries, truth, strict=True):
        started = time.perf_counter()
        found, _ = search(query, TOP)
        times.append(time.perf_counter() - started)
        recalls.append(len(set(found.tolist()) & set(rows.tolist())) / TOP)
    assert len(first) == TOP
    return {
        "rows": store.n_rows,
        "build_seconds": build,
        "bytes": (folder / index_module.INDEX).stat().st_size,
        "recall": statistics.mean(recalls),
        "lowest_recall": min(recalls),
        "median_ms": 1000 * statistics.median(times),
        "p95_ms": 1000 * sorted(times)[int(0.95 * len(times))],
        "opening_ms": 1000 * opening,
        "settings": f"{index_module.SCALAR}, connectivity {index_module.CONNECTIVITY}, expansion "
        f"{index_module.EXPANSION_ADD} and {index_module.EXPANSION_SEARCH}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--index-rows", type=int, default=1_048_576, help="0: no index")
    parser.add_argument("--folder", type=Path, default=Path("runs/search"))
    parser.add_argument("--keep", action="store_true", help="keep the store, and use one there")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        search_once(options.once)
        return
    whole, part = options.folder / "whole", options.folder / "part"
    vectors = Vectors()
    try:
        if not (options.keep and whole.exists()):
            shutil.rmtree(options.folder, ignore_errors=True)
            make_store(whole, options.rows, vectors)
        n_rows = EmbeddingStore(whole).n_rows
        results: dict[str, Any] = {"rows": n_rows, "dimension": DIMENSION, "top": TOP}
        results["exact"] = measure_exact(whole)
        if options.index_rows:
            shutil.rmtree(part, ignore_errors=True)
            (part / "parts").mkdir(parents=True)
            os.link(whole / "store.json", part / "store.json")
            for number in range(-(-min(options.index_rows, n_rows) // ROWS_PER_PART)):
                for ending in ("npy", "parquet"):
                    name = f"{number:06}.{ending}"
                    os.link(whole / "parts" / name, part / "parts" / name)
            results["index"] = measure_index(part, vectors)
            print(f"  {results['index']}")
        save("search", results)
    finally:
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)
    print("now: python -m benchmarks.pages")


if __name__ == "__main__":
    main()
