"""Keep clips on disk: a folder for each day, names that sort by time, and limits."""

from __future__ import annotations

import bisect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from sed.audio.sound_file import write_flac
from sed.errors import OutputError
from sed.events.tracker import Event
from sed.files import remove_parts
from sed.text import slug
from sed.types import Floats
from streaming.sinks.record.schema import CLIP_NAME
from streaming.sinks.storage.clip_name import dated
from streaming.sinks.storage.place import FilePlace

# Cards wear out from being synced: of many clips at once, only the first one is synced.
SYNC_SECONDS = 1.0


class ClipFolder:
    """Write clips, and delete the oldest ones beyond the limits.

    Only files that are named as clips are ever deleted.

    Parameters
    ----------
    folder
        Folder of the days; created if it is missing.
    max_mb
        Most megabytes (10^6 bytes) of all clips; None for no limit. The newest clip is kept
        whatever its size.
    max_days
        Greatest age of a clip in days; None for no limit.
    now
        Returns the current time.

    Raises
    ------
    OutputError
        If the folder cannot be created or written to.
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
        self._max_days = max_days
        self._now = now
        self._newest = ""
        self._sync_at = 0.0  # monotonic seconds
        self._place = FilePlace(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(None, "it is read-only")
            # What a session that was killed left of a clip.
            remove_parts(folder.glob("????-??-??"))
            self._clips = sorted(self._list_clips()) if self._has_limits else []
        except OSError as error:
            raise OutputError(folder, error) from error
        self._n_bytes = sum(size for _, size in self._clips)

    @property
    def _has_limits(self) -> bool:
        return self._max_bytes is not None or self._max_days is not None

    def save(self, event: Event, samples: Floats, sample_rate: int) -> str:
        """Write a clip and return its path.

        Parameters
        ----------
        event
            The event that names the clip.
        samples
            Shape (samples, channels); full scale is 1.
        sample_rate
            Samples per second.

        Raises
        ------
        OutputError
            If the clip cannot be written.
        """
        name = self._free_name(event)
        path = self._folder / name
        try:
            self._place.check_disk()
        except OSError as error:
            raise OutputError(path, error) from error
        now = time.monotonic()
        is_synced = now >= self._sync_at
        write_flac(path, samples, sample_rate, is_synced=is_synced)
        if is_synced:
            self._sync_at = now + SYNC_SECONDS
        if self._has_limits:
            try:
                size = path.stat().st_size
            except OSError as error:
                raise OutputError(path, error) from error
            bisect.insort(self._clips, (name, size))
            self._n_bytes += size
            self._newest = name
        return os.fspath(path)

    def moved(self, path: str, new_path: str) -> None:
        """Take another name of a clip, which decides when it is deleted."""
        old, new = (os.path.relpath(each, self._folder) for each in (path, new_path))
        place = bisect.bisect_left(self._clips, (old,))
        if place < len(self._clips) and self._clips[place][0] == old:
            _, size = self._clips.pop(place)
            bisect.insort(self._clips, (new, size))

    def delete_old(self) -> None:
        """Delete the oldest clips beyond the limits, and the folders of days that become empty.

        Raises
        ------
        OSError
            If some clips cannot be deleted; all others are deleted first.
        """
        # Clips on a disk that is not there are deleted when it is back.
        if not self._place.is_there:
            return
        failure = None
        for clip in self._oldest_beyond_limits():
            try:
                self._delete(clip)
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _oldest_beyond_limits(self) -> Iterator[tuple[str, int]]:
        """Yield the oldest clips until the remaining ones are within the limits."""
        days, max_bytes = self._max_days, self._max_bytes
        limit = "" if days is None else dated(self._now() - timedelta(days=days))
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
        # rmdir fails while the folder of the day still holds clips.
        with suppress(OSError):
            path.parent.rmdir()

    def _free_name(self, event: Event) -> str:
        stem = f"{dated(event.time or self._now())}_{slug(event.label)}_{slug(event.file)}"
        name, n = f"{stem}.flac", 1
        while os.path.lexists(self._folder / name):
            n += 1
            name = f"{stem}_{n}.flac"
        return name

    def _list_clips(self) -> list[tuple[str, int]]:
        """Return the names and sizes of the clips in the folder."""
        clips = []
        for path in self._folder.glob("*/*.flac"):
            match = CLIP_NAME.fullmatch(path.name)
            if match and path.parent.name.replace("-", "") == match[1]:
                clips.append((f"{path.parent.name}/{path.name}", path.stat().st_size))
        return clips
