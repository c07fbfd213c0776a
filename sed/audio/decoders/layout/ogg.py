"""Find streams in a file of Ogg pages, and what of them is missing."""

from __future__ import annotations

import struct
from typing import NamedTuple

from sed.audio.decoders.layout.local_file import LocalFile, Readable

OGG_BLOCK_BYTES = 1 << 20

MAX_PAGE_SECONDS = 1.1  # of an Ogg file, as encoders usually write them

MAX_FIRST_PAGES = 64  # of headers of an Ogg file

_OGG_FIRST_PAGE = b"OggS\0\x02"  # capture pattern, version, flag of a first page


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


def ogg_start_time(file: Readable, sample_rate: int) -> int:
    """Return when the clock of an Ogg file starts, in samples; 0 if it starts with the sound.

    That of a part of a stream, as of a radio, starts at any time.

    Parameters
    ----------
    file
        The file.
    sample_rate
        Samples per second of the clock.
    """
    position, times = 0, [0]  # the latter at the ends of pages
    for _ in range(MAX_FIRST_PAGES):
        head = file.read(position, 27 + 255)
        if head[:4] != b"OggS" or len(head) < 27 or len(times) == 3:
            break
        (n_samples,) = struct.unpack("<q", head[6:14])
        if n_samples > times[-1]:
            times.append(n_samples)
        position += 27 + head[26] + sum(head[27 : 27 + head[26]])
    # Pages of few bits per second are long, and the first is about as long as the next.
    longest = MAX_PAGE_SECONDS * sample_rate
    longest = max([longest, *(1.25 * (times[2] - times[1]) for _ in times[2:])])
    return times[1] if len(times) > 1 and times[1] > longest else 0
