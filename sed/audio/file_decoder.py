"""Decode a file from its first byte to its last, with every decoder that it takes.

::

    first decoder (libsndfile, or FFmpeg for what that cannot read)  ─▶ "end" at some byte
        nothing is left        ─▶ done
        another recording      ─▶ its decoder: joined files, chains of Ogg streams, odd WAV files
        sound, or an error     ─▶ FFmpeg, from that sample on
        nothing can decode it  ─▶ damage with its time
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator, Iterator

import numpy as np

from sed.audio.decoders import joins
from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.audio.decoders.guard import recording_errors
from sed.audio.decoders.libsndfile import KEPT, LibsndfileError, SoundFileDecoder, StoppedError
from sed.audio.decoders.local_file import LocalFile
from sed.audio.decoders.wav import WavPart
from sed.audio.first_decoder import open_container, open_decoder, open_first, open_part
from sed.audio.resample import Resampler
from sed.errors import DamagedRecordingError, MissingExtraError, RecordingError
from sed.text import pluralize
from sed.types import Floats

MAX_FAULTS = 4  # that a message names

# Sound that a second decoder finds beyond the first: less is padding of the encoder.
MIN_MORE_SECONDS = 0.05


class FileDecoder:
    """Decodes all the sound of a file, whatever its header promises and its name says.

    What follows the first recording in a file is converted to the sample rate and the channels of
    the first.

    Parameters
    ----------
    file
        The file; closed with this.
    track
        Track of sound in a container, counted from 1; the container's default if not given.

    Raises
    ------
    RecordingError
        If no decoder can read it.
    MissingExtraError
        If it is a container and the `av` extra is not installed.
    """

    def __init__(self, file: LocalFile, *, track: int | None = None) -> None:
        self.path = file.path
        self._file = file
        self._parts: deque[WavPart] = deque()  # of a WAV file that are not decoded yet
        self._start = 0  # of the recording that is decoded, in bytes
        self._position = 0  # of the first sample of the blocks
        self._n_samples = 0  # that were yielded, and those before the position
        self._faults: list[DamagedRecordingError] = []
        self.is_intact = True  # whether all samples so far are those that the header promises
        with recording_errors(self.path):
            self._decoder, self._parts = open_first(file, track)
        self._cut = self._parts[0] if self._parts else None
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.format = self._decoder.format
        self.is_container = isinstance(self._decoder, ContainerDecoder)
        self.notice: str = getattr(self._decoder, "notice", "")
        self.tracks = self._decoder.tracks if isinstance(self._decoder, ContainerDecoder) else ()
        if self._parts:
            self._parts.popleft()
        self.n_samples = None if self._parts else self._decoder.n_samples

    @property
    def has_exact_length(self) -> bool:
        """Whether `n_samples` is the number of samples that will be decoded, but for damage."""
        is_counted = isinstance(self._decoder, SoundFileDecoder) and self.n_samples is not None
        return is_counted and not self.format.startswith("MP3")

    @property
    def seeks_exactly(self) -> bool:
        """Whether `seek` is bit-exact, and the file can be opened again for other readers."""
        return (
            isinstance(self._decoder, SoundFileDecoder)
            and self._decoder.seeks_exactly
            and self._file.place is not None
            and not self._parts
        )

    def seek(self, position: int) -> int:
        """Set the first sample of `blocks`; return its position, which is 0 if the seek fails."""
        assert isinstance(self._decoder, SoundFileDecoder)
        with recording_errors(self.path):
            self._position = self._decoder.seek(position)
        return self._position

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels).

        Raises
        ------
        DamagedRecordingError
            After the last block, if sound is missing or cannot be decoded.
        RecordingError
            If the file cannot be read any further.
        """
        with recording_errors(self.path):
            yield from self._blocks()

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
        self._file.close()

    def _blocks(self) -> Iterator[Floats]:
        self._n_samples = self._position
        first_sample = 0  # of the recording that is decoded
        while True:
            failure = yield from self._played(self._decoder)
            if self._has_more(failure):
                self.is_intact = False
                yield from self._rest(first_sample, failure)
                break
            self._note(failure or self._shortfall(first_sample), first_sample)
            first_sample = self._n_samples
            if not self._open_next():
                break
            self.is_intact = False
        if self._faults:
            raise self._damage()

    def _played(
        self, decoder: SoundFileDecoder | ContainerDecoder, n_skipped: int = 0
    ) -> Generator[Floats, None, DamagedRecordingError | None]:
        """Yield the samples of a decoder, all but the first ones; return what is damaged."""
        is_alike = (decoder.sample_rate, decoder.n_channels) == (self.sample_rate, self.n_channels)
        blocks = decoder.blocks() if is_alike else self._converted(decoder)
        try:
            for block in blocks:
                kept = block[n_skipped:] if n_skipped else block
                n_skipped = max(0, n_skipped - len(block))
                self._n_samples += len(kept)
                if len(kept):
                    yield kept
        except DamagedRecordingError as error:
            return error
        return None

    def _converted(self, decoder: SoundFileDecoder | ContainerDecoder) -> Iterator[Floats]:
        """Yield the samples of a decoder, with the sample rate and the channels of the first."""
        resampler = Resampler(decoder.sample_rate, self.sample_rate, self.n_channels)
        failure: DamagedRecordingError | None = None
        try:
            for block in decoder.blocks():
                if decoder.n_channels != self.n_channels:
                    block = np.repeat(block.mean(axis=1, keepdims=True), self.n_channels, axis=1)
                yield resampler.push(block)
        except DamagedRecordingError as error:
            failure = error
        yield resampler.flush()
        if failure is not None:
            raise failure

    def _has_more(self, failure: DamagedRecordingError | None) -> bool:
        """Whether the decoder stopped before the end of the recording that it decodes."""
        if isinstance(self._decoder, ContainerDecoder):
            return False
        if isinstance(failure, StoppedError):
            return True
        return failure is None and self._n_bytes_left() > 0 and self._next_start() is None

    def _rest(self, first_sample: int, failure: DamagedRecordingError | None) -> Iterator[Floats]:
        """Yield what FFmpeg decodes beyond the samples of libsndfile; note what is damaged."""
        n_before = self._n_samples
        seconds = (n_before - first_sample) / self.sample_rate
        if failure is None:
            text = f"{pluralize(self._n_bytes_left(), 'byte')} follow that it cannot decode"
            failure = DamagedRecordingError(self.path, seconds, f"{text}. {KEPT}")
        try:
            decoder = open_container(self._file, start=self._start)
        except MissingExtraError:
            reason = f"{failure.damage} With pip install 'sed-engine[av]' FFmpeg reads on."
            self._note(DamagedRecordingError(self.path, failure.seconds, reason), first_sample)
            return
        except RecordingError:
            self._note(failure, first_sample)
            return
        try:
            second = yield from self._played(decoder, n_before - first_sample)
        finally:
            decoder.close()
        has_gained = self._n_samples - n_before > MIN_MORE_SECONDS * self.sample_rate
        is_error = isinstance(failure, StoppedError) or not has_gained
        self._note(second or (failure if is_error else None), first_sample)

    def _n_bytes_left(self) -> int:
        """Return how many bytes of sound the decoder has not read; few count as none."""
        kind = self._kind()
        if self._cut is not None or kind in ("WAV", "WAVEX", "RF64", "OGG"):
            return 0  # what follows is known by its chunks or pages
        position = self._n_bytes_read()
        end = joins.mpeg_end(self._file) if kind in ("MP3", "FLAC") else self._file.n_bytes
        is_metadata = joins.is_metadata(self._file, position, kind)
        return 0 if end - position < joins.MIN_REST_BYTES or is_metadata else end - position

    def _n_bytes_read(self) -> int:
        assert isinstance(self._decoder, SoundFileDecoder)
        n_bytes = self._decoder.n_bytes_read
        return self._file.n_bytes if n_bytes is None else self._start + n_bytes

    def _kind(self) -> str:
        return self._decoder.format.split()[0]

    def _next_start(self) -> int | None:
        """Return the byte at which another recording starts; None if the file holds no more."""
        kind = self._kind()
        if isinstance(self._decoder, ContainerDecoder) or self._cut is not None:
            return None
        if kind == "OGG":
            return joins.next_ogg(self._file, self._start)
        if kind == "FLAC":
            early = self._n_bytes_read() - joins.READ_AHEAD_BYTES
            return joins.next_flac(self._file, max(self._start + 8, early))
        if kind == "MP3" and self._n_bytes_left():
            return joins.next_mpeg(self._file, self._n_bytes_read())
        return None

    def _open_next(self) -> bool:
        """Open the recording that follows, if there is one."""
        if self._parts:
            part = self._parts.popleft()
            decoder: SoundFileDecoder | ContainerDecoder | None = None
            try:
                decoder = open_part(self._file, part)
            except LibsndfileError:
                n_bytes, self._cut = part.n_bytes, None
            else:
                self._cut = part
        elif (start := self._next_start()) is not None:
            n_bytes = self._file.n_bytes - start
            try:
                decoder = open_decoder(self._file, start)
                self._start = start
            except (LibsndfileError, RecordingError, MissingExtraError):
                decoder = None
        else:
            return False
        if decoder is None:
            text = f"{pluralize(n_bytes, 'byte')} follow that cannot be decoded. {KEPT}"
            seconds = self._n_samples / self.sample_rate
            self._faults.append(DamagedRecordingError(self.path, seconds, text))
            return False
        self._decoder.close()
        self._decoder = decoder
        return True

    def _shortfall(self, first_sample: int) -> DamagedRecordingError | None:
        """Return the damage of a part of a WAV file that is cut off."""
        if self._cut is None or self._cut.n_promised <= self._cut.n_bytes:
            return None
        promised, there = self._cut.n_promised, self._cut.n_bytes
        text = f"the header promises {promised} bytes of sound, there are {there}. {KEPT}"
        seconds = (self._n_samples - first_sample) / self.sample_rate
        return DamagedRecordingError(self.path, seconds, text)

    def _note(self, failure: DamagedRecordingError | None, first_sample: int) -> None:
        """Keep damage of a recording that starts at a sample of the file."""
        if failure is None:
            return
        start = first_sample / self.sample_rate
        text = re.sub(
            r"\bat (\d+\.\d{3}) s\b", lambda m: f"at {float(m[1]) + start:.3f} s", failure.damage
        )
        self._faults.append(DamagedRecordingError(self.path, failure.seconds + start, text))

    def _damage(self) -> DamagedRecordingError:
        """Return one error about all that is damaged."""
        first, *others = self._faults
        texts = [f"at {other.seconds:.3f} s: {other.damage}" for other in others[: MAX_FAULTS - 1]]
        if n_more := len(others) - len(texts):
            texts.append(f"and at {pluralize(n_more, 'more place')}.")
        return DamagedRecordingError(self.path, first.seconds, " ".join([first.damage, *texts]))
