"""Frame probabilities in NumPy's NPZ files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray


class FramesWriter:
    """Frame probabilities as NPZ, of any length: frames go to the disk as they come.

    The file holds ``frame_probs`` (frames, classes), ``edges`` (frames + 1,) in seconds,
    ``clip_probs`` (windows, classes) of whole windows, ``starts`` (windows,) in seconds, ``labels``
    (classes,) and ``file``.

    Parameters
    ----------
    path
        Where to; two files beside it hold the rows until the end.
    labels
        One per class.
    frame_seconds, hop_seconds
        From one frame, and one window, to the next.
    file
        The recording.
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

    def __enter__(self) -> FramesWriter:
        return self

    def write(self, frame_probs: NDArray[np.float32], clip_probs: NDArray[np.float32]) -> None:
        """Take the next frames, shape (frames, classes), and windows, (windows, classes)."""
        self._frames.write(frame_probs)
        self._clips.write(clip_probs)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the archive together, unless something went wrong."""
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
    """Rows of numbers on the disk, as they come."""

    def __init__(self, path: Path, width: int) -> None:
        self.n_rows = 0
        self._width = width
        self._path = path
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  # its owner closes it

    def write(self, rows: NDArray[np.float32]) -> None:
        self._file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self.n_rows += len(rows)

    def copy_into(self, member: IO[bytes]) -> None:
        """Write them as an array in the format of numpy."""
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
