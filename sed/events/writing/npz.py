"""Write frame probabilities as NPZ, the archive format of NumPy."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from sed.types import Floats


class FramesWriter:
    """Writes the probabilities of a recording of any length as NPZ, in bounded memory.

    The file holds ``frame_probs`` (frames, classes), ``edges`` (frames + 1,) in seconds,
    ``clip_probs`` (windows, classes) of whole windows, ``starts`` (windows,) in seconds, ``labels``
    (classes,) and ``file``.

    Parameters
    ----------
    path
        The archive; two temporary files beside it hold the rows until `__exit__`.
    labels
        One per class.
    frame_seconds, hop_seconds
        Time from one frame, and from one window, to the next.
    file
        Path of the recording, which is stored.

    Raises
    ------
    OSError
        If a file cannot be written; also from `write` and at the end.
    """

    extension = ".npz"

    def __init__(
        self,
        path: Path,
        labels: Sequence[str],
        frame_seconds: float,
        hop_seconds: float,
        file: str,
    ) -> None:
        self._path = path
        self._labels = labels
        self._frame_seconds = frame_seconds
        self._hop_seconds = hop_seconds
        self._file = file
        self._frames = _RawRows(path.with_name(path.name + ".frames"), len(labels))
        self._clips = _RawRows(path.with_name(path.name + ".clips"), len(labels))

    def __enter__(self) -> Self:
        return self

    def write(self, frame_probs: Floats, clip_probs: Floats) -> None:
        """Write the next frames, shape (frames, classes), and windows, shape (windows, classes)."""
        self._frames.write(frame_probs)
        self._clips.write(clip_probs)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the archive, unless an error occurred, and remove the temporary files."""
        try:
            self._frames.close()
            self._clips.close()
            if error is None:
                self._pack()
        finally:
            self._frames.remove()
            self._clips.remove()

    def _pack(self) -> None:
        edges = np.arange(self._frames.n_rows + 1) * self._frame_seconds
        starts = np.arange(self._clips.n_rows) * self._hop_seconds
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in (
                ("edges", edges),
                ("starts", starts),
                ("labels", np.array(self._labels, dtype=np.str_)),
                ("file", np.array(self._file, dtype=np.str_)),
            ):
                with archive.open(f"{name}.npy", "w") as member:
                    np.save(member, array)
            for name, rows in (("frame_probs", self._frames), ("clip_probs", self._clips)):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    rows.copy_into(member)


class _RawRows:
    """A temporary file of float32 rows, shape (n_rows, width)."""

    def __init__(self, path: Path, width: int) -> None:
        self.n_rows = 0
        self._width = width
        self._path = path
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  # closed by close

    def write(self, rows: Floats) -> None:
        self._file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self.n_rows += len(rows)

    def copy_into(self, member: IO[bytes]) -> None:
        """Copy all rows into a member of the archive, as an NPY file."""
        shape = self.n_rows, self._width
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        with open(self._path, "rb") as file:
            while part := file.read(1 << 20):
                member.write(part)

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
