"""A recording on the local disk or in a pipe, as the decoders need it."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from sed.audio.decoders.layout.byte_ranges import ByteRanges, read_at

# Of a pipe, for what is checked at its end: tags, the last page of Ogg, the last frames of FLAC.
TAIL_BYTES = 1 << 18

# Bytes behind the last sound that are not looked into: less than a frame of any encoding.
MIN_REST_BYTES = 2_048

HEAD_BYTES = 1_024  # that are read at once

READ_AHEAD_BYTES = 65_536  # that a decoder may have read beyond the last sample


class Readable(Protocol):
    """A file of which any part can be read."""

    @property
    def n_bytes(self) -> int:
        """Its length."""
        ...

    def read(self, position: int, n_bytes: int) -> bytes:
        """Return at most `n_bytes` from a position on, fewer only at the end of the file."""
        ...


class LocalFile:
    """An open file, of which any part can be read and decoded.

    Parameters
    ----------
    path
        Name of the recording in messages.
    place
        The path by which it can be opened again; None if it has none.
    descriptor
        Open file; closed with this. By default `place` is opened.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: str, place: str | None, descriptor: int | None = None) -> None:
        self.path = path
        self.place = place
        if descriptor is None:
            assert place is not None
            flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
            descriptor = os.open(place, flags)
        self._descriptor = descriptor
        self._head: bytes | None = None
        self._start = 0
        if place is None:
            self._start = os.lseek(descriptor, 0, os.SEEK_CUR)
        self.n_bytes = os.fstat(descriptor).st_size - self._start

    def read(self, position: int, n_bytes: int) -> bytes:
        """Return at most `n_bytes` from a position on, fewer only at the end of the file."""
        end = position + n_bytes
        if position >= 0 and end <= HEAD_BYTES:
            # Headers are read in many small pieces.
            if self._head is None or len(self._head) < min(end, self.n_bytes):
                self._head = self._read(0, HEAD_BYTES)
            return self._head[position:end]
        return self._read(position, n_bytes)

    def _read(self, position: int, n_bytes: int) -> bytes:
        # No more than there is: room for a large block costs more than a small file.
        n_bytes = min(n_bytes, self.n_bytes - position)
        if n_bytes <= 0:
            return b""
        try:
            return read_at(self._descriptor, self._start + position, n_bytes)
        except (OSError, OverflowError):  # a header may name any position
            return b""

    def whole(self) -> bytes | int | ByteRanges:
        """Return the whole file for libsndfile, which reads it fastest by itself."""
        if self.place is not None and sys.platform != "win32":
            return os.fsencode(self.place)
        # There libsndfile has a C runtime of its own, which knows no descriptors of Python.
        if self._start or sys.platform == "win32":
            return self.ranges([(0, self.n_bytes)])
        descriptor = os.dup(self._descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def ranges(self, parts: list[bytes | tuple[int, int]]) -> ByteRanges:
        """Return a file that consists of bytes and of ranges (offset, length) of this one."""
        shifted = [p if isinstance(p, bytes) else (self._start + p[0], p[1]) for p in parts]
        return ByteRanges(os.dup(self._descriptor), shifted, self.path)

    def find(self, pattern: bytes, start: int) -> int:
        """Return the position of the first occurrence of bytes from a position on; -1 if none."""
        n_block, overlap = 1 << 20, len(pattern) - 1
        while block := self.read(start, n_block + overlap):
            if (at := block.find(pattern)) >= 0:
                return start + at
            start += n_block
        return -1

    def close(self) -> None:
        """Close the file; again, do nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_pipe(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names a pipe, or a device such as a terminal, and no file or folder.

    Of the shell's ``<(command)`` it is the path too.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


class Pipe(io.RawIOBase):
    """A stream that cannot seek, of which the first bytes can be looked at before it is read.

    Parameters
    ----------
    stream
        Unbuffered stream of bytes; closed with this.
    name
        Name of the recording in messages.
    """

    def __init__(self, stream: io.RawIOBase, name: str) -> None:
        self.name = name
        self._stream = stream
        self._ahead = b""  # looked at, but not read
        self._head = b""
        self._tail: deque[bytes] = deque()
        self._n_tail = 0
        self._n_bytes = 0

    def peek(self, n_bytes: int) -> bytes:
        """Return the first bytes of what comes next, fewer only at the end of the stream."""
        while (n_missing := n_bytes - len(self._ahead)) > 0:
            data = self._stream.read(n_missing)
            if not data:
                break
            self._ahead += data
        return self._ahead[:n_bytes]

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with what has arrived; return the number of bytes, 0 only at the end."""
        data = self._ahead[: len(buffer)] or self._stream.read(len(buffer)) or b""
        self._ahead = self._ahead[len(data) :]
        buffer[: len(data)] = data
        self._n_bytes += len(data)
        if len(self._head) < TAIL_BYTES:
            self._head += data
        self._tail.append(data)
        self._n_tail += len(data)
        while self._n_tail - len(self._tail[0]) > TAIL_BYTES:
            self._n_tail -= len(self._tail.popleft())
        return len(data)

    def ends(self) -> PipeEnds:
        """Return the first and the last bytes that were read."""
        return PipeEnds(self._head, b"".join(self._tail), self._n_bytes)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        super().close()


@dataclass(frozen=True)
class PipeEnds:
    """The first and the last bytes of a pipe; what was between them is read as nothing."""

    head: bytes
    tail: bytes
    n_bytes: int  # of all that was read

    def read(self, position: int, n_bytes: int) -> bytes:
        """Return at most `n_bytes` from a position on; none if they are not known."""
        if position + n_bytes <= len(self.head):
            return self.head[position : position + n_bytes]
        start = position - (self.n_bytes - len(self.tail))
        return self.tail[start : start + n_bytes] if start >= 0 else b""
