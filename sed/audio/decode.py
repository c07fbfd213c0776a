"""Open a recording of any format for decoding in blocks of float32 samples.

Memory does not grow with the length of a recording. An error in a recording is raised only after
all the good samples before it were yielded.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from typing import Protocol, TypeVar

from sed.audio import account
from sed.audio.decoders.container_header import no_such_track
from sed.audio.decoders.faults import Faults
from sed.audio.decoders.guard import recording_errors
from sed.audio.decoders.layout.local_file import LocalFile, Pipe
from sed.audio.decoders.layout.local_file import is_pipe as is_pipe
from sed.audio.file_decoder import FileDecoder
from sed.audio.first_decoder import CONTAINER_SUFFIXES as CONTAINER_SUFFIXES
from sed.audio.first_decoder import NOT_PIPED, open_piped
from sed.audio.first_decoder import SOUND_SUFFIXES as SOUND_SUFFIXES
from sed.audio.remote import is_remote, local_copy
from sed.errors import DamagedRecordingError, RecordingError, UsageError
from sed.types import Floats

# Sample rates in Hz that a recording may have.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 1_000_000


class Decoder(Protocol):
    """An opened recording that yields its samples in blocks."""

    sample_rate: int  # samples per second
    n_channels: int
    n_samples: int | None  # per channel; None if the header does not say
    format: str  # container and encoding, for display

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels).

        Raises
        ------
        RecordingError
            After the last good block, if the recording is damaged.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class PipeDecoder:
    """Decodes a stream that cannot seek and is not WAV with FFmpeg, to its last byte.

    Parameters
    ----------
    pipe
        The stream; closed with this.
    track
        Track of sound in a container, counted from 1; the container's default if not given.

    Raises
    ------
    RecordingError
        If FFmpeg cannot read it, or not without a seek.
    MissingExtraError
        If the `av` extra is not installed.
    """

    def __init__(self, pipe: Pipe, track: int | None = None) -> None:
        self._pipe = pipe
        self._decoder = open_piped(pipe, track)
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.n_samples = self._decoder.n_samples
        self.format = f"{self._decoder.format} stream"
        self.notice = self._decoder.notice
        self.tracks = self._decoder.tracks

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels) as they arrive.

        Raises
        ------
        DamagedRecordingError
            After the last block, if sound is missing or cannot be decoded.
        RecordingError
            If the stream cannot be read any further.
        """
        faults, n_samples = Faults(self._pipe.name), 0
        with recording_errors(self._pipe.name):
            try:
                for block in self._decoder.blocks():
                    n_samples += len(block)
                    yield block
            except DamagedRecordingError as error:
                if not n_samples:  # MP4 with its index at the end
                    raise RecordingError(self._pipe.name, NOT_PIPED) from error
                faults.add_error(error, 0.0)
            if fault := account.pipe_fault(self._pipe, self._decoder, n_samples):
                faults.add(n_samples / self.sample_rate, fault)
        if faults:
            raise faults.error()

    def close(self) -> None:
        """Close the stream."""
        self._decoder.close()
        self._pipe.close()


AnyDecoder = TypeVar("AnyDecoder", bound=Decoder)


def open_recording(path: str | os.PathLike[str], *, track: int | None = None) -> Decoder:
    """Open a recording for reading; ``-`` reads standard input.

    A remote recording (``s3://…``) is copied to the local disk until it is closed. Standard input
    and pipes are read as they come: WAV, and with FFmpeg what needs no seek.

    Parameters
    ----------
    path
        The recording.
    track
        Track of sound in a container, counted from 1; the container's default if not given.

    Raises
    ------
    RecordingError
        If it is missing, unreadable, empty, not in a known format, or has no such track.
    MissingExtraError
        If its format needs the `av` extra.
    """
    path = os.fspath(path)
    with recording_errors(path):
        if path == "-":
            return _open_stdin(track)
        if is_remote(path):
            # The copy is unlinked when this block ends; the open descriptor still reads it.
            with local_copy(path) as copy:
                flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
                return _open_file(LocalFile(path, None, os.open(copy, flags)), track)
        if is_pipe(path):
            return _open_pipe(Pipe(_opened_pipe(path), path), track)
        return _open_file(_local_file(path), track)


def _local_file(path: str) -> LocalFile:
    if os.path.isdir(path):
        raise RecordingError(path, "is a folder. Give a recording.")
    try:
        return LocalFile(path, path)
    except FileNotFoundError:
        raise RecordingError(path, "no such file. Check the name.") from None
    except OSError as error:
        raise RecordingError(path, f"cannot read: {error.strerror}.") from error


def _open_file(file: LocalFile, track: int | None) -> FileDecoder:
    """Open a track of a local file; close it if that fails."""
    try:
        if file.n_bytes <= 0:
            raise RecordingError(file.path, "is empty (0 bytes). Record or copy it again.")
        decoder = FileDecoder(file, track=track)
    except BaseException:
        file.close()
        raise
    if track not in (None, 1) and not decoder.is_container:
        decoder.close()
        raise no_such_track(file.path, track, 1)
    return _checked(file.path, decoder)


def _open_stdin(track: int | None) -> Decoder:
    from sed.audio.decoders.pcm import raw_stdin

    if sys.stdin is None:
        raise RecordingError("-", "standard input is closed. Pipe a recording into it.")
    if sys.stdin.buffer.seekable():
        return _open_file(LocalFile("-", None, os.dup(sys.stdin.fileno())), track)
    return _open_pipe(Pipe(raw_stdin(), "-"), track)


def _opened_pipe(path: str) -> io.FileIO:
    try:
        return io.FileIO(path)
    except OSError as error:
        raise RecordingError(path, f"cannot read: {error.strerror}.") from error


def _open_pipe(pipe: Pipe, track: int | None) -> Decoder:
    """Open a stream that cannot seek; close it if that fails."""
    from sed.audio.decoders.pcm import PcmStreamDecoder, is_wav

    try:
        if not is_wav(pipe.peek(12)):
            return _checked(pipe.name, PipeDecoder(pipe, track))
        if track not in (None, 1):
            raise no_such_track(pipe.name, track, 1)
        return _checked(pipe.name, PcmStreamDecoder.from_wav(pipe, pipe.name))
    except BaseException:
        pipe.close()
        raise


def open_raw_stdin(sample_rate: int, encoding: str = "s16", n_channels: int = 1) -> Decoder:
    """Open standard input as raw samples; see `PcmStreamDecoder`.

    Parameters
    ----------
    sample_rate
        Samples per second.
    encoding
        A key of `sed.audio.decoders.pcm.ENCODINGS`.
    n_channels
        Interleaved channels.

    Raises
    ------
    UsageError
        If the rate, the encoding or the number of channels is not supported.
    """
    from sed.audio.decoders.pcm import PcmStreamDecoder, raw_stdin

    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise UsageError(
            f"expected --raw-rate {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}, got {sample_rate}"
        )
    return PcmStreamDecoder(raw_stdin(), sample_rate, encoding, n_channels)


def _checked(path: str, decoder: AnyDecoder) -> AnyDecoder:
    """Return the decoder if its sample rate and channels are supported; else close it, raise."""
    if decoder.n_channels < 1:
        decoder.close()
        raise RecordingError(path, "has no channels. Check the header, or record it again.")
    if not MIN_SAMPLE_RATE <= decoder.sample_rate <= MAX_SAMPLE_RATE:
        decoder.close()
        raise RecordingError(
            path,
            f"has {decoder.sample_rate} samples per second; expected {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE}. Check the header, or convert it.",
        )
    return decoder
