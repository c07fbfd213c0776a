"""Find what is behind the recording in files of MP4, Matroska and ASF."""

from __future__ import annotations

import struct

from sed.audio.decoders.layout.local_file import MIN_REST_BYTES, Readable

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra")
MAX_BOXES = 100_000  # of an mp4 file; each fragment has two

_EBML, _SEGMENT, _EBML_VOID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec"
_ASF_HEADER = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
_ASF_PROPERTIES = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"
MAX_ASF_HEADER_BYTES = 1 << 24
MIN_ASF_DATA_BYTES = 50  # of the object of packets; a live stream does not say how long it is


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


def asf_rest(file: Readable, last: int) -> int:
    """Return how many bytes of an ASF file are behind the last packet that was read; 0 if none are.

    Parameters
    ----------
    file
        The file, with one track only: others may go on.
    last
        First byte of that packet, which holds frames of sound.
    """
    head = file.read(0, 24)
    n_header = int.from_bytes(head[16:24], "little")
    if not head.startswith(_ASF_HEADER) or n_header > MAX_ASF_HEADER_BYTES:
        return 0
    header = file.read(0, n_header)
    at = header.find(_ASF_PROPERTIES)
    n_packet = int.from_bytes(header[at + 96 : at + 100], "little")  # the largest, usually all
    n_data = int.from_bytes(file.read(n_header + 16, 8), "little")
    end = n_header + n_data
    follows = file.read(end, 24)  # an index, or another file
    is_index = len(follows) == 24 and end + int.from_bytes(follows[16:], "little") <= file.n_bytes
    if n_data < MIN_ASF_DATA_BYTES or not is_index or follows.startswith(_ASF_HEADER):
        end = file.n_bytes
    n_left = end - last - n_packet
    return n_left if at >= 0 and n_packet and n_left >= min(n_packet, MIN_REST_BYTES) else 0
