"""Notice that an open file is no longer the one at its path: removed, rotated, or its disk gone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

REMOVED = "was removed or moved"
REPLACED = "was replaced by another file"
EMPTIED = "was emptied"
AWAY = "is on a disk that is not there any more"


class FilePlace:
    """The path of a file that stays open for days, and what was opened there.

    Parameters
    ----------
    path
        The file, or the folder of several; its folder exists.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._mount_point = _mount_point(Path(os.path.abspath(path)))
        self._identity: tuple[int, int] | None = None  # device and number of the file
        self._size = 0  # bytes, when it was last looked at

    def take(self) -> None:
        """Remember the file that is at the path now.

        Raises
        ------
        OSError
            If there is none.
        """
        found = os.stat(self._path)
        self._identity, self._size = (found.st_dev, found.st_ino), found.st_size

    def change(self) -> str:
        """Return what happened to the file since `take`, as the end of a sentence; mostly nothing.

        It takes microseconds, so that it can be asked before each write.
        """
        try:
            found = os.stat(self._path)
        except OSError:
            return REMOVED if self.is_there else AWAY
        if (found.st_dev, found.st_ino) != self._identity:
            return REPLACED if self.is_there else AWAY
        was_emptied = self._size > 0 == found.st_size
        self._size = found.st_size
        return EMPTIED if was_emptied else ""

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


def _mount_point(path: Path) -> Path | None:
    """Return the folder where the disk of a path is mounted; None for the disk of the system."""
    folder = next((each for each in (path, *path.parents) if os.path.ismount(each)), None)
    return None if folder is None or folder == folder.parent else folder
