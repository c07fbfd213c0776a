"""Sound files through libsndfile, in blocks, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import soundfile
from soundfile import LibsndfileError as LibsndfileError

from sed.audio.pcm import is_open_end
from sed.errors import DamagedRecordingError
from sed.types import Floats

BLOCK_SAMPLES = 16_384  # read at a time: small, since a damaged FLAC loses the block it breaks in

# Where every sample is found again, to the last bit, as FLAC does. Of seeks in Ogg Vorbis, 4 in 100
# land elsewhere (in files of Freesound, mostly near their end), of those in MP3 a half; an Opus
# decoder only converges to what it would have said.
_SEEKING_FORMATS = frozenset(["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
_SEEKING_SUBTYPES = re.compile(r"PCM_\w+|FLOAT|DOUBLE|ULAW|ALAW")
_NOT_TOLD = 1 << 62  # frames that libsndfile reports where a header does not say
_PIECE_SAMPLES = 256


class SoundFileDecoder:
    """What libsndfile reads: WAV, RF64, W64, FLAC, Ogg Vorbis and Opus, MP3, AIFF and more."""

    def __init__(self, path: str, file: bytes | int, *, close: bool = True) -> None:
        self._path = path
        self._source = file
        self._position = 0  # of the first sample of the blocks
        self._file = soundfile.SoundFile(file, closefd=close)
        self.sample_rate = self._file.samplerate
        self.n_channels = self._file.channels
        n_samples = self._file.frames
        self.n_samples: int | None = n_samples if n_samples < _NOT_TOLD else None
        self.format = f"{self._file.format} {self._file.subtype}"

    @property
    def seeks_exactly(self) -> bool:
        """Whether `seek` finds every sample again: FLAC, and WAV and its like of plain samples."""
        is_file = isinstance(self._source, bytes) and self._file.seekable()
        if not is_file or self.n_samples is None:
            return False
        is_plain = _SEEKING_SUBTYPES.fullmatch(self._file.subtype) is not None
        return self._file.format == "FLAC" or (self._file.format in _SEEKING_FORMATS and is_plain)

    def seek(self, position: int) -> int:
        """Have the blocks begin with a sample; return its position: 0 where a seek fails."""
        try:
            self._position = int(self._file.seek(position))
        except LibsndfileError:
            self._file.close()
            self._file = soundfile.SoundFile(self._source)
            self._position = 0
        return self._position

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels)."""
        position = self._position
        is_ogg = self._file.format == "OGG"
        while True:
            try:
                # Blocks end where they would without a seek: damage costs the one it lies in.
                block = self._read_block(BLOCK_SAMPLES - position % BLOCK_SAMPLES)
            except LibsndfileError as error:
                raise self._damaged(position, "it cannot be decoded any further") from error
            # A hole shifts all that follows it, so what was read across one is not to be trusted.
            if is_ogg and re.search(r"reports a hole|Corrupted", self._file.extra_info):
                raise self._damaged(position, "a part of the file is missing or overwritten")
            if len(block) == 0:
                break
            position += len(block)
            yield block
        if reason := self._shortfall(position):
            raise self._damaged(position, reason)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_block(self, n_samples: int) -> Floats:
        if self.n_samples is not None:
            block: Floats = self._file.read(n_samples, dtype="float32", always_2d=True)
            return block
        # The header does not say where a FLAC from a pipe ends, and libsndfile gives up the piece
        # in which it does: so the pieces are small.
        pieces = []
        for _ in range(-(-n_samples // _PIECE_SAMPLES)):
            try:
                piece = self._file.read(_PIECE_SAMPLES, dtype="float32", always_2d=True)
            except LibsndfileError:
                break
            pieces.append(piece)
            if len(piece) < _PIECE_SAMPLES:
                break
        return np.concatenate(pieces) if pieces else np.empty((0, self.n_channels), np.float32)

    def _shortfall(self, n_read: int) -> str:
        """Return what the file says of itself that is not so, or nothing."""
        log = self._file.extra_info
        if self.n_samples is not None and n_read < self.n_samples:
            promised = self.n_samples / self.sample_rate
            return f"it is cut off there; its header promises {promised:.3f} s"
        if re.search(r"lacks an end-of-stream|Without an End-Of-Stream", log, re.IGNORECASE):
            return "it is cut off there, before its end mark"
        short = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", log)
        if short and 0 < int(short[2]) < int(short[1]) and not is_open_end(int(short[1])):
            return f"the header promises {short[1]} bytes of sound, there are {short[2]}"
        if re.search(r"not equal to frame count", log):
            return "the header promises more sound than there is"
        if self._file.format in ("WAV", "WAVEX") and re.search(
            r"Chunk size \d+ > file length", log
        ):
            return "more follows than the header promises (a recorder that was switched off?)"
        return ""

    def _damaged(self, position: int, reason: str) -> DamagedRecordingError:
        return DamagedRecordingError(
            self._path,
            position / self.sample_rate,
            f"{reason}. What came before is kept; copy or export the file again for the rest.",
        )
