"""Read where the samples of WAV, AIFF and CAF lie, whatever the header says about it.

Recorders that lose power, streams that are longer than 4 GB and programs that stop in the middle
leave headers that contradict the file. The bytes decide: what follows the promised samples and is
no chunk is sound of the same kind. ::

    RIFF | fmt | LIST | data ......... | LIST | id3      regular
    RIFF | fmt | data (0 bytes) ~~~~~~~~~~~~~~           unfinished: sound to the end
    RIFF | fmt | data .... | data ....                   several data chunks
    RIFF | fmt | data .... RIFF | fmt | data ....        files that were joined
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from sed.audio.decoders.layout.chunks import (
    MAX_ALIGNMENT_BYTES,
    METADATA,
    is_metadata,
    is_unknown_size,
)
from sed.audio.decoders.layout.local_file import MIN_REST_BYTES, LocalFile

MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
MAX_CHUNKS = 10_000  # of a file
MAX_FORMAT_BYTES = 4_096
MAX_HEADER_BYTES = 1 << 24  # of AIFF and CAF
LARGEST_RIFF_BYTES = 0xFFFF_FF00 - MAX_FORMAT_BYTES  # of samples
# Encodings of AIFC and CAF whose samples all have the same length.
_PLAIN_AIFC = (b"NONE", b"twos", b"sowt", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64", b"in24")
_PLAIN_CAF = (b"lpcm", b"ulaw", b"alaw")
_NAME = re.compile(rb"[ -~]{4}")
# First bytes of tags that programs put behind the samples, as behind those of MP3.
_TAGS = (
    b"ID3\x02",
    b"ID3\x03",
    b"ID3\x04",
    b"TAG",
    b"APETAGEX",
    b"LYRICSBEGIN",
    b"<?xml",
    b"<x:xmp",
)
_OTHERS = {b"fLaC\0\0\0\x22": "FLAC", b"OggS\0\x02": "Ogg"}  # recordings that were joined to it


@dataclass
class WavPart:
    """Samples of one format.

    Attributes
    ----------
    magic
        First bytes of the file they are in, which say the order of bytes.
    form
        The body of its format chunk.
    ranges
        Offset and length of each range of bytes with samples.
    n_promised
        Bytes of samples that the header promises, if they are cut off; else 0.
    n_beyond
        Bytes of samples beyond those that the header promises.
    joined
        What follows the samples and is not read: bytes of a recording in another format.
    """

    magic: bytes
    form: bytes
    ranges: list[tuple[int, int]] = field(default_factory=list)
    n_promised: int = 0
    n_beyond: int = 0
    joined: str = ""

    @property
    def n_bytes(self) -> int:
        """Bytes of samples."""
        return sum(length for _, length in self.ranges)

    @property
    def fault(self) -> str:
        """How its header contradicts the file; empty if it does not."""
        if self.joined:
            return f"{self.joined} follow that are not read: take the file apart"
        if self.n_promised <= self.n_bytes:
            return ""
        return f"the header promises {self.n_promised} bytes of sound, there are {self.n_bytes}"

    def header(self) -> bytes:
        """Return a header for these samples and no others, up to the first sample."""
        order = ">" if self.magic == b"RIFX" else "<"
        n_bytes, form = self.n_bytes, self.form + b"\0" * (len(self.form) % 2)
        form = struct.pack(f"{order}4sI", b"fmt ", len(self.form)) + form
        if n_bytes <= LARGEST_RIFF_BYTES:
            magic = b"RIFX" if self.magic == b"RIFX" else b"RIFF"
            head = struct.pack(f"{order}4sI4s", magic, 4 + len(form) + 8 + n_bytes, b"WAVE")
            return head + form + struct.pack(f"{order}4sI", b"data", n_bytes)
        n_riff = 4 + 36 + len(form) + 8 + n_bytes
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, n_riff, n_bytes, 0, 0)
        head = struct.pack("<4sI4s", b"RF64", 0xFFFF_FFFF, b"WAVE")
        return head + sizes + form + struct.pack("<4sI", b"data", 0xFFFF_FFFF)


@dataclass
class WavLayout:
    """Where the samples of a file lie.

    Attributes
    ----------
    parts
        Samples, in order; one part unless files were joined.
    is_regular
        Whether libsndfile finds all of them by the header.
    """

    parts: list[WavPart]
    is_regular: bool


def read_layout(file: LocalFile) -> WavLayout | None:
    """Return the layout of a WAV file; None if it is none, or has no samples."""
    if file.read(0, 4) not in MAGICS or file.read(8, 4) != b"WAVE":
        return None
    return _Reader(file).read()


def longer_than_promised(file: LocalFile) -> list[bytes | tuple[int, int]] | None:
    """Return an AIFF or CAF file whose header promises all the sound that the file holds.

    Returns
    -------
    Its header and the range of its samples, for `LocalFile.ranges`; None if the header is right or
    cannot be read.
    """
    head = file.read(0, 12)
    is_aiff = head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC")
    if not is_aiff and head[:4] != b"caff":
        return None
    kind, layout, position = ("AIFF", ">4sI", 12) if is_aiff else ("CAF", ">4sQ", 8)
    n_head, described = struct.calcsize(layout), 0  # where the format is described
    for _ in range(MAX_CHUNKS):
        chunk = file.read(position, n_head)
        if len(chunk) < n_head:
            return None
        name, n_bytes = struct.unpack(layout, chunk)
        body = position + n_head
        if name in (b"SSND", b"data"):
            break
        described = body if name in (b"COMM", b"desc") else described
        position = body + n_bytes + (n_bytes % 2 if is_aiff else 0)
    else:
        return None
    end, start = body + n_bytes, body + (8 if is_aiff else 4)
    n_left = file.n_bytes - end
    if not described or n_left < MIN_REST_BYTES or is_metadata(file, end, kind):
        return None
    header = bytearray(file.read(0, start))
    if len(header) > MAX_HEADER_BYTES or not _promise(header, described, file.n_bytes - body):
        return None
    return [bytes(header), (start, file.n_bytes - start)]


def _promise(header: bytearray, described: int, n_bytes: int) -> bool:
    """Write a number of bytes of samples into a header of AIFF or CAF; return if that is possible.

    Parameters
    ----------
    header
        Up to the first sample.
    described
        Where the format is described in it.
    n_bytes
        Bytes of the chunk of samples, from its body on.
    """
    if header[:4] == b"caff":
        struct.pack_into(">q", header, len(header) - 12, n_bytes)
        return bytes(header[described + 8 : described + 12]) in _PLAIN_CAF
    n_channels, _, n_bits = struct.unpack_from(">hIh", header, described)
    is_plain = header[8:12] == b"AIFF" or header[described + 18 : described + 22] in _PLAIN_AIFC
    n_sample = n_channels * -(-n_bits // 8)
    if not is_plain or n_sample <= 0 or len(header) + n_bytes > LARGEST_RIFF_BYTES:
        return False
    struct.pack_into(">I", header, 4, len(header) + n_bytes - 16)
    struct.pack_into(">I", header, described + 2, (n_bytes - 8) // n_sample)
    struct.pack_into(">I", header, len(header) - 12, n_bytes)
    return True


class _Reader:
    """Follows the chunks of a file."""

    def __init__(self, file: LocalFile) -> None:
        self._bytes = file.read
        self._size = file.n_bytes
        self._parts: list[WavPart] = []
        self._is_regular = True

    def read(self) -> WavLayout | None:
        position: int | None = 0
        for _ in range(MAX_CHUNKS):
            if position is None:
                break
            position = self._form(position)
        parts = [part for part in self._parts if part.n_bytes]
        if not parts:
            return None
        is_simple = len(self._parts) == 1 and len(parts[0].ranges) == 1
        return WavLayout(parts, self._is_regular and is_simple)

    def _form(self, start: int) -> int | None:
        """Read the file that starts at a position; return where the next one starts."""
        magic = self._bytes(start, 4)
        order = ">" if magic == b"RIFX" else "<"
        self._is_regular = self._is_regular and magic != b"BW64"
        part: WavPart | None = None
        n_data = 0  # in a ds64 chunk
        for position, name, n_bytes in self._chunks(start + 12, order):
            body = position + 8
            if name == b"ds64":
                n_data = int.from_bytes(self._bytes(body + 8, 8), "little")
            elif name == b"fmt " and part is None:
                part = WavPart(magic, self._bytes(body, min(n_bytes, MAX_FORMAT_BYTES)))
                self._parts.append(part)
            elif name == b"data" and part is not None:
                if n_bytes == 0xFFFF_FFFF and not n_data and magic in (b"RF64", b"BW64"):
                    self._is_regular = False
                promised = n_data if n_bytes == 0xFFFF_FFFF and n_data else n_bytes
                self._jump = self._samples(part, body, promised, order)
            elif name in MAGICS:
                return position
        return None

    def _chunks(self, position: int, order: str) -> Iterator[tuple[int, bytes, int]]:
        """Yield position, name and size of each chunk; one of samples sets where the next is."""
        for _ in range(MAX_CHUNKS):
            head = self._bytes(position, 8)
            if len(head) < 8:
                return
            name, n_bytes = struct.unpack(f"{order}4sI", head)
            self._jump = -1
            yield position, name, n_bytes
            if self._jump >= 0:
                position = self._jump
                continue
            if not _NAME.fullmatch(name):
                return
            after = position + 8 + n_bytes
            # Some programs leave out the byte that makes a chunk even.
            is_short = n_bytes % 2 and not self._is_name(after + 1) and self._is_name(after)
            self._is_regular = self._is_regular and not is_short
            position = after if is_short else after + n_bytes % 2

    def _samples(self, part: WavPart, start: int, promised: int, order: str) -> int:
        """Add the samples that start at a position; return where the next chunk is."""
        end = start + promised
        is_placeholder = is_unknown_size(promised)
        if end > self._size:
            # Cut off, or written by a program that streams. libsndfile reads both.
            part.ranges.append((start, self._size - start))
            part.n_promised = 0 if is_placeholder else part.n_bytes + end - self._size
            return self._size
        for after in (end + promised % 2, end):
            if self._is_explained(after, order):
                part.ranges.append((start, promised))
                return after
        self._is_regular = False
        tail = self._bytes(end, 16)
        if tail.startswith(_TAGS) or tail[promised % 2 :].startswith(_TAGS):
            part.ranges.append((start, promised))
            return self._size
        for magic, kind in _OTHERS.items():
            if tail.startswith(magic) and promised:
                part.ranges.append((start, promised))
                part.joined = f"{self._size - end} bytes of {kind}"
                return self._size
        # More follows than is promised: a size of 32 bits that was too small, or never written.
        wrapped = range(end + (1 << 32), self._size + 1, 1 << 32)
        end = next((end for end in wrapped if self._is_explained(end, order)), self._size)
        part.ranges.append((start, end - start))
        part.n_beyond += 0 if is_placeholder else end - start - promised
        return end

    def _is_explained(self, position: int, order: str) -> bool:
        """Whether what follows from a position on is no sound: chunks, another file, or nothing."""
        if self._size - position <= MAX_ALIGNMENT_BYTES:
            return position <= self._size + 1
        for _ in range(MAX_CHUNKS):
            head = self._bytes(position, 12)
            if len(head) < 8:
                return position <= self._size + 1
            name, n_bytes = struct.unpack(f"{order}4sI", head[:8])
            if name in MAGICS:
                return head[8:] == b"WAVE"
            if name in METADATA or name == b"data":
                return True
            if not _NAME.fullmatch(name):
                return False
            position += 8 + n_bytes + n_bytes % 2
        return False

    def _is_name(self, position: int) -> bool:
        name = self._bytes(position, 4)
        return name in METADATA or name in (b"data", b"fmt ") or (not name)
