"""Write sound: FLAC, lossless for the samples of a sound device, also WAV and Ogg Vorbis."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile
from numpy.typing import NDArray

from sed.files import written_whole
from sed.types import Floats

MAX_CHANNELS = 8  # of a FLAC file
FULL_SCALE = 1 << 23  # of 24-bit samples
OGG_BLOCK = 8_192  # samples; libsndfile overflows the stack when it encodes long blocks

# Endings of files that `write_sound` writes, and what is in them.
SOUND_FORMATS = {"flac": "24 bits", "wav": "24 bits", "ogg": "Vorbis"}


class FlacFile:
    """A FLAC file of 24-bit samples that is written block by block.

    It can be read while it is written, and after a crash up to about the last second.

    Parameters
    ----------
    path
        The file; an existing one is overwritten.
    sample_rate
        Samples per second.
    n_channels
        Channels per block, at most `MAX_CHANNELS`.

    Attributes
    ----------
    cut_at
        Bytes that are left after another program has cut the file. What was written behind them is
        removed when the file is closed.

    Raises
    ------
    OSError
        If it cannot be written, or FLAC does not support the rate or the channels.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, n_channels: int) -> None:
        self.path = os.fspath(path)
        self.cut_at: int | None = None
        encoded_flac(np.zeros((1, n_channels), np.float32), sample_rate)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        # On Windows libsndfile has a C runtime of its own, which knows no descriptors of Python.
        file = self.path if sys.platform == "win32" else self._descriptor
        with self._failures():
            self._file = soundfile.SoundFile(
                file, "w", sample_rate, n_channels, format="FLAC", subtype="PCM_24"
            )

    def write(self, block: Floats) -> None:
        """Append samples, shape (samples, channels).

        Raises
        ------
        OSError
            If the disk is full.
        """
        with self._failures():
            self._file.write(_to_int32(block))

    @property
    def is_deleted(self) -> bool:
        """Whether the file, which is not closed, has no name any more, or its disk is gone."""
        try:
            return os.fstat(self._descriptor).st_nlink == 0
        except OSError:
            return True

    def close(self) -> None:
        """Finish the file.

        Raises
        ------
        OSError
            If the disk is full.
        """
        descriptor = None if self.cut_at is None else os.dup(self._descriptor)
        try:
            with self._failures():
                self._file.close()
        finally:
            if sys.platform == "win32":
                os.close(self._descriptor)
            if descriptor is not None:
                os.truncate(descriptor, self.cut_at or 0)
                os.close(descriptor)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn errors of libsndfile into `OSError`; for a full disk it gives no reason itself."""
        try:
            yield
        except (soundfile.LibsndfileError, AssertionError) as error:
            place = shutil.disk_usage(os.path.dirname(self.path) or ".")
            number = errno.EIO if place.free else errno.ENOSPC
            raise OSError(number, os.strerror(number)) from error


def write_flac(
    path: str | os.PathLike[str], samples: Floats, sample_rate: int, *, is_synced: bool = True
) -> None:
    """Write samples to a FLAC file of 24 bits, complete or not at all.

    Parameters
    ----------
    path
        The file.
    samples
        Shape (samples, channels), full scale 1.
    sample_rate
        Samples per second.
    is_synced
        Whether the file is on the disk before it has its name.

    Raises
    ------
    OutputError
        If it cannot be written, or FLAC does not support the rate or the channels.
    """
    with written_whole(path, is_synced=is_synced) as part:
        part.write_bytes(encoded_flac(samples, sample_rate))


def write_sound(path: str | os.PathLike[str], samples: Floats, sample_rate: int) -> None:
    """Write samples to a file in the format of its ending, complete or not at all.

    Parameters
    ----------
    path
        The file; its ending is a key of `SOUND_FORMATS`.
    samples
        Shape (samples, channels), full scale 1.
    sample_rate
        Samples per second.

    Raises
    ------
    OutputError
        If it cannot be written, or the format does not support the rate or the channels.
    """
    format = os.path.splitext(path)[1][1:].lower()
    if format == "flac":
        write_flac(path, samples, sample_rate)
        return
    subtype = "VORBIS" if format == "ogg" else "PCM_24"
    with written_whole(path) as part:
        try:
            with soundfile.SoundFile(
                part, "w", sample_rate, samples.shape[1], subtype, format=format.upper()
            ) as file:
                for first in range(0, len(samples), OGG_BLOCK):
                    block = samples[first : first + OGG_BLOCK]
                    file.write(_to_int32(block) if format == "wav" else block)
        except soundfile.LibsndfileError as error:
            form = f"{sample_rate} Hz, channels: {samples.shape[1]}"
            raise OSError(
                errno.EINVAL, f"{format.upper()} cannot hold such sound ({form})"
            ) from error


def encoded_flac(samples: Floats, sample_rate: int) -> memoryview:
    """Return the bytes of a FLAC file of 24 bits.

    Parameters
    ----------
    samples
        Shape (samples, channels), full scale 1.
    sample_rate
        Samples per second.

    Raises
    ------
    OSError
        If FLAC does not support the rate, which libsndfile notices only when it encodes, or the
        channels.
    """
    encoded = io.BytesIO()
    try:
        soundfile.write(encoded, _to_int32(samples), sample_rate, "PCM_24", format="FLAC")
    except soundfile.LibsndfileError as error:
        form = f"{sample_rate} Hz, channels: {samples.shape[1]}"
        raise OSError(errno.EINVAL, f"FLAC cannot hold such sound ({form})") from error
    return encoded.getbuffer()


def quantize_24bit(samples: Floats) -> Floats:
    """Round samples, of any shape, to 24 bits: the values that are read back from a `FlacFile`.

    Samples that came from 24 bits or fewer are unchanged. Values beyond full scale are clipped,
    and NaN becomes zero.
    """
    # A sum is finite if all its terms are.
    if not np.isfinite(samples.sum()):
        samples = np.nan_to_num(samples, posinf=1.0, neginf=-1.0)
    scaled = samples * np.float32(FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.maximum(scaled, np.float32(-FULL_SCALE), out=scaled)
    np.minimum(scaled, np.float32(FULL_SCALE - 1), out=scaled)
    scaled /= np.float32(FULL_SCALE)
    return scaled


def _to_int32(samples: Floats) -> NDArray[np.int32]:
    """Return samples as 32-bit integers, full scale 2³¹, with 24 significant bits."""
    return (quantize_24bit(samples) * np.float32(FULL_SCALE)).astype(np.int32) << 8
