"""Decode, cut and store one recording as a plain WAV file, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np

from sed.audio.blocks import SampleValidator, read_blocks
from sed.audio.decode import open_recording
from sed.audio.quality.advice import TRAINING
from sed.audio.quality.meter import QualityMeter
from sed.errors import RecordingError
from sed.files import result_path, written_whole
from sed.timeline import samples_from_seconds
from sed.types import Floats
from train.data.audio import LARGEST_WAV_BYTES, PCM16_FULL_SCALE, clip_range, wav_header
from train.data.clips import Clip
from train.prepare.cutting import CuttingConfig, kept_range, split_range
from train.prepare.manifest import StoredRecording

_SAMPLES_AT_ONCE = 1 << 20

Segment = tuple[int, int, int]  # clip, first sample and the one after the last, in the recording


@dataclass(frozen=True)
class SourceFile:
    """A recording to store, and the clips that a table has of it."""

    name: str  # path of the stored file in audio/
    path: str
    clips: tuple[Clip, ...]
    origin: str  # the url that it was downloaded from; else its path

    @property
    def spans(self) -> list[list[float | None]]:
        """Start and duration of its clips, in seconds."""
        return [[clip.start_seconds, clip.duration_seconds] for clip in self.clips]


def source_files(clips: Sequence[Clip], origins: Mapping[str, str]) -> list[SourceFile]:
    """Return the recordings of clips, each once, in the order of the clips.

    A stored file has the name of its source relative to the common folder of all. It keeps the
    suffix too, so that sources that differ only in it get different names.

    Parameters
    ----------
    clips
        The clips.
    origins
        The url of each recording that was downloaded.
    """
    by_path: dict[str, list[Clip]] = {}
    for clip in clips:
        by_path.setdefault(os.path.abspath(clip.path), []).append(clip)
    if not by_path:
        return []
    common = os.path.commonpath([os.path.dirname(path) for path in by_path])
    return [
        SourceFile(
            result_path(Path(), Path(os.path.relpath(path, common)).as_posix(), ".wav").as_posix(),
            path,
            tuple(members),
            origins.get(path, path),
        )
        for path, members in by_path.items()
    ]


def transcode(
    recording: SourceFile, path: Path, config: CuttingConfig, check: Callable[[], None]
) -> StoredRecording:
    """Decode a recording and store the parts of it to keep.

    Parameters
    ----------
    recording
        The recording.
    path
        The WAV file to write, whole or not at all.
    config
        What to keep, and how to store it.
    check
        Called for each block; may raise to stop.

    Raises
    ------
    SedError
        If the recording cannot be read, or the file not be written.
    """
    n_bytes, mtime_ns = size_and_mtime(recording.path)
    with written_whole(path) as part, TemporaryFile(dir=part.parent) as spool:
        samples, notices = _decoded(recording, config, spool, check)
        segments, n_silent = _segments(recording, samples, config)
        start = min(first for _, first, _ in segments)
        end = max(last for _, _, last in segments)
        n_clipped = _write_wav(part, samples[start:end], config, recording.path, check)
        stored_bytes = part.stat().st_size
    return StoredRecording(
        source_bytes=n_bytes,
        source_mtime_ns=mtime_ns,
        spans=recording.spans,
        n_bytes=stored_bytes,
        n_samples=end - start,
        start=start,
        segments=[list(segment) for segment in segments],
        n_silent=n_silent,
        n_clipped=n_clipped,
        notices=notices,
    )


def size_and_mtime(path: str) -> tuple[int, int]:
    """Return the size of a file in bytes, and the time of its last change in nanoseconds.

    Raises
    ------
    RecordingError
        If it cannot be read.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise RecordingError(path, f"cannot read: {error.strerror}.") from error
    return status.st_size, status.st_mtime_ns


def _decoded(
    recording: SourceFile, config: CuttingConfig, spool: BinaryIO, check: Callable[[], None]
) -> tuple[Floats, list[str]]:
    """Decode as much of a recording as needed.

    Returns
    -------
    tuple
        The samples, memory-mapped from the spool file, and what is odd about them.
    """
    needed = _needed_samples(recording, config)
    n_samples, rate = 0, config.sample_rate
    decoder = open_recording(recording.path)
    meter = QualityMeter(decoder.sample_rate, rate / 2, advice=TRAINING)
    validator = SampleValidator(quality=meter)
    with closing(read_blocks(recording.path, rate, decoder=decoder, validator=validator)) as blocks:
        for block in blocks:
            check()
            spool.write(np.ascontiguousarray(block).data)
            n_samples += len(block)
            if needed is not None and n_samples >= needed:
                break
    spool.flush()
    return np.memmap(spool, np.float32, "r", shape=(n_samples,)), list(meter.notices())


def _needed_samples(recording: SourceFile, config: CuttingConfig) -> int | None:
    """Return the number of samples that its clips need of a recording; None for all."""
    needed = 1
    for clip in recording.clips:
        begin, end = clip_range(clip, config.sample_rate)
        if config.max_seconds is not None and config.trim_db is None:
            last = begin + samples_from_seconds(config.max_seconds, config.sample_rate)
            end = last if end is None else min(end, last)
        if end is None:
            return None
        needed = max(needed, end)
    return needed


def _segments(
    recording: SourceFile, samples: Floats, config: CuttingConfig
) -> tuple[list[Segment], int]:
    """Return the segments to store, and the number of segments of zeros, which are left out."""
    segments: list[Segment] = []
    n_silent = 0
    for i, clip in enumerate(recording.clips):
        begin, end = clip_range(clip, config.sample_rate)
        end = len(samples) if end is None else min(end, len(samples))
        if begin >= end:
            raise RecordingError(
                recording.path,
                f"holds {len(samples) / config.sample_rate:.3f} s, and the table has a clip that "
                f"starts at {clip.start_seconds:.3f} s. Check the table.",
            )
        for first, last in split_range(kept_range(samples, (begin, end), config), config):
            if samples[first:last].any():
                segments.append((i, first, last))
            else:
                n_silent += 1
    if not segments:
        raise RecordingError(
            recording.path, "the part to keep is digital silence. Check it, or keep more."
        )
    return segments, n_silent


def _write_wav(
    part: Path, samples: Floats, config: CuttingConfig, source: str, check: Callable[[], None]
) -> int:
    """Write samples as floats or 16-bit integers; return how many are clipped."""
    dtype = np.dtype("<f4" if config.bits == 32 else "<i2")
    if len(samples) * dtype.itemsize > LARGEST_WAV_BYTES:
        hours = len(samples) / config.sample_rate / 3600
        raise RecordingError(
            source,
            f"is too long to be stored in one file ({hours:.1f} h). Keep less of it "
            "(--max-seconds), store it with --bits 16, or cut it into several files.",
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
