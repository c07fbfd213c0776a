"""Show ranges of a file, with other bytes before them, as a file of their own."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


def read_at(descriptor: int, position: int, n_bytes: int) -> bytes:
    """Return at most `n_bytes` from a position of a file; the offset of others is not moved.

    Raises
    ------
    OSError
        If they cannot be read.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, n_bytes, position)
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, position, os.SEEK_SET)
    try:
        return os.read(descriptor, n_bytes)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


class ByteRanges(io.RawIOBase):
    """A read-only file that consists of bytes and of ranges of another file.

    ::

        other file   | head | chunk | range 1 | head | range 2 | tail |
        this         | new head | range 1 | range 2 |

    Parameters
    ----------
    descriptor
        Of the other file; closed with this.
    parts
        Bytes, or the offset and the length of a range.
    name
        Name in messages.
    """

    def __init__(
        self, descriptor: int, parts: Sequence[bytes | tuple[int, int]], name: str = ""
    ) -> None:
        self._descriptor: int | None = descriptor
        self._parts = [part for part in parts if _length(part) > 0]
        self._ends = list(accumulate(map(_length, self._parts)))
        self._position = 0
        self.name = name

    @property
    def n_bytes(self) -> int:
        """Bytes in all."""
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, also beyond the end; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.n_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer; return the number of bytes, fewer only at the end.

        A file that cannot be read any further ends there: libsndfile calls this from C, where no
        exception may pass.
        """
        n_read = 0
        view = memoryview(buffer)
        while n_read < len(view) and self._position < self.n_bytes:
            data = self._read_part(len(view) - n_read)
            if not data:
                break
            view[n_read : n_read + len(data)] = data
            n_read += len(data)
            self._position += len(data)
        return n_read

    def close(self) -> None:
        """Close this and the other file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        super().close()

    def _read_part(self, n_bytes: int) -> bytes:
        """Return at most `n_bytes` from the position on, of one part."""
        number = bisect_right(self._ends, self._position)
        part = self._parts[number]
        start = self._position - (self._ends[number] - _length(part))
        n_bytes = min(n_bytes, self._ends[number] - self._position)
        if isinstance(part, bytes):
            return part[start : start + n_bytes]
        if self._descriptor is None:
            return b""
        try:
            return read_at(self._descriptor, part[0] + start, n_bytes)
        except (OSError, OverflowError):
            return b""


def _length(part: bytes | tuple[int, int]) -> int:
    return len(part) if isinstance(part, bytes) else part[1]
