"""Follow the frames of MPEG audio (MP3, MP2) from header to header: an account of their bytes.

libmpg123 skips what it cannot decode, and all later sound is too early then. The headers say how
long each frame is, so a break in their chain shows where sound is missing, and how much. ::

    tag | frame | frame | ~~~~~~~ | frame | frame | tag
          run             gap       run

Bit rates and sampling frequencies are those of ISO/IEC 11172-3 and 13818-3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

from sed.audio.decoders.layout.local_file import MIN_REST_BYTES, Readable

MAX_TAGS = 64
BLOCK_BYTES = 1 << 20
MAX_FRAME_BYTES = 4_096  # of any bit rate, and more
DELAY_SAMPLES = 1_105  # of LAME and a decoder, before the first sample of a recording
N_CHAINED = 3  # frames in a row that are no accident

_BIT_RATES = {  # kbit/s by version (1; 2 and 2.5) and layer
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)


@dataclass
class Run:
    """Frames of one format that follow each other without a break.

    Attributes
    ----------
    start, end
        First byte, and the byte after the last one.
    n_samples
        Samples per channel of all its frames.
    n_lost
        About how many samples are missing before it; 0 if it only has another format.
    n_before
        Bytes before the first run that are no frames. How long they are is unknown: they may never
        have been sound.
    """

    start: int
    end: int
    n_samples: int
    n_lost: int = 0
    n_before: int = 0


def mpeg_start(file: Readable, start: int) -> int:
    """Return where MPEG audio starts behind tags of any length: ID3v1, ID3v2, APE."""
    for _ in range(MAX_TAGS):
        head = file.read(start, 32)
        if head[:3] == b"TAG":
            start += 128
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            start += 32 + int.from_bytes(head[12:16], "little")
        elif head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
            length = 0  # of the tag, in four groups of seven bits
            for byte in head[6:10]:
                length = length << 7 | byte
            start += 10 + length + (10 if head[5] & 0x10 else 0)
        else:
            break
    return start


def mpeg_end(file: Readable) -> int:
    """Return where MPEG audio ends before the tags ID3v1, APE and Lyrics3."""
    end = file.n_bytes
    for _ in range(MAX_TAGS):
        if end >= 128 and file.read(end - 128, 3) == b"TAG":
            end -= 128
        elif end >= 227 and file.read(end - 227, 4) == b"TAG+":
            end -= 227
        elif end >= 32 and file.read(end - 32, 8) == b"APETAGEX":
            n_bytes, _, flags = struct.unpack("<III", file.read(end - 20, 12))
            end -= min(end, n_bytes + (32 if flags & 0x8000_0000 else 0))
        elif end >= 15 and file.read(end - 9, 9) == b"LYRICS200":
            digits = file.read(end - 15, 6)
            if not digits.isdigit():
                break
            end -= min(end, int(digits) + 15)
        else:
            break
    return end


def next_mpeg(file: Readable, position: int) -> int | None:
    """Return where MPEG audio goes on from a position on, behind tags; None if it does not."""
    position = mpeg_start(file, position)
    sync = file.read(position, 2)
    is_frame = len(sync) == 2 and sync[0] == 0xFF and sync[1] & 0xE0 == 0xE0
    return position if is_frame else None


def has_mpeg_length(file: Readable, start: int) -> bool:
    """Return whether an MP3 header gives the length; otherwise libsndfile guesses it, too short."""
    first_frame = file.read(mpeg_start(file, start), 4096)
    for name in (b"Xing", b"Info"):
        if (at := first_frame.find(name)) >= 0:
            return at + 7 < len(first_frame) and bool(first_frame[at + 7] & 1)
    return b"VBRI" in first_frame


def promised_samples(file: Readable, start: int) -> int:
    """Return how many samples an MP3 header promises; 0 if there is none that says so."""
    frame = file.read(mpeg_start(file, start), 4096)
    found = [(frame.find(name), 8) for name in (b"Xing", b"Info")] + [(frame.find(b"VBRI"), 14)]
    at, n_before = max(found)
    if at < 0 or (n_before == 8 and not frame[at + 7] & 1):
        return 0
    _, n_samples = _lengths(frame[1] & 0xFE, frame[2] & 0x0C)
    return n_samples * int.from_bytes(frame[at + n_before : at + n_before + 4], "big")


def header_frame_bytes(file: Readable, start: int) -> int:
    """Return the length of a first frame that holds no sound but a header; 0 if there is none."""
    head = file.read(start, 4)
    if len(head) < 4:
        return 0
    length = _lengths(head[1] & 0xFE, head[2] & 0x0C)[0][head[2]]
    frame = file.read(start, length)
    return length if any(name in frame for name in (b"Xing", b"Info", b"VBRI")) else 0


def is_mpeg(file: Readable, start: int) -> bool:
    """Return whether frames of MPEG audio follow each other near the start of a recording."""
    first = mpeg_start(file, start)
    return _Walk(file, min(first + BLOCK_BYTES, file.n_bytes)).has_chain(first)


def mpeg_runs(file: Readable, start: int) -> list[Run]:
    """Return the runs of frames from a byte of a file on.

    The last may have no frames: it says what is missing at the end.
    """
    return _Walk(file, mpeg_end(file)).runs(mpeg_start(file, start))


class _Walk:
    """Walks over a file in blocks."""

    def __init__(self, file: Readable, end: int) -> None:
        self._file = file
        self._end = end
        self._load(0)

    def runs(self, position: int) -> list[Run]:
        runs: list[Run] = []
        while position < self._end:
            after_tags = mpeg_start(self._file, position)
            begin = self._next_chain(after_tags)
            gap = (self._end if begin is None else begin) - after_tags
            frames = [run for run in runs if run.n_samples]
            n_bytes = sum(run.end - run.start for run in frames)
            mean = sum(run.n_samples for run in frames) / n_bytes if frames else 0.0
            if begin is None:
                if gap >= MIN_REST_BYTES and frames:
                    runs.append(Run(after_tags, self._end, 0, round(gap * mean)))
                break
            run = self._run(begin)
            if frames:
                run.n_lost = round(gap * mean)
            else:
                run.n_before = gap
            last = runs[-1] if runs else None
            if last is not None and not gap and self._header(last.start) == self._header(begin):
                # Only a tag lies between: libmpg123 skips it.
                last.end, last.n_samples = run.end, last.n_samples + run.n_samples
            else:
                runs.append(run)
            position = run.end
        return runs

    def has_chain(self, position: int) -> bool:
        """Return whether there is a chain of frames from a position on."""
        return self._next_chain(position) is not None

    def _run(self, position: int) -> Run:
        """Return the run that starts at a frame."""
        start, n_frames = position, 0
        head = self._bytes(position, 4)
        lengths, n_samples = _lengths(head[1] & 0xFE, head[2] & 0x0C)
        second = head[1]
        while position + 4 <= self._end:
            if not self._offset <= position <= self._offset + len(self._block) - 4:
                self._load(position)
            block, offset = self._block, self._offset
            at, last = position - offset, len(block) - 4
            while at <= last and block[at] == 0xFF and block[at + 1] == second:
                length = lengths[block[at + 2]]
                if not length:
                    break
                at += length
                n_frames += 1
            position = offset + at
            if at <= last or not self._bytes(position, 4):
                break
        return Run(start, min(position, self._end), n_frames * n_samples)

    def _next_chain(self, position: int) -> int | None:
        """Return the first byte from a position on at which a chain of frames starts."""
        while position < self._end:
            if not self._offset <= position <= self._offset + len(self._block) - 4:
                self._load(position)
            if not self._block:  # a file that shrinks, or cannot be read
                return None
            at = self._block.find(b"\xff", position - self._offset)
            if at < 0:
                position = self._offset + len(self._block)
                continue
            position = self._offset + at
            if self._is_chain(position):
                return position
            position += 1
        return None

    def _is_chain(self, position: int) -> bool:
        """Whether frames of one format follow each other, to the end at most."""
        first = self._header(position)
        for _ in range(N_CHAINED):
            header = self._header(position)
            if header is None or header[:2] != (first or header)[:2]:
                return False
            position += header[2]
            if position + 4 > self._end:
                return position <= self._end + MAX_FRAME_BYTES
        return True

    def _header(self, position: int) -> tuple[int, int, int] | None:
        """Return version and layer, sample rate, and length in bytes of a frame."""
        head = self._bytes(position, 4)
        if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
            return None
        lengths, _ = _lengths(head[1] & 0xFE, head[2] & 0x0C)
        length = lengths[head[2]]
        return (head[1], head[2] & 0x0C, length) if length else None

    def _bytes(self, position: int, n_bytes: int) -> bytes:
        if not self._offset <= position <= self._offset + len(self._block) - n_bytes:
            self._load(position)
        at = position - self._offset
        return self._block[at : at + n_bytes]

    def _load(self, position: int) -> None:
        self._offset = position
        self._block = self._file.read(position, BLOCK_BYTES)


@cache
def _lengths(second: int, rate_bits: int) -> tuple[list[int], int]:
    """Return the length in bytes of frames by the third byte of their headers, and their samples.

    Parameters
    ----------
    second
        Second byte of the header, without the last bit.
    rate_bits
        The bits of the third byte that give the sample rate; others have the length 0.
    """
    version_bits, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    lengths = [0] * 256
    if version_bits == 1 or layer == 4 or rate_bits == 0x0C:
        return lengths, 0
    version = 1 if version_bits == 3 else 2
    rate = _RATES[rate_bits >> 2] // {3: 1, 2: 2, 0: 4}[version_bits]
    n_samples = 384 if layer == 1 else 576 if layer == 3 and version == 2 else 1_152
    for number, kilobits in enumerate(_BIT_RATES[version, layer], 1):
        for padding in (0, 1):
            n_slots = n_samples * kilobits * 125 // rate
            if layer == 1:
                length = 4 * (12 * kilobits * 1_000 // rate + padding)
            else:
                length = n_slots + padding
            for private in (0, 1):
                lengths[number << 4 | rate_bits | padding << 1 | private] = length
    return lengths, n_samples
