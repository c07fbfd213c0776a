"""Decode PCM samples from a pipe, raw or as a WAV stream of unknown length."""

from __future__ import annotations

import io
import re
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from sed.audio.decoders.guard import recording_errors
from sed.audio.decoders.layout.chunks import (
    MAX_ALIGNMENT_BYTES,
    METADATA,
    is_unknown_size,
)
from sed.audio.decoders.layout.local_file import Pipe
from sed.errors import DamagedRecordingError, RecordingError, UsageError
from sed.text import near

BLOCK_SAMPLES = 4_096  # short, because the other end of a pipe may be live

# Name as in arecord and FFmpeg: NumPy type, and the value of full scale.
ENCODINGS: dict[str, tuple[str, float]] = {
    "u8": ("u1", 128.0),
    "s16": ("<i2", 2.0**15),
    "s24": ("s24", 2.0**31),
    "s32": ("<i4", 2.0**31),
    "f32": ("<f4", 1.0),
    "f64": ("<f8", 1.0),
}
WIDTHS = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}  # bytes per sample


MAX_HEAD_BYTES = 1 << 16  # of a chunk of WAV that are read

Layout = tuple[int, int, int, int]  # encoding, channels, samples per second, bits

_FORMS = (b"RIFF", b"RF64", b"BW64")
_CHUNKS = METADATA | {*_FORMS, b"data"}
_NAME = re.compile(rb"[ -~]{4}")
_USUAL_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")
MAX_UNKNOWN_BYTES = 1 << 20  # of a chunk that is no sound though its name is unknown


def raw_stdin() -> io.FileIO:
    """Return standard input unbuffered: a blocked reader would hold the lock of Python's buffer."""
    return io.FileIO(sys.stdin.fileno(), closefd=False)


def read_exactly(stream: BinaryIO | io.RawIOBase, n_bytes: int) -> bytes:
    """Return `n_bytes` bytes, fewer only at the end of the stream."""
    parts, missing = [], n_bytes
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def is_wav(head: bytes) -> bool:
    """Return whether a stream that starts with these bytes is WAV."""
    return head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def _read_to_samples(stream: BinaryIO | io.RawIOBase) -> tuple[Layout | None, int]:
    """Read chunks of WAV up to the samples; return the format and the bytes of samples.

    These are -1 if there are no samples.
    """
    layout: Layout | None = None
    n_data = 0  # in a ds64 chunk
    while len(chunk := read_exactly(stream, 8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            return layout, n_data if size == 0xFFFF_FFFF and n_data else size
        body = read_exactly(stream, min(size + size % 2, MAX_HEAD_BYTES))
        _skip(stream, size + size % 2 - len(body))
        if name == b"ds64" and len(body) >= 16:
            n_data = int.from_bytes(body[8:16], "little")
        if name == b"fmt " and len(body) >= 16:
            tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", body[:16])
            # WAVE_FORMAT_EXTENSIBLE: the encoding is in the subformat.
            if tag == 0xFFFE and len(body) >= 26:
                tag = struct.unpack("<H", body[24:26])[0]
            if tag == 1 and align == 4 * channels and 16 < bits < 32:
                bits = 32  # samples of 24 bits in 32, as libsndfile reads them
            layout = tag, channels, rate, bits
    return layout, -1


def _skip(stream: BinaryIO | io.RawIOBase, n_bytes: int) -> None:
    """Read bytes of a stream and forget them."""
    while n_bytes > 0 and (part := stream.read(min(n_bytes, 1 << 16))):
        n_bytes -= len(part)


def _is_chunk(pipe: Pipe, at: int) -> bool:
    """Return whether a chunk of WAV starts some bytes ahead; one of unknown name has to be whole.

    It has a printable name, and another chunk or nothing follows it.
    """
    head = pipe.peek(at + 8)[at:]
    if len(head) < 8 or head[:4] in _CHUNKS:
        return len(head) == 8
    end = at + 8 + int.from_bytes(head[4:], "little")
    if not _NAME.fullmatch(head[:4]) or end > MAX_UNKNOWN_BYTES:
        return False
    even = end + (end - at) % 2
    ahead = pipe.peek(even + 4)
    following = ahead[even:]
    return len(ahead) >= end and (not following or _NAME.fullmatch(following[:4]) is not None)


class PcmStreamDecoder:
    """Interleaved little-endian PCM from a stream that cannot seek.

    Parameters
    ----------
    stream
        Stream of bytes.
    sample_rate
        Samples per second and channel.
    encoding
        One of `ENCODINGS`.
    n_channels
        Interleaved channels.
    n_bytes
        Expected bytes of samples; None to read to the end of the stream.
    name
        Name of the recording in messages.

    Raises
    ------
    UsageError
        If the encoding is unknown, or the rate or the channels are below 1.
    """

    def __init__(
        self,
        stream: BinaryIO | io.RawIOBase,
        sample_rate: int,
        encoding: str = "s16",
        n_channels: int = 1,
        n_bytes: int | None = None,
        name: str = "-",
    ) -> None:
        if encoding not in ENCODINGS:
            raise UsageError(f"unknown encoding {encoding!r}. {near(encoding, ENCODINGS)}")
        if n_channels < 1 or sample_rate < 1:
            raise UsageError(
                f"expected a rate and channels above 0, got {sample_rate} and {n_channels}"
            )
        self._stream = stream
        self._name = name
        self._encoding = encoding
        self._frame_bytes = n_channels * WIDTHS[encoding]
        self._n_bytes = n_bytes
        self._layout: Layout | None = None  # of a WAV stream
        self.sample_rate = sample_rate
        self.n_channels = n_channels
        self.n_samples = None if n_bytes is None else n_bytes // self._frame_bytes
        self.format = f"PCM {encoding} stream"

    @classmethod
    def from_wav(cls, stream: BinaryIO | io.RawIOBase, name: str = "-") -> PcmStreamDecoder:
        """Read the header of a WAV stream; return a decoder for the samples after it.

        Raises
        ------
        RecordingError
            If the stream is not WAV, or its encoding is not PCM.
        """
        stream = stream if isinstance(stream, Pipe) else Pipe(cast(io.RawIOBase, stream), name)
        head = read_exactly(stream, 12)
        if not head:
            raise RecordingError(name, "this stream is empty. Pipe a recording into it.")
        if not is_wav(head):
            raise RecordingError(name, "is not a WAV stream.")
        layout, n_bytes = _read_to_samples(stream)
        if n_bytes < 0:
            raise RecordingError(name, "the WAV stream ends before its samples begin.")
        if layout is None:
            raise RecordingError(name, "the WAV stream has no format chunk before its samples.")
        tag, channels, rate, bits = layout
        encoding = {(1, 8): "u8", (1, 16): "s16", (1, 24): "s24", (1, 32): "s32",
                    (3, 32): "f32", (3, 64): "f64"}.get((tag, bits))  # fmt: skip
        if encoding is None:
            raise RecordingError(
                name, f"WAV encoding {tag} with {bits} bits cannot be streamed. Give it as a file."
            )
        if rate < 1:
            raise RecordingError(name, "the header of the WAV stream gives 0 samples per second.")
        if not 1 <= channels <= 1024:
            raise RecordingError(name, f"the header of the WAV stream gives {channels} channels.")
        known = n_bytes if n_bytes and not is_unknown_size(n_bytes) else None
        decoder = cls(stream, rate, encoding, channels, known, name)
        decoder._layout = layout
        return decoder

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape (samples, channels) as they arrive.

        Raises
        ------
        DamagedRecordingError
            If the stream ends before the length in its header, or in another format.
        """
        with recording_errors(self._name):
            yield from self._blocks()

    def close(self) -> None:
        """Do nothing: the caller owns the stream."""

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        n_bytes, before, n_samples, rest = self._n_bytes, b"", 0, b""
        start = 0.0
        while True:
            n_read = 0
            for data in self._bytes(n_bytes, before):
                n_read += len(data)
                data = rest + data
                whole = len(data) // self._frame_bytes * self._frame_bytes
                rest = data[whole:]
                if whole:
                    n_samples += whole // self._frame_bytes
                    yield self._decode(data[:whole])
            seconds = n_samples / self.sample_rate
            if n_bytes is not None and n_read < n_bytes:
                promised = seconds + (n_bytes - n_read) // self._frame_bytes / self.sample_rate
                raise DamagedRecordingError(
                    self._name,
                    seconds,
                    f"the stream ends there; its header promises {promised:.3f} s.",
                )
            if n_bytes is None or self._layout is None:
                self._check_end(before, n_read, start)
                return
            start = seconds
            following = self._next_samples(n_bytes, seconds)
            if following is None:
                return
            n_bytes, before = following
            rest = rest if before else b""

    def _check_end(self, before: bytes, n_read: int, seconds: float) -> None:
        """Report a chunk of unknown name that was too long to be looked at before it was read.

        Parameters
        ----------
        before
            First bytes behind the sound that the header promises.
        n_read
            Bytes of all that follows.
        seconds
            Of sound before.

        Raises
        ------
        DamagedRecordingError
            If they look like one.
        """
        n_bytes = int.from_bytes(before[4:8], "little")
        if _USUAL_NAME.match(before) and MAX_UNKNOWN_BYTES < 8 + n_bytes <= n_read:
            raise DamagedRecordingError(
                self._name,
                seconds,
                f"{n_bytes} bytes there look like a chunk of unknown name "
                f"({before[:4].decode()}) and are read as sound. Give it as a file.",
            )

    def _bytes(self, n_bytes: int | None, before: bytes) -> Iterator[bytes]:
        """Yield some bytes, and the stream up to `n_bytes` or to its end, as they arrive."""
        if before:
            yield before
        n_read = 0
        while n_bytes is None or n_read < n_bytes:
            wanted = BLOCK_SAMPLES * self._frame_bytes
            data = self._stream.read(wanted if n_bytes is None else min(wanted, n_bytes - n_read))
            if not data:
                return
            n_read += len(data)
            yield data

    def _next_samples(self, n_bytes: int, seconds: float) -> tuple[int | None, bytes] | None:
        """Return what follows the samples of a WAV stream; None if no sound does.

        Parameters
        ----------
        n_bytes
            Bytes of the samples before.
        seconds
            Of sound before.

        Returns
        -------
        The bytes of more samples, None if they last to the end; and the first bytes of them that
        were read already, if they go on with those before.

        Raises
        ------
        DamagedRecordingError
            If a recording of another format follows.
        """
        pipe = self._stream
        assert isinstance(pipe, Pipe)
        # Some programs leave out the byte that makes a chunk even.
        if n_bytes % 2 and not _is_chunk(pipe, 0) and _is_chunk(pipe, 1):
            _skip(pipe, 1)
        while _is_chunk(pipe, 0):
            name, size = struct.unpack("<4sI", read_exactly(pipe, 8))
            layout = None if name in _FORMS else self._layout
            if name in _FORMS and pipe.peek(4) == b"WAVE":
                _skip(pipe, 4)
                layout, size = _read_to_samples(pipe)
            elif name not in (*_FORMS, b"data"):
                _skip(pipe, size + size % 2)
                continue
            if layout != self._layout:
                raise DamagedRecordingError(
                    self._name, seconds, "a recording of another format follows. Give it as a file."
                )
            return (size if size and not is_unknown_size(size) else None), b""
        # More sound than the header promises.
        more = read_exactly(pipe, MAX_ALIGNMENT_BYTES + 8)
        return (None, more) if len(more) > MAX_ALIGNMENT_BYTES else None

    def _decode(self, data: bytes) -> NDArray[np.float32]:
        dtype, full_scale = ENCODINGS[self._encoding]
        if self._encoding == "s24":
            # The upper three bytes of 32 bits; the lowest byte stays zero.
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            values = padded.view("<i4")[:, 0].astype(np.float64)
        else:
            values = np.frombuffer(data, dtype).astype(np.float64)
        if self._encoding == "u8":
            values = values - full_scale
        return (values / full_scale).astype(np.float32).reshape(-1, self.n_channels)
