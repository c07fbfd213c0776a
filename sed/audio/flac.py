"""Sound to FLAC, without loss for whatever a sound device gives."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile
from numpy.typing import NDArray

from sed.files import written_whole
from sed.types import Floats

MOST_CHANNELS = 8  # that FLAC knows
FULL_SCALE = 1 << 23


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
        If it cannot be written, or FLAC cannot hold such sound.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, n_channels: int) -> None:
        self.path = os.fspath(path)
        _encoded(np.zeros((1, n_channels), np.float32), sample_rate)
        place = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        with self._failures():
            self._file = soundfile.SoundFile(
                place, "w", sample_rate, n_channels, format="FLAC", subtype="PCM_24"
            )

    def write(self, block: Floats) -> None:
        """Append samples, shape (samples, channels).

        Raises
        ------
        OSError
            If the disk is full.
        """
        with self._failures():
            self._file.write(_whole(block))

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
        """Tell what went wrong: of a full disk libsndfile says nothing at all."""
        try:
            yield
        except (soundfile.LibsndfileError, AssertionError) as error:
            place = os.statvfs(os.path.dirname(self.path) or ".")
            number = errno.EIO if place.f_bavail else errno.ENOSPC
            raise OSError(number, os.strerror(number)) from error


def write_flac(path: str | os.PathLike[str], samples: Floats, sample_rate: int) -> None:
    """Write samples, shape (samples, channels), as a FLAC file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written, or FLAC cannot hold such sound.
    """
    with written_whole(path) as part:
        part.write_bytes(_encoded(samples, sample_rate))


def _encoded(samples: Floats, sample_rate: int) -> memoryview:
    """Return a FLAC file; of some rates libsndfile says only now that it has none of them."""
    encoded = io.BytesIO()
    try:
        soundfile.write(encoded, _whole(samples), sample_rate, "PCM_24", format="FLAC")
    except soundfile.LibsndfileError as error:
        form = f"{sample_rate} Hz, channels: {samples.shape[1]}"
        raise OSError(errno.EINVAL, f"FLAC cannot hold such sound ({form})") from error
    return encoded.getbuffer()


def quantize_24bit(samples: Floats) -> Floats:
    """Return samples as a FLAC file of ours gives them back, to the bit.

    What came from 24 bits or fewer is as it was; what lies beyond full scale is clipped, and what
    is no number is silence.
    """
    scaled = np.rint(np.nan_to_num(samples, posinf=1.0, neginf=-1.0) * np.float32(FULL_SCALE))
    rounded: Floats = scaled.clip(-FULL_SCALE, FULL_SCALE - 1) / np.float32(FULL_SCALE)
    return rounded


def _whole(samples: Floats) -> NDArray[np.int32]:
    """Return samples as whole numbers, full scale at 2³¹, of which the upper 24 bits are used."""
    return (quantize_24bit(samples) * np.float32(FULL_SCALE)).astype(np.int32) << 8
