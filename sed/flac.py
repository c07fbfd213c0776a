"""Sound to FLAC, without loss for whatever a sound device gives."""

from __future__ import annotations

import os

import numpy as np
import soundfile
from numpy.typing import NDArray

from sed.errors import OutputError
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
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, n_channels: int) -> None:
        self.path = os.fspath(path)
        try:
            self._file = soundfile.SoundFile(
                path, "w", sample_rate, n_channels, format="FLAC", subtype="PCM_24"
            )
        except soundfile.LibsndfileError as error:
            raise OutputError(path, OSError(str(error))) from error

    def write(self, block: NDArray[np.float32]) -> None:
        """Append samples, shape (samples, channels).

        Raises
        ------
        OutputError
            If the disk is full.
        """
        try:
            self._file.write(block)
        except soundfile.LibsndfileError as error:
            raise OutputError(self.path, OSError(str(error))) from error

    def close(self) -> None:
        """Finish the file.

        Raises
        ------
        OutputError
            If the disk is full.
        """
        try:
            self._file.close()
        except soundfile.LibsndfileError as error:
            raise OutputError(self.path, OSError(str(error))) from error


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
