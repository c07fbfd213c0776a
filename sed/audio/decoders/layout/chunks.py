"""Follow the chunks of AIFF, CAF, W64 and WAV, and the headers of AU."""

from __future__ import annotations

import struct

from sed.audio.decoders.layout.local_file import LocalFile, Readable

MAX_CHUNKS = 100_000  # that are looked at
MAX_ALIGNMENT_BYTES = 64  # behind the samples of WAV that some programs leave

# Chunks of WAV that are no sound, wherever they stand.
METADATA = frozenset(
    name.ljust(4).encode()
    for name in (
        *("LIST", "JUNK", "junk", "FLLR", "PAD", "fact", "bext", "iXML", "axml", "aXML", "chna"),
        *("cue", "smpl", "inst", "plst", "labl", "note", "ltxt", "slnt", "acid", "strc", "regn"),
        *("id3", "ID3", "guan", "wamd", "PEAK", "DISP", "levl", "umid", "cart", "_PMX", "afsp"),
        *("minf", "elm1", "MD5", "tlst", "ResU", "Cr8r"),
    )
)

_W64_START = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"


def is_unknown_size(n_bytes: int) -> bool:
    """Return whether a size in a WAV header is the placeholder of a program that streams.

    FFmpeg writes 2³² - 1, SoX 0x7FFFF000, arecord about 2³¹, each less its header.
    """
    return 0x7FFF_0000 <= n_bytes <= 0x8000_0100 or n_bytes >= 0xFFFF_0000


def next_form(file: LocalFile, start: int) -> int | None:
    """Return where an AIFF, AU, CAF or W64 file starts behind the one at a byte; None if none does.

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
    elif head[:4] == b".snd":
        magic, position = head[:4], start + sum(struct.unpack(">II", head[4:12]))
    elif head[:4] == b"caff":
        magic = head[:6]
        for _ in range(MAX_CHUNKS):
            chunk = file.read(position, 12)
            if len(chunk) < 12 or chunk.startswith(magic):
                break
            position += 12 + int.from_bytes(chunk[4:], "big")
    else:
        return None
    found = file.read(position, n_magic)
    found = found[:4] + found[8:11] if head[:4] == b"FORM" else found
    return position if position > start and found.startswith(magic) else None


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
