"""Find where in a file another recording starts: files that were joined, chains of Ogg streams."""

from __future__ import annotations

import struct
from typing import NamedTuple

from sed.audio.decoders.local_file import LocalFile, Readable

# Bytes behind the last sound that are not looked into: less than a frame of any encoding.
MIN_REST_BYTES = 2_048

READ_AHEAD_BYTES = 65_536  # that a decoder may have read beyond the last sample

OGG_BLOCK_BYTES = 1 << 20

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra")
MAX_BOXES = 100_000  # of an mp4 file; each fragment has two

MAX_FIRST_PAGES = 64  # of headers of an Ogg file

_OGG_FIRST_PAGE = b"OggS\0\x02"  # capture pattern, version, flag of a first page
_W64_START = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"
_EBML, _SEGMENT, _EBML_VOID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec"
# Bytes of a frame by its first byte, without the mark of a good one (RFC 4867).
_AMR = {
    magic: {kind << 3: 1 + n_bytes for kind, n_bytes in sizes.items()}
    for magic, sizes in {
        b"#!AMR\n": dict(enumerate((12, 13, 15, 17, 19, 20, 26, 31, 5))) | {15: 0},
        b"#!AMR-WB\n": dict(enumerate((17, 23, 32, 36, 40, 46, 50, 58, 60, 5))) | {14: 0, 15: 0},
    }.items()
}
_AMR_EMPTY = b"\x7c"
MAX_AMR_BYTES = 1 << 28  # of a file that is looked into: a day and more
N_CHAINED_AMR = 8  # frames in a row that are no accident
_FLAC_START = b"fLaC\0\0\0\x22"  # the mark, and the header of the first block of metadata


def next_ogg(file: LocalFile, start: int) -> int | None:
    """Return where the next Ogg stream of a chain starts; None if there is none.

    Streams that run side by side, as of sound and picture, start together: they are one.
    """
    position, is_begin = start, True
    last = start  # of the pages that were followed
    while block := file.read(position, OGG_BLOCK_BYTES):
        at = 0
        while block[at : at + 4] == b"OggS" and at + 27 + 255 <= len(block):
            is_first = bool(block[at + 5] & 2)
            if is_first and not is_begin:
                return position + at
            is_begin = is_begin and is_first
            last = position + at
            at += 27 + block[at + 26] + sum(block[at + 27 : at + 27 + block[at + 26]])
        if at + 27 + 255 > len(block) and len(block) == OGG_BLOCK_BYTES:
            position += at
            continue
        # Damage, or the end of the file: the next first page, if there is any. A page that is torn
        # claims bytes of the next stream.
        found = file.find(_OGG_FIRST_PAGE, last + 4)
        return found if found >= 0 else None
    return None


def ogg_torn_bytes(file: LocalFile, start: int, following: int) -> int:
    """Return how many bytes before the next stream of a chain are no whole page.

    Parameters
    ----------
    file
        The file.
    start, following
        First bytes of a stream and of the next.
    """
    position = start
    while position < following:
        head = file.read(position, 27 + 255)
        if head[:4] != b"OggS" or len(head) < 27:
            break
        n_page = 27 + head[26] + sum(head[27 : 27 + head[26]])
        if position + n_page > following:
            break
        position += n_page
    return following - position


class OggEnd(NamedTuple):
    """The last whole page of an Ogg file."""

    position: int  # the byte after it
    is_last: bool  # whether it carries the end mark
    n_samples: int  # its time, in samples of its codec; negative if it has none


def ogg_end(file: Readable) -> OggEnd | None:
    """Return the last whole page of an Ogg file; None if it has none."""
    n_block, end = 1 << 17, file.n_bytes
    while end > 0:
        start = max(0, end - n_block)
        block = file.read(start, n_block + 27)
        at = len(block)
        while (at := block.rfind(b"OggS\0", 0, at)) >= 0:
            head = file.read(start + at, 27 + 255)
            n_page = 27 + head[26] + sum(head[27 : 27 + head[26]]) if len(head) >= 27 else 0
            if n_page and start + at + n_page <= file.n_bytes:
                (n_samples,) = struct.unpack("<q", head[6:14])
                return OggEnd(start + at + n_page, bool(head[5] & 4), n_samples)
        end = start
    return None


def ogg_first_time(file: Readable) -> int:
    """Return the time of the first page with sound, in samples of its codec; 0 if there is none."""
    position = 0
    for _ in range(MAX_FIRST_PAGES):
        head = file.read(position, 27 + 255)
        if head[:4] != b"OggS" or len(head) < 27:
            return 0
        (n_samples,) = struct.unpack("<q", head[6:14])
        if n_samples > 0:
            return int(n_samples)
        position += 27 + head[26] + sum(head[27 : 27 + head[26]])
    return 0


def next_flac(file: LocalFile, position: int) -> int | None:
    """Return where the next FLAC file starts from a position on; None if there is none."""
    at = file.find(_FLAC_START, position)
    return at if at >= 0 else None


def flac_is_cut(file: Readable, start: int) -> bool:
    """Return whether a FLAC file ends in bytes that are no frame, as far as its header can say."""
    head = file.read(start, 42)
    max_bytes = int.from_bytes(head[15:18], "big")  # of a frame, by its first block of metadata
    if not head.startswith(_FLAC_START) or not max_bytes:
        return False
    tail = file.read(max(0, file.n_bytes - max_bytes - MIN_REST_BYTES), max_bytes + MIN_REST_BYTES)
    at = len(tail)
    if not tail:  # more of a pipe than is kept of it
        return False
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] in (b"\xf8", b"\xf9") and _is_flac_frame(tail[at : at + 16]):
            return False
    return True


def flac_end(file: LocalFile) -> int | None:
    """Return where the last frames of a FLAC file end, in samples; None if they do not say.

    Files whose frames differ in length say nothing here.
    """
    head = file.read(0, 42)
    max_bytes = int.from_bytes(head[15:18], "big")
    least, most = (int.from_bytes(head[i : i + 2], "big") for i in (8, 10))  # of a frame
    if not head.startswith(_FLAC_START) or not max_bytes or least != most:
        return None
    n_tail = 4 * (max_bytes + MIN_REST_BYTES)
    tail = file.read(max(0, file.n_bytes - n_tail), n_tail)
    at, following = len(tail), -1
    while (at := tail.rfind(b"\xff\xf8", 0, at)) >= 0:
        frame = tail[at : at + 16]
        if not _is_flac_frame(frame):
            continue
        n_number = max(1, 8 - (frame[4] ^ 0xFF).bit_length())
        number = frame[4] & (0x7F if n_number == 1 else 0x7F >> n_number)
        for byte in frame[5 : 4 + n_number]:
            number = number << 6 | byte & 0x3F
        # Two in a row, because a checksum of eight bits is right by accident now and then.
        if number + 1 == following:
            return (following + 1) * most
        following = number
    return None


def _is_flac_frame(head: bytes) -> bool:
    """Whether the checksum of the header of a FLAC frame is right."""
    if len(head) < 6:
        return False
    n_number = max(1, 8 - (head[4] ^ 0xFF).bit_length())  # bytes, as in UTF-8
    n_size = {6: 1, 7: 2}.get(head[2] >> 4, 0)
    n_rate = {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    n_bytes, remainder = 4 + n_number + n_size + n_rate, 0
    if n_bytes >= len(head):
        return False
    for byte in head[:n_bytes]:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x07 if remainder & 0x80 else 0)) & 0xFF
    return remainder == head[n_bytes]


def next_form(file: LocalFile, start: int) -> int | None:
    """Return where an AIFF, CAF or W64 file starts behind the one at a byte; None if none does.

    The first one has to be whole: its header gives its length.
    """
    head = file.read(start, 24)
    position, n_magic = start + 8, 16
    if len(head) < 24:
        return None
    if head[:4] == b"FORM":
        n_bytes = int.from_bytes(head[4:8], "big")
        position += n_bytes + n_bytes % 2
        magic = head[:4] + head[8:11]  # AIFF and AIFC
    elif head.startswith(_W64_START):
        n_bytes = int.from_bytes(head[16:24], "little")
        position = start + n_bytes + -n_bytes % 8
        magic = _W64_START
    elif head[:4] == b"caff":
        magic = head[:6]
        for _ in range(MAX_BOXES):
            chunk = file.read(position, 12)
            if len(chunk) < 12 or chunk.startswith(magic):
                break
            position += 12 + int.from_bytes(chunk[4:], "big")
    else:
        return None
    found = file.read(position, n_magic)
    found = found[:4] + found[8:11] if head[:4] == b"FORM" else found
    return position if position > start and found.startswith(magic) else None


def amr_parts(file: Readable) -> tuple[list[bytes | tuple[int, int]], int]:
    """Return the frames of an AMR file, and how many bytes behind them are none.

    In the place of other bytes between frames are empty frames, as many as are as long. FFmpeg
    takes each of those bytes for a frame of 20 ms. No frames are returned of other files, and of
    files without such bytes.
    """
    head = file.read(0, 16)
    magic = next((name for name in _AMR if head.startswith(name)), None)
    if magic is None or file.n_bytes > MAX_AMR_BYTES:
        return [], 0
    content, sizes = file.read(0, file.n_bytes), _AMR[magic]
    parts: list[bytes | tuple[int, int]] = []
    start, at, n_frames, n_bytes = 0, len(magic), 0, 0
    while at < len(content):
        size = sizes.get(content[at] & 0xFB, 0) if content[at] else 0
        if size:
            at, n_frames, n_bytes = at + size, n_frames + 1, n_bytes + size
            continue
        following = _next_amr(content, at, magic)
        parts.append((start, at - start))
        if following < 0:
            return parts, len(content) - at
        if not content.startswith(magic, at):
            parts.append(_AMR_EMPTY * round((following - at) * n_frames / max(1, n_bytes)))
        at = start = following
    return ([*parts, (start, len(content) - start)], 0) if parts else ([], 0)


def _next_amr(content: bytes, at: int, magic: bytes) -> int:
    """Return where frames of AMR go on from a byte on; -1 if they do not."""
    sizes = _AMR[magic]
    for first in range(at, len(content)):
        if content.startswith(magic, first):
            return first + len(magic)
        position, n_chained = first, 0
        # Frames that are marked as good, which junk is less often.
        while position < len(content) and content[position] & 4 and n_chained < N_CHAINED_AMR:
            size = sizes.get(content[position] & 0xFB, 0)
            if not size:
                break
            position, n_chained = position + size, n_chained + 1
        if n_chained == N_CHAINED_AMR:
            return first
    return -1


def matroska_rest(file: Readable) -> int:
    """Return how many bytes are behind the last segment of a Matroska file; few count as none.

    A segment of unknown length, as of a live stream, reaches to the end.
    """
    position = 0
    for _ in range(MAX_BOXES):
        head = file.read(position, 12)
        if not head and position < file.n_bytes:  # a part of a pipe that is not kept
            return 0
        n_name = 4 if head[:4] in (_EBML, _SEGMENT) else 1
        if (n_name == 1 and head[:1] != _EBML_VOID) or len(head) <= n_name:
            break
        n_size = 9 - head[n_name].bit_length()  # bytes of the size, by its leading zero bits
        size = int.from_bytes(head[n_name : n_name + n_size], "big") & (1 << 7 * n_size) - 1
        if n_size > 8 or size == (1 << 7 * n_size) - 1:
            return 0
        position += n_name + n_size + size
    left = file.n_bytes - position
    return left if position and left >= MIN_REST_BYTES else 0


def mp4_rest(file: Readable) -> int:
    """Return how many bytes of an mp4 file are behind its boxes, or in a second file behind them.

    0 if it is no mp4 file, or nothing is there.
    """
    position, n_files = 0, 0
    for _ in range(MAX_BOXES):
        head = file.read(position, 16)
        if len(head) < 8:
            break
        n_bytes, name = struct.unpack(">I4s", head[:8])
        if not position and name != b"ftyp":
            return 0
        n_files += name == b"ftyp"
        if n_bytes == 1 and len(head) == 16:
            (n_bytes,) = struct.unpack(">Q", head[8:])
        # A box that is cut off reaches beyond the file, and so does what is none.
        is_known = name in _BOXES or position + n_bytes <= file.n_bytes
        is_box = all(32 <= byte < 127 for byte in name) and n_bytes >= 8 and is_known
        if n_files > 1 or not is_box:
            # A box of no length reaches to the end of the file.
            left = file.n_bytes - position
            return left if left >= MIN_REST_BYTES and n_bytes != 0 else 0
        position += n_bytes
    return 0


def is_metadata(file: Readable, position: int, kind: str) -> bool:
    """Return whether chunks, and nothing else, follow the sound of AIFF, CAF and W64.

    Parameters
    ----------
    file
        The file.
    position
        The byte after the sound.
    kind
        AIFF, CAF or W64, as libsndfile calls them.
    """
    if kind not in ("AIFF", "CAF", "W64"):
        return False
    layout = {"AIFF": ">4sI", "CAF": ">4sQ", "W64": "<16sQ"}[kind]
    n_head, even = struct.calcsize(layout), {"AIFF": 2, "CAF": 1, "W64": 8}[kind]
    position += -position % even
    while position + n_head <= file.n_bytes:
        head = file.read(position, n_head)
        if len(head) < n_head:  # of a pipe
            return False
        name, n_bytes = struct.unpack(layout, head)
        if not all(32 <= byte < 127 for byte in name[:4]) or (kind == "W64" and n_bytes < n_head):
            return False
        position += n_bytes + (0 if kind == "W64" else n_head)
        position += -position % even
    return position <= file.n_bytes + even
