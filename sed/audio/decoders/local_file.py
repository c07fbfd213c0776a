"""A recording on the local disk, or a seekable standard input, as the decoders need it."""

from __future__ import annotations

import os

from sed.audio.decoders.byte_ranges import ByteRanges, read_at


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
        self._start = 0
        if place is None:
            self._start = os.lseek(descriptor, 0, os.SEEK_CUR)
        self.n_bytes = os.fstat(descriptor).st_size - self._start

    def read(self, position: int, n_bytes: int) -> bytes:
        """Return at most `n_bytes` from a position on, fewer only at the end of the file."""
        try:
            return read_at(self._descriptor, self._start + position, n_bytes)
        except OSError:
            return b""

    def whole(self) -> bytes | int | ByteRanges:
        """Return the whole file for libsndfile, which reads it fastest by itself."""
        if self.place is not None:
            return os.fsencode(self.place)
        if self._start:
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
