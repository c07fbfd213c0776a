"""Decode sound files with libsndfile in blocks, and detect damage in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import soundfile
from soundfile import LibsndfileError as LibsndfileError

from sed.audio.decoders.guard import QUIET
from sed.audio.decoders.layout.byte_ranges import ByteRanges
from sed.audio.decoders.layout.chunks import is_unknown_size
from sed.errors import DamagedRecordingError
from sed.types import Floats

# Samples per read. Small, because a damaged FLAC file loses the whole block with the damage.
BLOCK_SAMPLES = 16_384

# Samples per read where the length is unknown, see `SoundFileDecoder._read_block`.
SHORT_READ_SAMPLES = 256

# Formats with bit-exact seeks, beside FLAC. Of seeks in Ogg Vorbis files of Freesound 4 % land on
# another sample, mostly near the end; of those in MP3 files 50 %; an Opus decoder only converges to
# the samples of an unbroken run.
SEEKING_FORMATS = frozenset(["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
SEEKING_SUBTYPES = re.compile(r"PCM_\w+|FLOAT|DOUBLE|ULAW|ALAW")

KEPT = "What came before is kept; copy or export the file again for the rest."

# libsndfile reports at least this many samples where the header does not give the length.
UNKNOWN_LENGTH = 1 << 62


class StoppedError(DamagedRecordingError):
    """libsndfile cannot decode a recording any further; another decoder may."""


class SoundFileDecoder:
    """Decodes WAV, RF64, W64, FLAC, Ogg Vorbis, Opus, MP3, AIFF and more with libsndfile.

    Parameters
    ----------
    path
        Name of the recording in messages.
    file
        Its path as bytes, an open file descriptor, or an open file; closed with the decoder.

    Raises
    ------
    LibsndfileError
        If libsndfile cannot read the format.
    """

    def __init__(self, path: str, file: bytes | int | ByteRanges) -> None:
        self._path = path
        self._source = file
        self._position = 0  # of the first sample of the blocks
        self._descriptor: int | None = None
        self._file = self._opened()
        self.sample_rate = self._file.samplerate
        self.n_channels = self._file.channels
        n_samples = self._file.frames
        self.n_samples: int | None = n_samples if n_samples < UNKNOWN_LENGTH else None
        self.format = f"{self._file.format} {self._file.subtype}"

    @property
    def seeks_exactly(self) -> bool:
        """Whether `seek` is bit-exact: FLAC, and uncompressed formats such as WAV."""
        is_file = not isinstance(self._source, int) and self._file.seekable()
        if not is_file or self.n_samples is None:
            return False
        is_plain = SEEKING_SUBTYPES.fullmatch(self._file.subtype) is not None
        return self._file.format == "FLAC" or (self._file.format in SEEKING_FORMATS and is_plain)

    @property
    def n_bytes_read(self) -> int | None:
        """Bytes of the file up to the last that was read; None for a pipe."""
        try:
            if not isinstance(self._source, bytes | int):
                return self._source.seek(0, os.SEEK_CUR)
            assert self._descriptor is not None
            return os.lseek(self._descriptor, 0, os.SEEK_CUR)
        except OSError:
            return None

    @property
    def header_fault(self) -> str:
        """How the header contradicts the file, as far as opening it shows; empty if it does not."""
        return "" if self.n_samples is None else self._shortfall(self.n_samples)

    def seek(self, position: int) -> int:
        """Set the first sample of `blocks`; return its position, which is 0 if the seek fails."""
        try:
            self._position = int(self._file.seek(position))
        except LibsndfileError:
            self._close_file()
            self._file = self._opened()
            self._position = 0
        return self._position

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels).

        Raises
        ------
        DamagedRecordingError
            After the last good block, if the file is damaged or shorter than its header says.
        """
        # Libmpg123 prints what it thinks of MP3. Not around each read, which would cost more.
        with QUIET if self._file.format == "MP3" else nullcontext():
            yield from self._blocks()

    def _blocks(self) -> Iterator[Floats]:
        position = self._position
        is_ogg = self._file.format == "OGG"
        while True:
            try:
                # Blocks end where they do without a seek, so damage costs the same block.
                block = self._read_block(BLOCK_SAMPLES - position % BLOCK_SAMPLES)
            except LibsndfileError as error:
                raise self._stopped(position, "it cannot be decoded any further") from error
            # A missing page shifts all samples after it, so a block across one is not yielded.
            if is_ogg and re.search(r"reports a hole|Corrupted", self._file.extra_info):
                raise self._stopped(position, "a part of the file is missing or overwritten")
            if len(block) == 0:
                break
            position += len(block)
            yield block
        if reason := self._shortfall(position):
            raise DamagedRecordingError(
                self._path, position / self.sample_rate, f"{reason}. {KEPT}"
            )

    def close(self) -> None:
        """Close the file; again, do nothing."""
        self._close_file()
        if isinstance(self._source, ByteRanges):
            self._source.close()

    def _close_file(self) -> None:
        with QUIET:
            self._file.close()
        self._close_descriptor()

    def _close_descriptor(self) -> None:
        # One that was given is closed by libsndfile.
        if isinstance(self._source, bytes) and self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _opened(self) -> soundfile.SoundFile:
        """Open the file, from its first byte on."""
        source = self._source
        if isinstance(source, bytes):
            self._descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        elif isinstance(source, int):
            self._descriptor = source
        else:
            source.seek(0)
        opened = source if self._descriptor is None else self._descriptor
        try:
            with QUIET:
                return soundfile.SoundFile(opened, closefd=isinstance(source, int))
        except LibsndfileError:
            self._close_descriptor()
            raise

    def _read_block(self, n_samples: int) -> Floats:
        if self.n_samples is not None:
            block: Floats = self._file.read(n_samples, dtype="float32", always_2d=True)
            return block
        # The header of a FLAC stream from a pipe does not give its length, and libsndfile drops the
        # read in which the stream ends. Short reads lose little.
        parts = []
        for _ in range(-(-n_samples // SHORT_READ_SAMPLES)):
            try:
                part = self._file.read(SHORT_READ_SAMPLES, dtype="float32", always_2d=True)
            except LibsndfileError:
                break
            parts.append(part)
            if len(part) < SHORT_READ_SAMPLES:
                break
        return np.concatenate(parts) if parts else np.empty((0, self.n_channels), np.float32)

    def _shortfall(self, n_read: int) -> str:
        """Return how the file contradicts its header, given its samples; empty if it does not."""
        log = self._file.extra_info
        if self.n_samples is not None and n_read < self.n_samples:
            promised = self.n_samples / self.sample_rate
            return f"it is cut off there; its header promises {promised:.3f} s"
        if re.search(r"lacks an end-of-stream|Without an End-Of-Stream", log, re.IGNORECASE):
            return "it is cut off there, before its end mark"
        short = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", log)
        if short and 0 < int(short[2]) < int(short[1]) and not is_unknown_size(int(short[1])):
            return f"the header promises {short[1]} bytes of sound, there are {short[2]}"
        if "FLAC stream changed sample rates" in log:
            return "its sample rate changes within; times before are right, later ones may not be"
        if re.search(r"not equal to frame count", log):
            return "the header promises more sound than there is"
        return ""

    def _stopped(self, position: int, reason: str) -> StoppedError:
        return StoppedError(self._path, position / self.sample_rate, f"{reason}. {KEPT}")
