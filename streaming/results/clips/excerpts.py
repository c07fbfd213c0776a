"""Find the recordings of events, and read parts of them at their own rate, with all channels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from sed.audio.decode import open_recording
from sed.audio.file_decoder import FileDecoder
from sed.errors import RecordingError
from sed.events.reading.audio_files import AudioFinder
from sed.events.tracker import Event
from sed.types import Floats

SEEK_SECONDS = 5.0  # decoding up to so much sound is as fast as opening the file again


class Excerpt(NamedTuple):
    """A part of a recording."""

    number: int  # of the span that was asked for
    start_seconds: float  # in the recording
    samples: Floats  # (samples, channels)
    sample_rate: int


class RecordingFinder:
    """Finds the recordings of events. Threads may share it.

    Parameters
    ----------
    audio
        Folders to look for recordings in, at any depth, beside their paths as tables have them;
        the folder that the process is in if none is given.
    tables
        Folders that paths in tables may begin at, too.
    """

    def __init__(
        self,
        audio: Sequence[str | os.PathLike[str]],
        tables: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        here, beside, below = Path.cwd(), [*map(Path, tables)], [*map(Path, audio)]
        self._finder = AudioFinder([here, *beside, *below], below=below or [here, *beside])
        self._lock = Lock()

    def find(self, name: str) -> str:
        """Return the path of the recording that a table calls so.

        Raises
        ------
        RecordingError
            If there is none, or several.
        """
        if os.path.isfile(name):
            return name
        with self._lock:
            try:
                return self._finder.find_anywhere(name)
            except ValueError as error:
                raise RecordingError(
                    name,
                    f"{error}. Run this where the paths of the table hold, or give --audio DIR.",
                ) from error


def span_around(event: Event, pad_seconds: float, max_seconds: float) -> tuple[float, float]:
    """Return the start and the end, in seconds, of an event and the sound around it.

    Parameters
    ----------
    event
        The event.
    pad_seconds
        Sound before and after it.
    max_seconds
        Of a longer event its start is taken.
    """
    start = max(0.0, event.onset - pad_seconds)
    return start, min(max(event.offset, start) + pad_seconds, start + max_seconds)


@dataclass
class _Span:
    """The samples of a part that were read so far."""

    number: int
    start: int
    end: int
    parts: list[Floats] = field(default_factory=list)

    def excerpt(self, sample_rate: int) -> Excerpt:
        samples = np.concatenate(self.parts)
        return Excerpt(self.number, self.start / sample_rate, samples, sample_rate)


def read_excerpts(path: str, spans: Sequence[tuple[float, float]]) -> Iterator[Excerpt]:
    """Yield parts of a recording, in the order of their ends.

    Formats that seek exactly are decoded only where parts are, others once up to the last part.
    Parts that reach beyond the start or the end of the recording are shorter.

    Parameters
    ----------
    path
        The recording.
    spans
        Start and end of each part in seconds, in any order; they may overlap.

    Raises
    ------
    RecordingError
        If the recording cannot be read, or ends before a part begins; after all that can be read.
    """
    with closing(open_recording(path)) as decoder:
        rate = decoder.sample_rate
        can_seek = isinstance(decoder, FileDecoder) and decoder.seeks_exactly
    waiting = sorted(
        (_Span(i, max(0, round(a * rate)), round(b * rate)) for i, (a, b) in enumerate(spans)),
        key=lambda span: (span.start, span.end),
    )
    gap = SEEK_SECONDS * rate if can_seek else float("inf")
    for group in _groups(waiting, gap):
        with closing(open_recording(path)) as decoder:
            start = 0
            if can_seek and group[0].start > gap:
                assert isinstance(decoder, FileDecoder)
                start = decoder.seek(group[0].start)
            blocks = decoder.blocks()
            yield from _read(path, blocks, start, rate, group)


def _groups(spans: Sequence[_Span], gap: float) -> Iterator[list[_Span]]:
    """Yield spans, sorted by their starts, in groups that are further apart than a gap."""
    group: list[_Span] = []
    end = 0
    for span in spans:
        if group and span.start > end + gap:
            yield group
            group = []
        group.append(span)
        end = max(end, span.end)
    if group:
        yield group


def _read(
    path: str, blocks: Iterator[Floats], position: int, rate: int, waiting: list[_Span]
) -> Iterator[Excerpt]:
    """Yield the excerpts of spans from blocks that begin at a position, in samples."""
    waiting = waiting[::-1]
    active: list[_Span] = []
    failure: RecordingError | None = None
    while waiting or active:
        try:
            block = next(blocks, None)
        except RecordingError as error:
            failure, block = error, None
        if block is None:
            break
        end = position + len(block)
        while waiting and waiting[-1].start < end:
            active.append(waiting.pop())
        for span in active:
            first, last = max(0, span.start - position), max(0, span.end - position)
            span.parts.append(block[first:last].copy())
        for span in sorted((s for s in active if s.end <= end), key=lambda s: s.end):
            yield span.excerpt(rate)
        active = [span for span in active if span.end > end]
        position = end
    for span in active:
        yield span.excerpt(rate)
    if failure is not None and (waiting or active):
        raise failure
    if waiting:
        raise RecordingError(
            path,
            f"ends at {position / rate:.3f} s, before an event at {waiting[-1].start / rate:.3f} s."
            " Check that the events are of this recording.",
        )
