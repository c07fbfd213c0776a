"""Decode a file from its first byte to its last, with every decoder that it takes.

::

    first decoder (libsndfile, or FFmpeg for what that cannot read)  ─▶ "end" at some byte
        nothing is left        ─▶ done
        another recording      ─▶ its decoder: joined files, chains of Ogg streams, odd WAV files
        sound, or an error     ─▶ FFmpeg, from that sample on
        nothing can decode it  ─▶ damage with its time
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, suppress

import numpy as np

from sed.audio import account
from sed.audio.account import UNREADABLE, HeaderAccount
from sed.audio.decoders.faults import Faults
from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.audio.decoders.guard import recording_errors
from sed.audio.decoders.layout import mpeg
from sed.audio.decoders.layout.local_file import MIN_REST_BYTES, LocalFile
from sed.audio.decoders.layout.mpeg import Run
from sed.audio.decoders.layout.wav import WavPart
from sed.audio.decoders.libsndfile import (
    BLOCK_SAMPLES,
    KEPT,
    LibsndfileError,
    SoundFileDecoder,
    StoppedError,
)
from sed.audio.decoders.piped import PipedDecoder
from sed.audio.first_decoder import open_container, open_decoder, open_first, open_part
from sed.audio.resample import Resampler
from sed.errors import DamagedRecordingError, MissingExtraError, RecordingError
from sed.text import pluralize
from sed.types import Floats

BEFORE_NEXT = "before the next recording that"


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
        self._n_recordings = 1  # decoded so far
        self._faults = Faults(file.path)
        self.is_intact = True  # whether all samples so far are those that the header promises
        with recording_errors(self.path):
            self._decoder, self._parts = open_first(file, track)
        self._part = self._parts[0] if self._parts else None
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.format = self._decoder.format
        self.is_container = isinstance(self._decoder, ContainerDecoder)
        self.notice: str = getattr(self._decoder, "notice", "") or self._beyond
        self.tracks = self._decoder.tracks if isinstance(self._decoder, ContainerDecoder) else ()
        self.track = getattr(self._decoder, "track", None)
        if self._parts:
            self._parts.popleft()
        self.n_samples = None if self._parts else self._decoder.n_samples

    @property
    def _beyond(self) -> str:
        """What is read of a WAV file beyond the samples that its header promises, in words."""
        if self._part is None or not self._part.n_beyond:
            return ""
        n_bytes = pluralize(self._part.n_beyond, "byte")
        return f"{n_bytes} beyond its promised length are read as sound too. Listen to the end."

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

    def header_account(self) -> HeaderAccount:
        """Return what headers say about length and damage; to be called before `blocks`."""
        with recording_errors(self.path):
            parts = () if self._part is None else (self._part, *self._parts)
            return account.by_headers(self._file, self._decoder, parts)

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
        is_mpeg = account.kind_of(self.format) == "MP3"
        runs = mpeg.mpeg_runs(self._file, 0) if is_mpeg else []
        if len(runs) > 1 or any(run.n_lost or run.n_before for run in runs):
            self.is_intact = False
            yield from self._mpeg(runs)
        else:
            yield from self._recordings()
        fault = ""
        if isinstance(self._decoder, ContainerDecoder):
            fault = account.packet_fault(self._file, self._decoder)
        if not self._faults:
            counts = self._n_samples, self.sample_rate, self._n_recordings
            fault = fault or account.ogg_fault(self._file, self.format, *counts)
            if len(runs) == 1:
                fault = fault or account.mpeg_fault(runs[0], *counts)
        if fault:
            self._faults.add(self._n_samples / self.sample_rate, fault)
        if self._faults:
            raise self._faults.error()

    def _recordings(self) -> Iterator[Floats]:
        """Yield the samples of one recording after the other."""
        first_sample = 0  # of the recording that is decoded
        while True:
            failure = yield from self._played(self._decoder)
            start_seconds = first_sample / self.sample_rate
            following = None if isinstance(failure, StoppedError) else self._next_start()
            if self._has_more(failure, following):
                self.is_intact = False
                yield from self._rest(first_sample, failure, following)
                if following is None:
                    break
            else:
                self._faults.add_error(failure, start_seconds)
                self._note_gap(following)
            first_sample = self._n_samples
            if self._part is not None and self._part.fault and failure is None:
                self._faults.add(first_sample / self.sample_rate, f"{self._part.fault}. {KEPT}")
            if not self._open_next(following):
                break
            self.is_intact = False
            self._n_recordings += 1

    def _mpeg(self, runs: list[Run]) -> Iterator[Floats]:
        """Yield the samples of runs of MPEG frames, with silence where frames are missing."""
        for run in runs:
            if not run.n_samples:
                text = f"{pluralize(run.end - run.start, 'byte')} follow that {UNREADABLE}"
                self._faults.add(self._n_samples / self.sample_rate, text)
                continue
            self._note_before(run)
            yield from self._lost(run.n_lost)
            n_before, n_expected, n_early = self._n_samples, run.n_samples, 0
            start = run.start
            if n_header := mpeg.header_frame_bytes(self._file, start):
                # libsndfile fails where a pipe has a length, so the delay is left out here.
                start, n_early = start + n_header, mpeg.DELAY_SAMPLES
            content = self._file.ranges([(start, run.end - start)])
            with suppress(LibsndfileError), closing(PipedDecoder(self.path, content, 0)) as decoder:
                n_expected = round(n_expected * self.sample_rate / decoder.sample_rate)
                failure = yield from self._played(decoder, n_early)
                self._faults.add_error(failure, n_before / self.sample_rate)
            n_missing = n_expected - (self._n_samples - n_before)
            if n_missing > account.MAX_PADDING_SECONDS * self.sample_rate:
                yield from self._lost(n_missing)

    def _note_before(self, run: Run) -> None:
        """Note bytes before the first frame, unless they are padding or less than a frame."""
        if run.n_before < MIN_REST_BYTES:
            return
        first = run.start - run.n_before
        is_padding = all(
            not any(self._file.read(at, min(1 << 20, run.start - at)))
            for at in range(first, run.start, 1 << 20)
        )
        if not is_padding:
            text = f"{pluralize(run.n_before, 'byte')} before the sound that {UNREADABLE}"
            self._faults.add(0.0, text)

    def _lost(self, n_samples: int) -> Iterator[Floats]:
        """Yield silence in the place of samples that are lost; note the damage."""
        if n_samples <= 0:
            return
        seconds = n_samples / self.sample_rate
        text = f"{seconds:.3f} s cannot be decoded. Silence stands there, so all times are right."
        self._faults.add(self._n_samples / self.sample_rate, text)
        for start in range(0, n_samples, BLOCK_SAMPLES):
            n = min(BLOCK_SAMPLES, n_samples - start)
            self._n_samples += n
            yield np.zeros((n, self.n_channels), np.float32)

    def _played(
        self, decoder: SoundFileDecoder | ContainerDecoder, n_skipped: int = 0
    ) -> Generator[Floats, None, DamagedRecordingError | None]:
        """Yield the samples of a decoder, all but the first ones; return what is damaged."""
        is_alike = (decoder.sample_rate, decoder.n_channels) == (self.sample_rate, self.n_channels)
        blocks = decoder.blocks() if is_alike else self._converted(decoder)
        n_samples = 0
        try:
            for block in blocks:
                if n_skipped:
                    early, n_skipped = n_skipped, max(0, n_skipped - len(block))
                    block = block[early:]
                n_samples += len(block)
                yield block
        except DamagedRecordingError as error:
            return error
        finally:
            self._n_samples += n_samples
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

    def _has_more(self, failure: DamagedRecordingError | None, following: int | None) -> bool:
        """Whether the decoder stopped before the end of the recording that it decodes."""
        if isinstance(self._decoder, ContainerDecoder):
            return False
        if isinstance(failure, StoppedError):
            return True
        if failure is not None or self._part is not None:
            return False
        return account.has_more(self._file, self._decoder, self._start, following)

    def _rest(
        self, first_sample: int, failure: DamagedRecordingError | None, following: int | None
    ) -> Iterator[Floats]:
        """Yield what FFmpeg decodes beyond the samples of libsndfile; note what is damaged.

        It reads to the recording that follows, or to the end.
        """
        assert isinstance(self._decoder, SoundFileDecoder)
        n_before = self._n_samples
        start, seconds = (n / self.sample_rate for n in (first_sample, n_before - first_sample))
        if failure is None:
            n_left = account.n_bytes_left(self._file, self._decoder, self._start, following)
            where = "follow that" if following is None else BEFORE_NEXT
            text = f"{pluralize(n_left, 'byte')} {where} {UNREADABLE}"
            failure = DamagedRecordingError(self.path, seconds, text)
        try:
            decoder = open_container(self._file, start=self._start, end=following)
        except MissingExtraError:
            reason = f"{failure.damage} With pip install 'sed-engine[av]' FFmpeg reads on."
            self._faults.add(failure.seconds + start, reason)
            return
        except RecordingError:
            self._faults.add_error(failure, start)
            return
        with closing(decoder):
            second = yield from self._played(decoder, n_before - first_sample)
        has_gained = self._n_samples - n_before > account.MIN_MORE_SECONDS * self.sample_rate
        is_error = isinstance(failure, StoppedError) or not has_gained
        self._faults.add_error(second or (failure if is_error else None), start)

    def _next_start(self) -> int | None:
        """Return the byte at which another recording starts; None if the file holds no more."""
        if isinstance(self._decoder, ContainerDecoder) or self._part is not None:
            return None
        return account.next_start(self._file, self._decoder, self._start)

    def _note_gap(self, following: int | None) -> None:
        """Note bytes between a recording and the next, if there is one, that were not decoded."""
        if following is None:
            return
        assert isinstance(self._decoder, SoundFileDecoder)
        if n_bytes := account.n_bytes_between(self._file, self._decoder, self._start, following):
            text = f"{pluralize(n_bytes, 'byte')} {BEFORE_NEXT} {UNREADABLE}"
            self._faults.add(self._n_samples / self.sample_rate, text)

    def _open_next(self, following: int | None) -> bool:
        """Open the recording that follows, if there is one."""
        n_bytes, part = 0, None
        try:
            if self._parts:
                part = self._parts.popleft()
                n_bytes = part.n_bytes
                decoder: SoundFileDecoder | ContainerDecoder = open_part(self._file, part)
            elif following is not None:
                n_bytes = self._file.n_bytes - following
                decoder = open_decoder(self._file, following)
                self._start = following
            else:
                return False
        except (LibsndfileError, RecordingError):
            text = f"{pluralize(n_bytes, 'byte')} follow that {UNREADABLE}"
            self._faults.add(self._n_samples / self.sample_rate, text)
            return False
        self._decoder.close()
        self._decoder, self._part = decoder, part
        return True
