"""Live sound saved as FLAC files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from sed.audio.flac import MOST_CHANNELS, FlacFile
from sed.errors import OutputError
from streaming.messages import AudioBlock, FaultReporter, Message
from streaming.names import slug, timestamp

LONGEST_FILE_SECONDS = 3600.0  # of saved audio


PAUSE_SECONDS = 60.0  # before a disk that was full is tried again


class AudioRecorder:
    """Saves all that is heard as FLAC: a file for each stretch without a gap, an hour at most.

    Names are the time of the first sample and the input. Of more than eight channels, which FLAC
    knows no more of, the first eight are kept.

    Parameters
    ----------
    folder
        Where to; made if it is missing.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        # Of each input:
        self._files: dict[str, tuple[int, FlacFile]] = {}  # where it begins, and the file
        self._ends: dict[str, int] = {}  # the position behind the last sample
        self._again_at: dict[str, int] = {}  # where a disk that was full is tried again
        self._alarm = FaultReporter(f"sound is saved again in {self._folder}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(self._folder, error) from error

    def handle(self, message: Message) -> Sequence[Message]:
        """Save what was heard."""
        if not isinstance(message, AudioBlock) or not len(message.block):
            return ()
        source, stop = message.source, message.start + len(message.block)
        if message.start != self._ends.get(source) or self._is_long(message):
            self._finish(source)
        self._ends[source] = stop
        if message.start < self._again_at.get(source, 0):
            return ()
        is_new = source not in self._files
        try:
            self._file_of(message).write(message.block[:, :MOST_CHANNELS])
        except OSError as error:
            self._finish(source, has_sound=not is_new)
            self._again_at[source] = stop + round(PAUSE_SECONDS * message.sample_rate)
            return self._alarm.update(
                f"{OutputError(self._folder, error)} Events go on without it."
            )
        return self._alarm.update(None)

    def close(self) -> Sequence[Message]:
        """Finish the files."""
        for source in list(self._files):
            self._finish(source)
        return ()

    def _is_long(self, message: AudioBlock) -> bool:
        begun_at, _ = self._files.get(message.source, (message.start, None))
        return message.start - begun_at >= LONGEST_FILE_SECONDS * message.sample_rate

    def _file_of(self, message: AudioBlock) -> FlacFile:
        if message.source not in self._files:
            seconds = len(message.block) / message.sample_rate
            began = datetime.now().astimezone() - timedelta(seconds=seconds)
            # What waited comes all at once, so two may seem to begin in the same millisecond.
            while (path := self._path(began, message.source)).exists():
                began += timedelta(milliseconds=1)
            n_channels = min(message.block.shape[1], MOST_CHANNELS)
            file = FlacFile(path, message.sample_rate, n_channels)
            self._files[message.source] = message.start, file
        return self._files[message.source][1]

    def _path(self, began: datetime, source: str) -> Path:
        return self._folder / f"{timestamp(began)}_{slug(source)}.flac"

    def _finish(self, source: str, *, has_sound: bool = True) -> None:
        _, file = self._files.pop(source, (0, None))
        if file is not None:
            with suppress(OSError):  # a full disk was told of when it was full
                file.close()
            if not has_sound:
                Path(file.path).unlink(missing_ok=True)
