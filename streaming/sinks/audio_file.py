"""Save live audio as FLAC files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from sed.audio.flac import MAX_CHANNELS, FlacFile
from sed.errors import OutputError
from sed.text import slug, timestamp
from streaming.messages import AudioBlock, FaultReporter, Message

MAX_FILE_SECONDS = 3600.0
RETRY_SECONDS = 60.0  # after a file could not be written


class AudioRecorder:
    """Save all captured audio as FLAC; a new file starts after each gap and after each hour.

    The name of a file is the time of its first sample and the input. FLAC has at most eight
    channels: of an input with more, the first eight are saved.

    Parameters
    ----------
    folder
        Folder of the files; created if it is missing.

    Raises
    ------
    OutputError
        If the folder cannot be created.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        # By the name of the input, positions in samples:
        self._files: dict[str, tuple[int, FlacFile]] = {}  # the open file and where it starts
        self._ends: dict[str, int] = {}  # the end of the last block
        self._retry_at: dict[str, int] = {}  # where a file is opened again after a failure
        self._faults = FaultReporter(f"audio is saved again in {self._folder}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(self._folder, error) from error

    def handle(self, message: Message) -> Sequence[Message]:
        """Save the samples of an `AudioBlock`; return the problems and recoveries to report."""
        if not isinstance(message, AudioBlock) or not len(message.block):
            return ()
        source, stop = message.source, message.start + len(message.block)
        if message.start != self._ends.get(source) or self._is_full(message):
            self._finish(source)
        self._ends[source] = stop
        if message.start < self._retry_at.get(source, 0):
            return ()
        is_new = source not in self._files
        try:
            self._file_of(message).write(message.block[:, :MAX_CHANNELS])
        except OSError as error:
            self._finish(source, has_samples=not is_new)
            self._retry_at[source] = stop + round(RETRY_SECONDS * message.sample_rate)
            fault = f"{OutputError(self._folder, error)} Detection continues without saved audio."
            return self._faults.update(fault)
        return self._faults.update(None)

    def close(self) -> Sequence[Message]:
        """Close all files."""
        for source in list(self._files):
            self._finish(source)
        return ()

    def _is_full(self, message: AudioBlock) -> bool:
        start, _ = self._files.get(message.source, (message.start, None))
        return message.start - start >= MAX_FILE_SECONDS * message.sample_rate

    def _file_of(self, message: AudioBlock) -> FlacFile:
        """Return the open file of an input, or open a new one."""
        if message.source not in self._files:
            seconds = len(message.block) / message.sample_rate
            time = datetime.now().astimezone() - timedelta(seconds=seconds)
            # Buffered blocks arrive all at once, so two files may get the same millisecond.
            while (path := self._path(time, message.source)).exists():
                time += timedelta(milliseconds=1)
            n_channels = min(message.block.shape[1], MAX_CHANNELS)
            file = FlacFile(path, message.sample_rate, n_channels)
            self._files[message.source] = message.start, file
        return self._files[message.source][1]

    def _path(self, time: datetime, source: str) -> Path:
        return self._folder / f"{timestamp(time)}_{slug(source)}.flac"

    def _finish(self, source: str, *, has_samples: bool = True) -> None:
        """Close the file of an input; delete it if nothing was written to it."""
        _, file = self._files.pop(source, (0, None))
        if file is not None:
            # A full disk was already reported by `handle`.
            with suppress(OSError):
                file.close()
            if not has_samples:
                Path(file.path).unlink(missing_ok=True)
