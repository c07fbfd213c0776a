"""Find what is behind the recording in files of MP4 and Matroska."""

from __future__ import annotations

import struct

from sed.audio.decoders.layout.local_file import MIN_REST_BYTES, Readable

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra")
MAX_BOXES = 100_000  # of an mp4 file; each fragment has two

_EBML, _SEGMENT, _EBML_VOID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec"


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
