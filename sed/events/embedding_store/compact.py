"""Merge the small files of an embedding store into parts, whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from sed.errors import SedError
from sed.events.embedding_store.files import (
    PARTS,
    StoreFile,
    find_files,
    part_number,
    read_store_config,
)
from sed.events.embedding_store.writer import COMMIT_LOCK, RECORDINGS, NpyWriter, store_locked
from sed.events.writing.parquet import RowsWriter
from sed.files import written_whole
from sed.text import printable

LOCK = ".lock"  # of the process that compacts
ROWS_PER_PART = 262_144
RECORDINGS_PER_RUN = 2_048  # files of recordings that lie beside each other, about
COPY_BYTES = 8 << 20  # of vectors that are copied at once
ORPHAN_SECONDS = 600.0  # a .npy without .parquet that is younger may be being written


def compact(
    path: str | os.PathLike[str], *, min_rows: int = 0, rows_per_part: int = ROWS_PER_PART
) -> None:
    """Merge the files of single recordings, and small parts, into parts of many recordings.

    A new part is complete before the files that it was made from are deleted, and it supersedes
    them; so a kill at any moment neither loses nor doubles rows, and the next call continues. Rows
    that were superseded are dropped. Memory is bounded.

    Parameters
    ----------
    path
        The store. One process compacts it at a time, others wait for it; recordings may be added
        meanwhile.
    min_rows
        Do nothing while ``STORE/recordings`` has fewer rows than this.
    rows_per_part
        Rows of a part. A part has more where one recording has more.

    Raises
    ------
    SedError
        If the store is damaged, or cannot be written.
    """
    path = Path(path)
    dimension = read_store_config(path).dimension
    with store_locked(path, LOCK):
        files = find_files(path, dimension)
        _delete_orphans(path)
        recordings = [file for file in files if file.parquet.parent.name == RECORDINGS]
        parts = [file for file in files if file.parquet.parent.name == PARTS]
        if sum(file.n_live for file in recordings) < min_rows:
            return
        number = 1 + max((part_number(part.parquet) for part in parts), default=-1)
        small = [part for part in parts if part.n_live < rows_per_part // 2]
        shrunk = [part for part in parts if part not in small and part.n_live < part.n_rows // 2]
        if not recordings and len(small) < 2 and all(part.n_live == part.n_rows for part in small):
            small = []
        for sources in _groups([*small, *shrunk, *recordings], rows_per_part):
            identities = [_identity(source) for source in sources]
            if not _write_part(path / PARTS, number, sources, identities, dimension):
                continue
            number += 1
            for source, identity in zip(sources, identities, strict=True):
                # No recording takes its place between the look at it and the end of it.
                with store_locked(path, COMMIT_LOCK):
                    if _identity(source) == identity:  # not embedded again meanwhile
                        _delete(source)


class Compactor:
    """Merges the small files of a store in a thread, while recordings are added.

    Parameters
    ----------
    store
        The store.
    every
        Recordings after which they are merged.
    """

    def __init__(self, store: str | os.PathLike[str], *, every: int = RECORDINGS_PER_RUN) -> None:
        self._store = store
        self._every = every
        self._n_added = 0
        self._thread = ThreadPoolExecutor(1, "compactor")
        self._running: Future[None] | None = None

    def add(self) -> None:
        """Note that a recording was added.

        Raises
        ------
        SedError
            If an earlier run failed.
        """
        self._n_added += 1
        is_idle = self._running is None or self._running.done()
        if self._n_added >= self._every and is_idle:
            self._wait()
            self._n_added = 0
            self._running = self._thread.submit(compact, self._store)

    def close(self, *, merge: bool = True) -> None:
        """Wait for the thread; merge what is left, if asked to.

        Raises
        ------
        SedError
            If the store is damaged, or cannot be written.
        """
        self._thread.shutdown()
        self._wait()
        if merge and Path(self._store).exists():
            compact(self._store)

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None


def _groups(files: Sequence[StoreFile], rows_per_part: int) -> Iterator[list[StoreFile]]:
    group: list[StoreFile] = []
    for file in files:
        if group and sum(member.n_live for member in group) + file.n_live > rows_per_part:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _write_part(
    folder: Path,
    number: int,
    sources: Sequence[StoreFile],
    identities: Sequence[object],
    dimension: int,
) -> bool:
    """Write the live rows of some files as one part.

    Returns
    -------
    Whether it was written: not if a recording was embedded again meanwhile. The next call of
    `compact` takes these files again.
    """
    npy, parquet = folder / f"{number:06}.npy", folder / f"{number:06}.parquet"
    try:
        with ExitStack() as stack:
            # Contexts end in reverse order: the .parquet, which commits the part, is renamed last.
            rows_part = stack.enter_context(written_whole(parquet))
            vectors_part = stack.enter_context(written_whole(npy))
            vectors = NpyWriter(vectors_part, dimension)
            stack.callback(vectors.close)
            rows = stack.enter_context(RowsWriter(rows_part))
            for source in sources:
                recordings = source.recordings()
                rows.copy_rows(source.parquet, recordings)
                _copy_vectors(source, recordings, vectors, dimension)
            if _have_changed(sources, identities):
                raise SedError("its sources have changed")  # discards the part
    except SedError:
        if _have_changed(sources, identities):
            return False
        raise
    _sync_folder(folder)
    return True


def _have_changed(sources: Sequence[StoreFile], identities: Sequence[object]) -> bool:
    return None in identities or [_identity(source) for source in sources] != list(identities)


def _copy_vectors(
    source: StoreFile,
    recordings: Sequence[tuple[str, int, int]],
    vectors: NpyWriter,
    dimension: int,
) -> None:
    n_bytes = 2 * dimension
    most = max(1, COPY_BYTES // n_bytes)
    with open(source.npy, "rb") as file:
        for _, first, n_rows in recordings:
            file.seek(source.vectors_at + first * n_bytes)
            for begin in range(0, n_rows, most):
                n = min(most, n_rows - begin)
                data = file.read(n * n_bytes)
                if len(data) < n * n_bytes:
                    raise SedError(
                        f"{printable(str(source.npy))}: became shorter while it was read. Let one "
                        "program compact the store at a time."
                    )
                vectors.write(np.frombuffer(data, "<f2").reshape(n, dimension))


def _delete(source: StoreFile) -> None:
    """Delete the .parquet first: a .npy alone is ignored."""
    for path in (source.parquet, source.npy):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SedError(
                f"{printable(str(path))}: cannot be deleted: {error.strerror}. Check the rights "
                "of the folder."
            ) from error


def _delete_orphans(store: Path) -> None:
    """Delete each .npy without .parquet, which a killed program left behind."""
    for folder in (PARTS, RECORDINGS):
        for npy in (store / folder).glob("*.npy"):
            with suppress(OSError):  # another process deletes it too
                old = time.time() - npy.stat().st_mtime > ORPHAN_SECONDS
                if old and not npy.with_suffix(".parquet").exists():
                    npy.unlink()


def _identity(source: StoreFile) -> tuple[tuple[int, int], ...] | None:
    """Return what changes when a recording is embedded again; None while that happens."""
    try:
        stats = [path.stat() for path in (source.npy, source.parquet)]
    except OSError:
        return None
    return tuple((stat.st_ino, stat.st_mtime_ns) for stat in stats)


def _sync_folder(folder: Path) -> None:
    """Make the names of new files durable before their sources are deleted."""
    with suppress(OSError):  # not every system opens folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
