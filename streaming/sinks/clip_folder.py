"""Clips on the disk: a folder for each day, names that sort by time, and limits.

::

    2026-11-21/20261121T121500.250Z_siren_garden.flac
"""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed.audio.flac import write_flac
from sed.errors import OutputError
from sed.events.tracker import Event
from streaming.names import slug, timestamp

OWN_NAME = re.compile(r"(\d{8})T\d{6}\.\d{3}Z_[^_]+_[^_]+(_\d+)?\.flac")


class ClipFolder:
    """Writes clips, and deletes the oldest ones beyond the limits.

    Files that are not named as clips are never touched.

    Parameters
    ----------
    folder
        Where days are; it is made.
    max_mb
        Millions of bytes that clips may take, no limit if not given. The clip that was written
        last stays, however large.
    max_days
        How old they may be, no limit if not given.
    now
        The time of day.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_mb: float | None,
        max_days: float | None,
        now: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._max_bytes = None if max_mb is None else max_mb * 1e6
        self._most_days = max_days
        self._now = now
        self._newest = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(None, "it is read-only")
            self._clips = sorted(self._found()) if self._has_limits else []
        except OSError as error:
            raise OutputError(folder, error) from error
        self._n_bytes = sum(size for _, size in self._clips)

    @property
    def _has_limits(self) -> bool:
        return self._max_bytes is not None or self._most_days is not None

    def save(self, event: Event, sound: NDArray[np.float32], sample_rate: int) -> str:
        """Write a clip, shape (samples, channels); return its path.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        name = self._free_name(event)
        path = self._folder / name
        write_flac(path, sound, sample_rate)
        if self._has_limits:
            try:
                size = path.stat().st_size
            except OSError as error:
                raise OutputError(path, error) from error
            bisect.insort(self._clips, (name, size))
            self._n_bytes += size
            self._newest = name
        return os.fspath(path)

    def delete_old(self) -> None:
        """Delete the oldest clips beyond the limits, and the folders of days that are then empty.

        Raises
        ------
        OSError
            If some cannot be deleted; the others are.
        """
        failure = None
        for clip in self._oldest_beyond_limits():
            try:
                self._delete(clip)
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _oldest_beyond_limits(self) -> Iterator[tuple[str, int]]:
        """Give one clip after the other, until those that are left are within the limits."""
        days, max_bytes = self._most_days, self._max_bytes
        limit = "" if days is None else _dated(self._now() - timedelta(days=days))
        for clip in tuple(self._clips):
            is_old = clip[0] < limit
            if not is_old and (max_bytes is None or self._n_bytes <= max_bytes):
                return
            if is_old or clip[0] != self._newest:
                yield clip

    def _delete(self, clip: tuple[str, int]) -> None:
        name, n_bytes = clip
        path = self._folder / name
        path.unlink(missing_ok=True)
        self._clips.remove(clip)
        self._n_bytes -= n_bytes
        with suppress(OSError):  # the day has more clips
            path.parent.rmdir()

    def _free_name(self, event: Event) -> str:
        stem = f"{_dated(event.time or self._now())}_{slug(event.label)}_{slug(event.file)}"
        name, n = f"{stem}.flac", 1
        while os.path.lexists(self._folder / name):
            n += 1
            name = f"{stem}_{n}.flac"
        return name

    def _found(self) -> list[tuple[str, int]]:
        """Return the names and sizes of the clips that are there already."""
        found = []
        for path in self._folder.glob("*/*.flac"):
            match = OWN_NAME.fullmatch(path.name)
            if match and path.parent.name.replace("-", "") == match[1]:
                found.append((f"{path.parent.name}/{path.name}", path.stat().st_size))
        return found


def _dated(time: datetime) -> str:
    """Return the beginning of a clip's name, with the folder of its day."""
    return f"{time.astimezone(UTC):%Y-%m-%d}/{timestamp(time)}"
