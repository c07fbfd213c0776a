"""Notice what others do to an open file: it is removed, rotated or cut, or its disk is gone."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

REMOVED = "was removed or moved"
REPLACED = "was replaced by another file"
EMPTIED = "was emptied"
CUT = "was cut short"
AWAY = "is on a disk that is not there any more"
N_COMPARED = 64  # bytes at the end of a file that are looked at again


class FilePlace:
    """The path of a file that stays open for days, and what was opened there.

    Parameters
    ----------
    path
        The file, or the folder of several; its folder exists.
    has_position
        Whether the writer keeps its own position in the file. What it writes after the file was cut
        then lies behind a hole, and the size says nothing.

    Attributes
    ----------
    size
        Bytes that the file has at least, unless it was cut since. Add what is written to it. After
        `change` has returned `CUT` or `EMPTIED`, the bytes that are left.
    """

    def __init__(self, path: str | os.PathLike[str], *, has_position: bool = False) -> None:
        self._path = Path(path)
        self._has_position = has_position
        self._end = b""  # what was at the end when it was last looked at
        # Behind a symbolic link is the disk of its target.
        self._mount_point = _mount_point(Path(os.path.realpath(path)))
        self._identity: tuple[int, int] | None = None  # device and number of the file
        self.size = 0

    def take(self) -> None:
        """Remember the file that is at the path now.

        Raises
        ------
        OSError
            If there is none.
        """
        found = os.stat(self._path)
        self._identity, self.size = (found.st_dev, found.st_ino), found.st_size

    def grow(self) -> None:
        """Take the size again after something was written."""
        with suppress(OSError):
            self.size = max(self.size, os.stat(self._path).st_size)

    def change(self) -> str:
        """Return what happened to the file, as the end of a sentence; mostly nothing.

        `EMPTIED` and `CUT` are about the time since the last call, the others since `take`.
        It takes microseconds, so that it can be asked before each write.
        """
        try:
            found = os.stat(self._path)
            n_left = self._n_left(found.st_size) if self._has_position else found.st_size
        except OSError:
            return REMOVED if self.is_there else AWAY
        if (found.st_dev, found.st_ino) != self._identity:
            return REPLACED if self.is_there else AWAY
        is_shorter, self.size = n_left < self.size, n_left
        return (CUT if self.size else EMPTIED) if is_shorter else ""

    def _n_left(self, size: int) -> int:
        """Return how many bytes are left if the file was cut, and else its size."""
        with open(self._path, "rb") as file:
            file.seek(self.size - len(self._end))
            if size >= self.size and file.read(len(self._end)) == self._end:
                file.seek(max(0, size - N_COMPARED))
                self._end = file.read(N_COMPARED)
                return size
            return min(size, self.size - 1, _first_hole(file, size))

    @property
    def is_there(self) -> bool:
        """Whether the disk of the path is still mounted; always, unless it was at first."""
        return self._mount_point is None or os.path.ismount(self._mount_point)

    def check_disk(self) -> None:
        """Refuse to write into the empty folder that a disk leaves where it was mounted.

        Raises
        ------
        OSError
            If the disk is not mounted.
        """
        if not self.is_there:
            raise OSError(errno.ENODEV, f"the disk at {self._mount_point} is not there")


def _first_hole(file: BinaryIO, size: int) -> int:
    """Return the start of the first hole of a file, or its size where nothing knows of holes."""
    with suppress(OSError, AttributeError):
        return os.lseek(file.fileno(), 0, os.SEEK_HOLE)
    return size


def _mount_point(path: Path) -> Path | None:
    """Return the folder where the disk of a path is mounted; None for the disk of the system."""
    folder = next((each for each in (path, *path.parents) if os.path.ismount(each)), None)
    return None if folder is None or folder == folder.parent else folder
