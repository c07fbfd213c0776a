"""Decode PCM samples from a pipe, raw or as a WAV stream of unknown length."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

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


def is_unknown_size(n_bytes: int) -> bool:
    """Return whether a size in a WAV header is the placeholder of a program that streams.

    FFmpeg writes 2³² - 1, SoX 0x7FFFF000, arecord about 2³¹, each less its header.
    """
    return 0x7FFF_0000 <= n_bytes <= 0x8000_0100 or n_bytes >= 0xFFFF_0000


def raw_stdin() -> io.FileIO:
    """Return standard input unbuffered: a blocked reader would hold the lock of Python's buffer."""
    return io.FileIO(sys.stdin.fileno(), closefd=False)


def read_exactly(stream: BinaryIO | io.FileIO, n_bytes: int) -> bytes:
    """Return `n_bytes` bytes, fewer only at the end of the stream."""
    parts, missing = [], n_bytes
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


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

    Raises
    ------
    UsageError
        If the encoding is unknown, or the rate or the channels are below 1.
    """

    def __init__(
        self,
        stream: BinaryIO | io.FileIO,
        sample_rate: int,
        encoding: str = "s16",
        n_channels: int = 1,
        n_bytes: int | None = None,
    ) -> None:
        if encoding not in ENCODINGS:
            raise UsageError(f"unknown encoding {encoding!r}. {near(encoding, ENCODINGS)}")
        if n_channels < 1 or sample_rate < 1:
            raise UsageError(
                f"expected a rate and channels above 0, got {sample_rate} and {n_channels}"
            )
        self._stream = stream
        self._encoding = encoding
        self._frame_bytes = n_channels * WIDTHS[encoding]
        self._n_bytes = n_bytes
        self.sample_rate = sample_rate
        self.n_channels = n_channels
        self.n_samples = None if n_bytes is None else n_bytes // self._frame_bytes
        self.format = f"PCM {encoding} stream"

    @classmethod
    def from_wav(cls, stream: BinaryIO | io.FileIO) -> PcmStreamDecoder:
        """Read the header of a WAV stream; return a decoder for the samples after it.

        Raises
        ------
        RecordingError
            If the stream is not WAV, or its encoding is not PCM.
        """
        head = read_exactly(stream, 12)
        if not head:
            raise RecordingError("-", "standard input is empty. Pipe a WAV file into it.")
        if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
            raise RecordingError(
                "-",
                "standard input is not a WAV stream. For raw samples give their format: "
                "--raw-rate 48000 --raw-encoding s16 --raw-channels 1.",
            )
        layout: tuple[int, int, int, int] | None = None
        while len(chunk := read_exactly(stream, 8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                break
            body = read_exactly(stream, size + size % 2)
            if name == b"fmt " and len(body) >= 16:
                tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
                # WAVE_FORMAT_EXTENSIBLE: the encoding is in the subformat.
                if tag == 0xFFFE and len(body) >= 26:
                    tag = struct.unpack("<H", body[24:26])[0]
                layout = tag, channels, rate, bits
        else:
            raise RecordingError("-", "the WAV stream ends before its samples begin.")
        if layout is None:
            raise RecordingError("-", "the WAV stream has no format chunk before its samples.")
        tag, channels, rate, bits = layout
        encoding = {(1, 8): "u8", (1, 16): "s16", (1, 24): "s24", (1, 32): "s32",
                    (3, 32): "f32", (3, 64): "f64"}.get((tag, bits))  # fmt: skip
        if encoding is None:
            raise RecordingError(
                "-", f"WAV encoding {tag} with {bits} bits cannot be streamed. Give it as a file."
            )
        if not 1 <= channels <= 1024:
            raise RecordingError("-", f"the header of the WAV stream gives {channels} channels.")
        known = size if size and not is_unknown_size(size) else None
        return cls(stream, rate, encoding, channels, known)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape (samples, channels) as they arrive.

        Raises
        ------
        DamagedRecordingError
            If the stream ends before the length in its header.
        """
        n_read = 0
        rest = b""
        while self._n_bytes is None or n_read < self._n_bytes:
            wanted = BLOCK_SAMPLES * self._frame_bytes
            if self._n_bytes is not None:
                wanted = min(wanted, self._n_bytes - n_read)
            data = self._stream.read(wanted) or b""
            if not data:
                break
            n_read += len(data)
            data = rest + data
            whole = len(data) // self._frame_bytes * self._frame_bytes
            rest = data[whole:]
            if whole:
                yield self._decode(data[:whole])
        if self._n_bytes is not None and n_read < self._n_bytes:
            promised = self._n_bytes // self._frame_bytes / self.sample_rate
            seconds = n_read // self._frame_bytes / self.sample_rate
            raise DamagedRecordingError(
                "-", seconds, f"the stream ends there; its header promises {promised:.3f} s."
            )

    def close(self) -> None:
        """Do nothing: the caller owns the stream."""

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
