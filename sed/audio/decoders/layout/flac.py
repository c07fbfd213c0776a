"""Find FLAC files in a file, and where their frames end."""

from __future__ import annotations

from sed.audio.decoders.layout.local_file import MIN_REST_BYTES, LocalFile, Readable

_FLAC_START = b"fLaC\0\0\0\x22"  # the mark, and the header of the first block of metadata


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = (byte << 1 ^ (0x07 if byte & 0x80 else 0)) & 0xFF
    return byte


_REMAINDERS = [_remainder(byte) for byte in range(256)]  # of the checksum of a header


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


def flac_end(file: Readable, start: int = 0, end: int | None = None) -> int | None:
    """Return where the last frame of a FLAC file ends, in samples; None if it does not say.

    Files whose frames differ in length say nothing here.

    Parameters
    ----------
    file
        What it is in.
    start, end
        Its first byte, and the byte after it; by default it is all.
    """
    head = file.read(start, 42)
    max_bytes = int.from_bytes(head[15:18], "big")
    least, most = (int.from_bytes(head[i : i + 2], "big") for i in (8, 10))  # of a frame
    if not head.startswith(_FLAC_START) or not max_bytes or least != most:
        return None
    end = file.n_bytes if end is None else end
    n_tail = min(4 * (max_bytes + MIN_REST_BYTES), end - start)
    tail = file.read(end - n_tail, n_tail)
    at, following, n_last = len(tail), -1, 0
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
            return following * most + n_last
        following, n_last = number, _n_samples(frame, 4 + n_number)
    return None


def _n_samples(frame: bytes, position: int) -> int:
    """Return the samples of a frame; those that are not common stand at a position."""
    code = frame[2] >> 4
    if code in (6, 7):
        return int.from_bytes(frame[position : position + code - 5], "big") + 1
    return 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8


def _is_flac_frame(head: bytes) -> bool:
    """Whether the checksum of the header of a FLAC frame is right."""
    if len(head) < 6 or not head[2] >> 4:
        return False
    n_number = max(1, 8 - (head[4] ^ 0xFF).bit_length())  # bytes, as in UTF-8
    n_size = {6: 1, 7: 2}.get(head[2] >> 4, 0)
    n_rate = {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    n_bytes, remainder = 4 + n_number + n_size + n_rate, 0
    if n_bytes >= len(head):
        return False
    for byte in head[:n_bytes]:
        remainder = _REMAINDERS[remainder ^ byte]
    return remainder == head[n_bytes]
