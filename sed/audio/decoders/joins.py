"""Find where in a file another recording starts: files that were joined, chains of Ogg streams."""

from __future__ import annotations

import struct

from sed.audio.decoders.local_file import LocalFile

# Bytes behind the last sound that are not looked into: less than a frame of any encoding.
MIN_REST_BYTES = 2_048

READ_AHEAD_BYTES = 65_536  # that a decoder may have read beyond the last sample

_OGG_FIRST_PAGE = b"OggS\0\x02"  # capture pattern, version, flag of a first page
_FLAC_START = b"fLaC\0\0\0\x22"  # the mark, and the header of the first block of metadata
_MAX_TAGS = 64


def next_ogg(file: LocalFile, start: int) -> int | None:
    """Return where the next Ogg stream of a chain starts; None if there is none.

    Streams that run side by side, as of sound and picture, start together: they are one.
    """
    position = start
    while (head := file.read(position, 27 + 255)).startswith(_OGG_FIRST_PAGE):
        n_segments = head[26]
        position += 27 + n_segments + sum(head[27 : 27 + n_segments])
    at = file.find(_OGG_FIRST_PAGE, max(position, start + 1))
    return at if at >= 0 else None


def next_flac(file: LocalFile, position: int) -> int | None:
    """Return where the next FLAC file starts from a position on; None if there is none."""
    at = file.find(_FLAC_START, position)
    return at if at >= 0 else None


def mpeg_start(file: LocalFile, start: int) -> int:
    """Return where MPEG audio starts behind tags of any length: ID3v1, ID3v2, APE."""
    for _ in range(_MAX_TAGS):
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


def next_mpeg(file: LocalFile, position: int) -> int | None:
    """Return where MPEG audio goes on from a position on, behind tags; None if it does not."""
    position = mpeg_start(file, position)
    sync = file.read(position, 2)
    is_frame = len(sync) == 2 and sync[0] == 0xFF and sync[1] & 0xE0 == 0xE0
    return position if is_frame else None


def mpeg_end(file: LocalFile) -> int:
    """Return where MPEG audio ends before the tags ID3v1, APE and Lyrics3."""
    end = file.n_bytes
    for _ in range(_MAX_TAGS):
        if file.read(end - 128, 3) == b"TAG" and end >= 128:
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


def has_mpeg_length(file: LocalFile, start: int) -> bool:
    """Return whether an MP3 header gives the length; otherwise libsndfile guesses it, too short."""
    first_frame = file.read(mpeg_start(file, start), 4096)
    for name in (b"Xing", b"Info"):
        if (at := first_frame.find(name)) >= 0:
            return at + 7 < len(first_frame) and bool(first_frame[at + 7] & 1)
    return b"VBRI" in first_frame


def is_metadata(file: LocalFile, position: int, kind: str) -> bool:
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
        name, n_bytes = struct.unpack(layout, file.read(position, n_head))
        if not all(32 <= byte < 127 for byte in name[:4]) or (kind == "W64" and n_bytes < n_head):
            return False
        position += n_bytes + (0 if kind == "W64" else n_head)
        position += -position % even
    return position <= file.n_bytes + even
