"""Write the two files of an embedding store: vectors as .npy, their rows as .parquet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from sed.errors import OutputError, SedError, UsageError
from sed.events.tracker import Event
from sed.events.writing.parquet import RowsWriter
from sed.text import printable, to_utf8

RECORDINGS = "recordings"  # folder of the files of single recordings
COMMIT_LOCK = ".commit.lock"  # of those who put files in the place of others, or delete them
# Of the header of a .npy file: it holds any number of rows, and is written again at the end.
HEADER_BYTES = 128
LARGEST = float(np.finfo(np.float16).max)  # 65,504


def recording_paths(store: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Return the .npy and the .parquet of a recording in ``STORE/recordings``.

    The file name is the end of the recording's name, percent-encoded, and a checksum of all of it.
    Rename the .parquet last: it commits the recording.
    """
    text = to_utf8(name)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    stem = f"{quote(text, safe=' ')[-100:].lstrip('.')}-{digest}"
    folder = Path(store) / RECORDINGS
    return folder / f"{stem}.npy", folder / f"{stem}.parquet"


@contextmanager
def store_locked(
    store: str | os.PathLike[str], name: str, *, shared: bool = False
) -> Iterator[None]:
    """Hold a lock of a store, and wait for those who hold it.

    Parameters
    ----------
    store
        The store.
    name
        Of the file that is locked.
    shared
        Whether others may hold it too who share it.

    Raises
    ------
    OutputError
        If the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = Path(store) / name
    try:
        file = open(path, "ab")  # noqa: SIM115  # closed below
    except OSError as error:
        raise OutputError(path, error) from error
    with file:
        with suppress(OSError):  # a network disk without locks
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


class NpyWriter:
    """Writes a float16 array of shape (rows, dimension) of unknown length into a .npy file.

    Parameters
    ----------
    path
        The file.
    dimension
        Width of a vector.

    Raises
    ------
    OSError
        If the file cannot be written; also from `write` and `close`.
    """

    def __init__(self, path: str | os.PathLike[str], dimension: int) -> None:
        self._dimension = dimension
        self.n_rows = 0
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  # closed by close
        self._file.write(self._header())

    def write(self, vectors: NDArray[np.float16]) -> None:
        """Write vectors, shape (rows, dimension)."""
        self._file.write(np.ascontiguousarray(vectors, "<f2").data)
        self.n_rows += len(vectors)

    def close(self) -> None:
        """Write the number of rows, and close the file."""
        if not self._file.closed:
            with self._file:
                self._file.seek(0)
                self._file.write(self._header())

    def abort(self) -> None:
        """Close the file as it is, without its number of rows."""
        self._file.close()

    def _header(self) -> bytes:
        shape = f"({self.n_rows}, {self._dimension})"
        text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}"
        text = text.ljust(HEADER_BYTES - 11) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")


class EmbeddingWriter:
    """Writes the embeddings of one recording, in bounded memory; a context manager.

    Both files are complete after `close`, or after the end of a ``with`` block. Give the temporary
    files of `sed.files.written_whole`, and rename the .parquet last: it commits the recording.

    Parameters
    ----------
    npy, parquet
        The files.
    recording
        Name of the recording, unique in the store.
    dimension
        Width of a vector.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    OSError
        If a file cannot be written; also from `write` and `close`.
    """

    def __init__(
        self,
        npy: str | os.PathLike[str],
        parquet: str | os.PathLike[str],
        recording: str,
        dimension: int,
    ) -> None:
        self._recording = recording
        self._dimension = dimension
        self._rows = RowsWriter(parquet)
        try:
            self._vectors = NpyWriter(npy, dimension)
        except OSError:
            self._rows.close()
            raise
        self._rows.begin(recording)

    def write(self, events: Sequence[Event], vectors: NDArray[Any]) -> None:
        """Write rows and their vectors, shape (rows, dimension).

        Vectors are stored as float16; what is beyond ±65,504 becomes ±65,504.

        Raises
        ------
        UsageError
            If the shape is not (number of events, dimension).
        SedError
            If a vector is not finite.
        """
        vectors = np.asarray(vectors)
        if vectors.shape != (len(events), self._dimension):
            raise UsageError(
                f"expected vectors of shape ({len(events)}, {self._dimension}), got {vectors.shape}"
            )
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            event = events[int(np.argmin(finite))]
            raise SedError(
                f"{printable(self._recording)}: the embedding of {event.onset:.3f}–"
                f"{event.offset:.3f} s is not finite (NaN or infinite). Check the model, and try "
                "fp32 (--precision)."
            )
        self._vectors.write(np.clip(vectors, -LARGEST, LARGEST).astype(np.float16))
        if len(events):
            self._rows.write_rows(events)

    def close(self) -> None:
        """Complete both files and close them."""
        try:
            self._vectors.close()
        finally:
            self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._vectors.abort()
        self.close()


def read_header(npy: Path, dimension: int) -> tuple[int, int]:
    """Return where the vectors of a .npy begin, in bytes, and how many they are.

    Raises
    ------
    SedError
        If the file is missing or damaged, or has vectors of another width.
    """
    try:
        with open(npy, "rb") as file:
            np.lib.format.read_magic(file)
            shape, is_fortran, kind = np.lib.format.read_array_header_1_0(file)
            vectors_at = file.seek(0, os.SEEK_CUR)
            n_bytes = os.fstat(file.fileno()).st_size - vectors_at
    except FileNotFoundError:
        raise damaged(npy, "it is missing, and its .parquet is there") from None
    except Exception as error:
        # NumPy reads the header with Python's parser, which has exceptions of its own.
        raise damaged(npy, "it cannot be read") from error
    if len(shape) != 2 or kind != np.float16 or is_fortran:
        raise damaged(npy, f"expected float16 (rows, {dimension}), got {kind} {shape}")
    if shape[1] != dimension:
        raise damaged(npy, f"its vectors have {shape[1]} values, the store has {dimension}")
    if n_bytes != shape[0] * dimension * 2:
        raise damaged(npy, "it is truncated")
    return vectors_at, shape[0]


def damaged(path: Path, reason: str) -> SedError:
    """Return the error about a file of a store."""
    return SedError(
        f"{printable(str(path))}: {reason}. Delete this .npy and its .parquet, and embed their "
        "recordings again."
    )
