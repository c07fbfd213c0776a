"""Read samples of clips: straight from plain WAV files where possible, else decoded.

A mono WAV at the wanted rate needs no decoding: its samples lie in the file as they are, and those
of a clip are read and nothing else of the file. `sed prepare` writes such files. They are not
mapped into memory, since a file that shrinks meanwhile would then end the process (SIGBUS).
"""

from __future__ import annotations

import os
import struct
from contextlib import closing
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sed.audio.blocks import read_blocks
from sed.audio.decode import Decoder, open_recording
from sed.audio.file_decoder import FileDecoder
from sed.errors import RecordingError, SedError
from sed.timeline import samples_from_seconds
from sed.types import Floats
from train.data.clips import Clip

PCM16_FULL_SCALE = 32_768.0
LARGEST_WAV_BYTES = 0x7FFF_0000  # of samples; some programs take a larger size for unknown
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # WAV's encoding tags
_HEAD_BYTES = 4_096


class PlainWav:
    """Samples of a plain WAV file, which are read when they are taken.

    Parameters
    ----------
    path
        The file.
    dtype
        int16 or float32.
    offset
        Bytes before the samples.
    n_samples
        Number of samples.
    """

    def __init__(
        self, path: str | os.PathLike[str], dtype: np.dtype[Any], offset: int, n_samples: int
    ) -> None:
        self.dtype = dtype
        self._path = path
        self._offset = offset
        self._n_samples = n_samples

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._n_samples

    def __getitem__(self, part: slice) -> NDArray[Any]:
        """Return the samples of a slice without a step, shape (samples,), in a new array.

        Raises
        ------
        RecordingError
            If the file has become shorter, or cannot be read.
        """
        first, last, _ = part.indices(self._n_samples)
        count = max(0, last - first)
        try:
            place = self._offset + first * self.dtype.itemsize
            samples = np.fromfile(self._path, self.dtype, count, offset=place)
        except OSError as error:
            raise RecordingError(self._path, f"cannot be read: {error.strerror}.") from error
        if len(samples) < count:
            raise RecordingError(
                self._path,
                "has become shorter since it was opened. Let nothing write to the recordings of a "
                "training.",
            )
        return samples


def plain_wav(path: str | os.PathLike[str], sample_rate: int) -> PlainWav | None:
    """Return the samples of a plain WAV file without reading them.

    Parameters
    ----------
    path
        A file of any kind.
    sample_rate
        Samples per second that the file must have.

    Returns
    -------
    PlainWav or None
        None if the file is anything but a whole mono WAV of 16-bit integers or 32-bit floats at
        this rate: such a file has to be decoded.
    """
    try:
        with open(path, "rb") as file:
            layout = _layout(file, sample_rate)
            return None if layout is None else PlainWav(path, *layout)
    except OSError:  # the decoder reports the reason
        return None


def n_samples(clip: Clip, sample_rate: int) -> int | None:
    """Return the number of samples that `read_clip` returns, or None if the header is unsure.

    Raises
    ------
    RecordingError
        If the file cannot be opened.
    """
    plain = plain_wav(clip.path, sample_rate)
    length = _length_in_header(clip.path, sample_rate) if plain is None else len(plain)
    if length is None:
        return None
    begin, end = clip_range(clip, sample_rate)
    return max(0, (length if end is None else min(end, length)) - begin)


def recording_seconds(path: str) -> float | None:
    """Return how long a recording is, or None where its header is unsure or cannot be read."""
    try:
        with closing(open_recording(path)) as decoder:
            length = _exact_length(decoder)
            return length / decoder.sample_rate if length else None
    except (SedError, OSError):  # reading its clips reports the reason
        return None


def read_clip(
    clip: Clip, sample_rate: int, *, start: int | None = None, length: int | None = None
) -> Floats:
    """Return samples of a clip, shape (samples,), mono.

    Parameters
    ----------
    clip
        The clip to read.
    sample_rate
        Samples per second to return.
    start
        First sample, counted from the clip's start; 0 if not given.
    length
        Number of samples; all to the clip's end if not given. Fewer are returned where the clip
        or its file ends before.

    Raises
    ------
    RecordingError
        If the file cannot be read, or is damaged before the last sample requested.
    """
    begin, end = clip_range(clip, sample_rate)
    first = begin + (start or 0)
    if length is not None:
        end = first + length if end is None else min(end, first + length)
    plain = plain_wav(clip.path, sample_rate)
    if plain is None:
        return _decoded(clip.path, sample_rate, first, end)
    samples = plain[first:end]
    if samples.dtype == np.int16:
        scaled: Floats = np.divide(samples, PCM16_FULL_SCALE, dtype=np.float32)
        return scaled
    if not np.isfinite(samples.sum()) and not np.isfinite(samples).all():
        raise RecordingError(
            clip.path,
            "holds samples that are not finite (NaN or infinite). Check the program that wrote it.",
        )
    return samples


def clip_range(clip: Clip, sample_rate: int) -> tuple[int, int | None]:
    """Return the first sample of a clip in its file, and the one after its last.

    The latter is None where the clip lasts to the end of the file.
    """
    start = samples_from_seconds(clip.start_seconds, sample_rate)
    if clip.duration_seconds is None:
        return start, None
    return start, start + samples_from_seconds(clip.duration_seconds, sample_rate)


def wav_header(n_samples: int, sample_rate: int, dtype: DTypeLike) -> bytes:
    """Return the bytes before the samples of a mono WAV file.

    Parameters
    ----------
    n_samples
        Samples that follow.
    sample_rate
        Samples per second.
    dtype
        int16 or float32.
    """
    is_float = np.dtype(dtype) == np.float32
    width = np.dtype(dtype).itemsize
    tag = _FLOAT if is_float else _PCM
    body = b"fmt " + struct.pack(
        "<IHHIIHH", 16, tag, 1, sample_rate, sample_rate * width, width, 8 * width
    )
    # The standard asks for the number of samples in all formats but integers.
    if is_float:
        body += struct.pack("<4sII", b"fact", 4, n_samples)
    body += struct.pack("<4sI", b"data", n_samples * width)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body) + n_samples * width, b"WAVE") + body


def _layout(file: BinaryIO, sample_rate: int) -> tuple[np.dtype[np.generic], int, int] | None:
    """Return type, byte offset and number of the samples, or None if they have to be decoded."""
    head = file.read(_HEAD_BYTES)
    size = os.fstat(file.fileno()).st_size
    if (
        head[:4] != b"RIFF"
        or head[8:12] != b"WAVE"
        or size != 8 + int.from_bytes(head[4:8], "little")
    ):
        return None  # not a WAV file, or a truncated one
    dtype: np.dtype[np.generic] | None = None
    position = 12
    while position + 8 <= len(head):
        name, n_bytes = struct.unpack_from("<4sI", head, position)
        position += 8
        if name == b"data":
            if dtype is None or n_bytes < dtype.itemsize or position + n_bytes > size:
                return None
            file.seek(position + n_bytes + n_bytes % 2)
            if not all(32 <= byte < 127 for byte in file.read(4)):
                return None  # no chunk follows, but more samples than the header promises
            return dtype, position, n_bytes // dtype.itemsize
        if name == b"fmt ":
            dtype = _encoding(head[position : position + n_bytes], sample_rate)
        position += n_bytes + n_bytes % 2
    return None


def _encoding(body: bytes, sample_rate: int) -> np.dtype[np.generic] | None:
    """Return the type of the samples, or None if they are not mono or at another rate."""
    if len(body) < 16:
        return None
    tag, n_channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:  # the actual tag is further on
        (tag,) = struct.unpack_from("<H", body, 24)
    if n_channels != 1 or rate != sample_rate:
        return None
    known = {(_PCM, 16): "<i2", (_FLOAT, 32): "<f4"}
    return np.dtype(known[tag, bits]) if (tag, bits) in known else None


def _length_in_header(path: str, sample_rate: int) -> int | None:
    """Return how many samples decoding will give, or None where the header is unreliable."""
    with closing(open_recording(path)) as decoder:
        length = _exact_length(decoder)
        if length is None:
            return None
        # The resampler returns round(n · sample_rate / rate); halves are rounded up.
        rate = decoder.sample_rate
        return (2 * length * sample_rate + rate) // (2 * rate)


def _exact_length(decoder: Decoder) -> int | None:
    """Return the number of samples in a header that gives it exactly, at the rate of the file."""
    exact = isinstance(decoder, FileDecoder) and decoder.has_exact_length
    return decoder.n_samples if exact else None


def _decoded(path: str, sample_rate: int, first: int, end: int | None) -> Floats:
    """Decode up to `end` and no further; return the samples from `first` on."""
    parts = []
    position = 0
    with closing(read_blocks(path, sample_rate)) as blocks:
        for block in blocks:
            parts.append(block[max(0, first - position) :])
            position += len(block)
            if end is not None and position >= end:
                break
    samples = np.concatenate(parts)
    return samples if end is None else samples[: max(0, end - first)]
