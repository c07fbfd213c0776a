"""Keep embeddings of recordings in a folder that survives kills and opens without this package.

::

    STORE/store.json                            model, layer, pooling, dimension, how rows were cut
    STORE/recordings/NAME.npy + NAME.parquet    the rows of one recording
    STORE/parts/000000.npy + 000000.parquet     those of many recordings, merged by `compact`
    STORE/index.usearch + index.json            approximate index of ``sed search --index``

A .npy holds the vectors, float16 (rows, dimension). The .parquet holds the same rows in the same
order: the columns of `sed.events.writing.parquet`, and ``recording``, the absolute path or the
address of the recording. Its metadata have the key ``sed.recordings``, a JSON list of
``[recording, first row, rows]``. Without this package::

    rows = pandas.read_parquet("STORE/parts/000000.parquet")
    vectors = numpy.load("STORE/parts/000000.npy", mmap_mode="r")

A .npy without .parquet is not complete and is ignored. Where several files have the same recording,
the last one counts: parts in the order of their numbers, then ``recordings``. After `compact`, a
recording that was not embedded again is in one file only.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sed.errors import SedError, UsageError
from sed.events.embedding_store.compact import Compactor, compact
from sed.events.embedding_store.files import (
    StoreConfig,
    StoreFile,
    create_store,
    find_files,
    part_number,
    read_store_config,
)
from sed.events.embedding_store.writer import (
    COMMIT_LOCK,
    EmbeddingWriter,
    recording_paths,
    store_locked,
)
from sed.events.tracker import Event
from sed.events.writing.parquet import read_rows
from sed.files import written_whole
from sed.text import printable
from sed.types import Floats

__all__ = [
    "Compactor",
    "EmbeddingStore",
    "EmbeddingWriter",
    "StoreConfig",
    "compact",
    "create_store",
    "part_number",
    "read_store_config",
    "recording_paths",
    "recording_written_whole",
]

BLOCK_ROWS = 65_536


@contextmanager
def recording_written_whole(
    store: str | os.PathLike[str], recording: str, dimension: int
) -> Iterator[EmbeddingWriter]:
    """Add the embeddings of a recording to a store, whole or not at all.

    A recording of that name is replaced. If the program is killed between the two files, the
    recording is missing from the store.

    Yields
    ------
    EmbeddingWriter
        Takes the rows and their vectors.

    Raises
    ------
    OutputError
        If the store cannot be written.
    """
    npy, parquet = recording_paths(store, recording)
    with (
        ExitStack() as committing,
        written_whole(parquet) as rows_part,
        written_whole(npy) as vectors_part,
        EmbeddingWriter(vectors_part, rows_part, recording, dimension) as writer,
    ):
        yield writer
        writer.close()
        # Until both files have their names, none of this recording is deleted.
        committing.enter_context(store_locked(store, COMMIT_LOCK, shared=True))
        # The rows of an earlier version must not stand beside new vectors.
        parquet.unlink(missing_ok=True)


class EmbeddingStore:
    """Reads a store of embeddings; its rows are numbered from 0 to `n_rows` − 1.

    Opening reads the footers of all files, and keeps a few bytes per recording. A store that
    changes meanwhile should be opened again.

    Parameters
    ----------
    path
        The folder.

    Attributes
    ----------
    path
        The folder.
    config
        What the vectors are.
    n_rows
        Number of rows, without those that were superseded.
    files
        The files that the rows are in.

    Raises
    ------
    SedError
        If it is not a store, or a file is damaged, missing, or of another dimension.
    MissingExtraError
        If pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = read_store_config(path)
        self.files: list[StoreFile] = find_files(self.path, self.config.dimension)
        slices = [
            (i, begin, end - begin)
            for i, file in enumerate(self.files)
            for begin, end in file.slices.tolist()
        ]
        table = np.array(slices, np.int64).reshape(-1, 3)
        # Of each slice of live rows: its file, its first row in the file, its first row overall.
        self._file, self._first_in_file, counts = table.T
        self._ends = np.cumsum(counts)
        self._first = self._ends - counts
        self.n_rows = int(counts.sum())

    @property
    def recordings(self) -> set[str]:
        """Names of all recordings, also of those without rows, as `sed.text.to_utf8` writes them.

        They are read when they are asked for.
        """
        return {name for file in self.files for name, _, _ in file.recordings()}

    @property
    def n_recordings(self) -> int:
        """Number of recordings."""
        return sum(int(file.is_live.sum()) for file in self.files)

    @property
    def n_bytes(self) -> int:
        """Size on disk, with the index."""
        paths = [path for file in self.files for path in (file.npy, file.parquet)]
        paths += [path for path in self.path.iterdir() if path.is_file()]
        return sum(path.stat().st_size for path in paths)

    def blocks(
        self, max_rows: int = BLOCK_ROWS, *, buffers: Sequence[NDArray[np.float16]] = ()
    ) -> Generator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Read all vectors in order, in bounded memory.

        Parameters
        ----------
        max_rows
            Rows of a block; only the last one has fewer.
        buffers
            Arrays (max_rows, dimension) that blocks are read into, in turn, so that no memory is
            allocated; each block is then overwritten later.

        Yields
        ------
        rows, vectors
            Row numbers (rows,), and vectors (rows, dimension).

        Raises
        ------
        SedError
            If a file cannot be read.
        """
        if max_rows < 1:
            raise UsageError(f"expected max_rows of at least 1, got {max_rows}")
        with _Reader(self.files, self.config.dimension) as reader:
            for i, first in enumerate(range(0, self.n_rows, max_rows)):
                n = min(max_rows, self.n_rows - first)
                if buffers:
                    block = buffers[i % len(buffers)][:n]
                else:
                    block = np.empty((n, self.config.dimension), np.float16)
                self._read(reader, first, block)
                yield np.arange(first, first + n), block

    def vectors(self, rows: ArrayLike) -> Floats:
        """Return the vectors of some rows, float32 (rows, dimension), in the order given.

        Raises
        ------
        UsageError
            If there is no such row.
        SedError
            If a file cannot be read.
        """
        rows = self._checked(rows)
        wanted, back = np.unique(rows, return_inverse=True)
        vectors = np.empty((len(wanted), self.config.dimension), np.float16)
        with _Reader(self.files, self.config.dimension) as reader:
            # Neighbouring rows are read at once.
            for run in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(wanted) != 1) + 1):
                if len(run):
                    self._read(reader, int(wanted[run[0]]), vectors[run[0] : run[-1] + 1])
        return vectors[back].astype(np.float32)

    def events(self, rows: ArrayLike) -> list[Event]:
        """Return some rows as events, in the order given.

        Raises
        ------
        UsageError
            If there is no such row.
        SedError
            If a file cannot be read.
        """
        rows = self._checked(rows)
        places = np.searchsorted(self._ends, rows, "right")
        files, in_file = self._file[places], self._first_in_file[places]
        in_file = in_file + rows - self._first[places]
        events: dict[int, Event] = {}
        for i in np.unique(files).tolist():
            mask = files == i
            found = read_rows(self.files[i].parquet, in_file[mask])
            events |= zip(rows[mask].tolist(), found, strict=True)
        return [events[row] for row in rows.tolist()]

    def rows_in(self, file: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of a file (an index of `files`): their numbers here and in the file."""
        slices = self.files[file].slices.tolist()
        in_file = np.concatenate([np.arange(0), *(np.arange(*ends) for ends in slices)])
        before = sum(other.n_live for other in self.files[:file])
        return np.arange(before, before + len(in_file)), in_file

    def rows_of(self, file: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of rows of a file (an index of `files`), −1 where superseded."""
        slices = np.flatnonzero(self._file == file)
        if not len(slices):
            return np.full(len(rows), -1, np.int64)
        first = self._first_in_file[slices]
        places = np.searchsorted(first, rows, "right") - 1
        numbers = self._first[slices][places] + rows - first[places]
        live = (places >= 0) & (numbers < self._ends[slices][places])
        return np.where(live, numbers, -1)

    def _read(self, reader: _Reader, first: int, out: NDArray[np.float16]) -> None:
        """Read rows from the number `first` on, which may be in several files."""
        place, done = int(np.searchsorted(self._ends, first, "right")), 0
        while done < len(out):
            n = min(len(out) - done, int(self._ends[place]) - first - done)
            row = int(self._first_in_file[place] + first + done - self._first[place])
            reader.read(int(self._file[place]), row, out[done : done + n])
            done += n
            place += 1

    def _checked(self, rows: ArrayLike) -> NDArray[np.int64]:
        rows = np.asarray(rows, np.int64).reshape(-1)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n_rows:
            raise UsageError(
                f"{printable(str(self.path))}: has rows 0 to {self.n_rows - 1}, and not "
                f"{rows.min() if rows.min() < 0 else rows.max()}"
            )
        return rows


class _Reader:
    """Reads vectors of files, and keeps the last file open."""

    def __init__(self, files: Sequence[StoreFile], dimension: int) -> None:
        self._files = files
        self._row_bytes = 2 * dimension
        self._index = -1
        self._open: FileIO | None = None

    def read(self, index: int, row: int, out: NDArray[np.float16]) -> None:
        """Fill `out`, (rows, dimension), with the rows of a file from `row` on."""
        file = self._files[index]
        try:
            if self._open is None or self._index != index:
                self.__exit__()
                self._open = open(file.npy, "rb", buffering=0)  # noqa: SIM115  # by __exit__
                self._index = index
            self._open.seek(file.vectors_at + row * self._row_bytes)
            memory = out.reshape(-1).view(np.uint8).data
            while len(memory):
                n = self._open.readinto(memory)
                if not n:
                    raise OSError(None, "it is truncated")
                memory = memory[n:]
        except OSError as error:
            raise SedError(
                f"{printable(str(file.npy))}: cannot be read: {error.strerror}. If another program "
                "compacts the store, try again when it has finished."
            ) from error

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()
