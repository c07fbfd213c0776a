"""One recording decoded, cut and written as a plain WAV file, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np

from sed.audio.blocks import read_blocks
from sed.errors import RecordingError
from sed.files import written_whole
from sed.timeline import samples_from_seconds
from sed.types import Floats
from train.data.audio import LARGEST_WAV_BYTES, PCM16_FULL_SCALE, clip_range, wav_header
from train.data.clips import Clip
from train.prepare.cutting import CuttingConfig, kept_range, pieces_of
from train.prepare.manifest import Made

_SAMPLES_AT_ONCE = 1 << 20

Piece = tuple[int, int, int]  # which clip, its first sample in the recording and behind its last


@dataclass(frozen=True)
class Recording:
    """A file to store, and what a table says of it."""

    name: str  # of the stored file, below the folder of sounds
    path: str
    clips: tuple[Clip, ...]

    @property
    def spans(self) -> list[list[float | None]]:
        """Begin and length of its clips in seconds."""
        return [[clip.begin_seconds, clip.seconds] for clip in self.clips]


def recordings_of(clips: Sequence[Clip]) -> list[Recording]:
    """Return the files that clips lie in, each once, in the order of the clips.

    A stored file is named as its source is, from the folder in which all of them lie. The ending
    stays, so that two sources that differ in nothing else do not meet.
    """
    by_path: dict[str, list[Clip]] = {}
    for clip in clips:
        by_path.setdefault(os.path.abspath(clip.path), []).append(clip)
    common = os.path.commonpath([os.path.dirname(path) for path in by_path])
    return [
        Recording(Path(os.path.relpath(path, common)).as_posix() + ".wav", path, tuple(members))
        for path, members in by_path.items()
    ]


def transcode(
    recording: Recording, path: Path, config: CuttingConfig, check: Callable[[], None]
) -> Made:
    """Decode a recording and write what is kept of it.

    Parameters
    ----------
    recording
        What to decode.
    path
        The WAV file to write; it is whole or not there at all.
    config
        What is kept, and how it is stored.
    check
        Called now and then; what it raises ends the work.

    Raises
    ------
    SedError
        If it cannot be read or written.
    """
    n_bytes, mtime_ns = stamp(recording.path)
    with written_whole(path) as part, TemporaryFile(dir=part.parent) as spool:
        samples = _decoded(recording, config, spool, check)
        pieces, n_silent = _pieces(recording, samples, config)
        begin = min(first for _, first, _ in pieces)
        end = max(last for _, _, last in pieces)
        n_clipped = _write_wav(part, samples[begin:end], config, recording.path, check)
        stored_bytes = part.stat().st_size
    return Made(
        source_bytes=n_bytes,
        source_mtime_ns=mtime_ns,
        spans=recording.spans,
        n_bytes=stored_bytes,
        n_samples=end - begin,
        begin=begin,
        pieces=[list(piece) for piece in pieces],
        n_silent=n_silent,
        n_clipped=n_clipped,
    )


def stamp(path: str) -> tuple[int, int]:
    """Return the size of a file and the time of its last change, in bytes and nanoseconds.

    Raises
    ------
    RecordingError
        If it is not there any more.
    """
    try:
        about = os.stat(path)
    except OSError as error:
        raise RecordingError(path, f"cannot read: {error.strerror}.") from error
    return about.st_size, about.st_mtime_ns


def _decoded(
    recording: Recording, config: CuttingConfig, spool: BinaryIO, check: Callable[[], None]
) -> Floats:
    """Decode as much of a recording as is needed; return it, mapped from the spool."""
    needed = _needed_samples(recording, config)
    n_samples = 0
    with closing(read_blocks(recording.path, config.sample_rate)) as blocks:
        for block in blocks:
            check()
            spool.write(np.ascontiguousarray(block).data)
            n_samples += len(block)
            if needed is not None and n_samples >= needed:
                break
    spool.flush()
    return np.memmap(spool, np.float32, "r", shape=(n_samples,))


def _needed_samples(recording: Recording, config: CuttingConfig) -> int | None:
    """Return how much of a recording its clips can reach; None is all."""
    most = 1
    for clip in recording.clips:
        begin, end = clip_range(clip, config.sample_rate)
        if config.first_seconds is not None and config.trim_db is None:
            last = begin + samples_from_seconds(config.first_seconds, config.sample_rate)
            end = last if end is None else min(end, last)
        if end is None:
            return None
        most = max(most, end)
    return most


def _pieces(
    recording: Recording, samples: Floats, config: CuttingConfig
) -> tuple[list[Piece], int]:
    """Return the pieces that are stored, and how many are nothing but zeros and left out."""
    pieces: list[Piece] = []
    n_silent = 0
    for i, clip in enumerate(recording.clips):
        begin, end = clip_range(clip, config.sample_rate)
        end = len(samples) if end is None else min(end, len(samples))
        if begin >= end:
            raise RecordingError(
                recording.path,
                f"holds {len(samples) / config.sample_rate:.3f} s, and the table has a clip that "
                f"begins at {clip.begin_seconds:.3f} s. Check the table.",
            )
        for first, last in pieces_of(kept_range(samples, (begin, end), config), config):
            if samples[first:last].any():
                pieces.append((i, first, last))
            else:
                n_silent += 1
    if not pieces:
        raise RecordingError(
            recording.path, "what is kept of it is digital silence. Check it, or keep more."
        )
    return pieces, n_silent


def _write_wav(
    part: Path, samples: Floats, config: CuttingConfig, source: str, check: Callable[[], None]
) -> int:
    """Write samples as floats or 16-bit integers; return how many were clipped."""
    dtype = np.dtype("<f4" if config.bits == 32 else "<i2")
    if len(samples) * dtype.itemsize > LARGEST_WAV_BYTES:
        hours = len(samples) / config.sample_rate / 3600
        raise RecordingError(
            source,
            f"is too long to be stored in one file ({hours:.1f} h). Keep less of it (--first), "
            "store it with --bits 16, or cut it into several files.",
        )
    n_clipped = 0
    with open(part, "wb") as file:
        file.write(wav_header(len(samples), config.sample_rate, dtype))
        for block in _blocks(samples):
            check()
            if config.bits == 16:
                n_clipped += int(np.count_nonzero(np.abs(block) > 1))
                block = np.rint(block * np.float32(PCM16_FULL_SCALE))
                block = block.clip(-PCM16_FULL_SCALE, PCM16_FULL_SCALE - 1)
            file.write(block.astype(dtype).data)
    return n_clipped


def _blocks(samples: Floats) -> Iterator[Floats]:
    for first in range(0, len(samples), _SAMPLES_AT_ONCE):
        yield samples[first : first + _SAMPLES_AT_ONCE]
