"""Sound to FLAC, without loss for whatever a sound device gives."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile
from numpy.typing import NDArray

from sed.files import written_whole

MOST_CHANNELS = 8  # that FLAC knows


class FlacFile:
    """A FLAC file that grows, 24 bits a sample.

    It can be read while it grows, and after a crash up to the last second or so.

    Parameters
    ----------
    path
        Where to; what is there is overwritten.
    sample_rate, n_channels
        Of the sound.

    Raises
    ------
    OSError
        If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, n_channels: int) -> None:
        self.path = os.fspath(path)
        place = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        with self._failures():
            self._file = soundfile.SoundFile(
                place, "w", sample_rate, n_channels, format="FLAC", subtype="PCM_24"
            )

    def write(self, block: NDArray[np.float32]) -> None:
        """Append samples, shape (samples, channels).

        Raises
        ------
        OSError
            If the disk is full.
        """
        with self._failures():
            self._file.write(block)

    def close(self) -> None:
        """Finish the file.

        Raises
        ------
        OSError
            If the disk is full.
        """
        with self._failures():
            self._file.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Tell what went wrong, which libsndfile does not: of a full disk it says nothing at all."""
        try:
            yield
        except (soundfile.LibsndfileError, AssertionError) as error:
            place = os.statvfs(os.path.dirname(self.path) or ".")
            number = errno.EIO if place.f_bavail else errno.ENOSPC
            raise OSError(number, os.strerror(number)) from error


def write_flac(
    path: str | os.PathLike[str], samples: NDArray[np.float32], sample_rate: int
) -> None:
    """Write a FLAC file, whole or not at all; samples have the shape (samples, channels).

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with written_whole(path) as part:
        file = FlacFile(part, sample_rate, samples.shape[1])
        try:
            file.write(samples)
        finally:
            file.close()
