"""Find the frames of AMR files."""

from __future__ import annotations

from sed.audio.decoders.layout.local_file import Readable

# Bytes of a frame by its first byte, without the mark of a good one (RFC 4867).
_AMR = {
    magic: {kind << 3: 1 + n_bytes for kind, n_bytes in sizes.items()}
    for magic, sizes in {
        b"#!AMR\n": dict(enumerate((12, 13, 15, 17, 19, 20, 26, 31, 5))) | {15: 0},
        b"#!AMR-WB\n": dict(enumerate((17, 23, 32, 36, 40, 46, 50, 58, 60, 5))) | {14: 0, 15: 0},
    }.items()
}
# Kinds of frames that are neither sound nor a pause, by FFmpeg's name of the codec.
LOST_KINDS = {"amrnb": range(9, 15), "amrwb": range(10, 15)}
_AMR_LOST = b"\x74"
MAX_AMR_BYTES = 1 << 28  # of a file that is looked into: a day and more
N_CHAINED_AMR = 8  # frames in a row that are no accident


def amr_parts(file: Readable) -> tuple[list[bytes | tuple[int, int]], int]:
    """Return the frames of an AMR file, and how many bytes behind them are none.

    In the place of other bytes between frames are lost frames, as many as are as long. FFmpeg
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
            parts.append(_AMR_LOST * round((following - at) * n_frames / max(1, n_bytes)))
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
