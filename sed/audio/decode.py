"""Open a recording of any format for decoding in blocks of float32 samples.

Memory does not grow with the length of a recording. An error in a recording is raised only after
all the good samples before it were yielded.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

from sed.audio.decoders.container_header import no_such_track
from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.audio.decoders.libsndfile import LibsndfileError, SoundFileDecoder
from sed.audio.remote import is_remote, local_copy
from sed.errors import RecordingError, UsageError
from sed.types import Floats

# Sample rates in Hz that a recording may have.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 384_000

# File name endings of the formats that libsndfile reads.
SOUND_SUFFIXES = frozenset(
    [
        ".wav",
        ".wave",
        ".w64",
        ".rf64",
        ".bwf",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
    ]
)
# File name endings of the formats that need the `av` extra.
CONTAINER_SUFFIXES = frozenset(
    [
        ".m4a",
        ".mp4",
        ".aac",
        ".wma",
        ".mka",
        ".mkv",
        ".webm",
        ".mov",
        ".avi",
        ".amr",
        ".ac3",
        ".3gp",
        ".mpc",
        ".ape",
        ".wv",
    ]
)


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


def open_recording(path: str | os.PathLike[str], *, track: int | None = None) -> Decoder:
    """Open a recording for reading; ``-`` reads a WAV file from standard input.

    A remote recording (``s3://…``) is copied to the local disk until it is closed.

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
    if path == "-":
        return _with_track(path, _open_stdin(), track)
    if is_remote(path):
        # The copy is unlinked when this block ends; the open descriptor still reads it.
        with local_copy(path) as copy:
            return _open_file(path, copy, os.open(copy, os.O_RDONLY), track)
    return _open_file(path, path, os.fsencode(path), track)


def _open_file(path: str, place: str, source: bytes | int, track: int | None) -> Decoder:
    """Open a track of the local file `place`, called `path` in messages."""
    if os.path.isdir(place):
        raise RecordingError(path, "is a folder. Give a recording.")
    try:
        with open(place, "rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise RecordingError(path, "no such file. Check the name.") from None
    except OSError as error:
        raise RecordingError(path, f"cannot read: {error.strerror}.") from error
    if not head:
        raise RecordingError(path, "is empty (0 bytes). Record or copy it again.")
    try:
        decoder: Decoder = _sound_file(path, source, head)
        if decoder.format.startswith("MP3") and not _has_length(place):
            decoder.close()
            decoder = SoundFileDecoder(path, _through_pipe(place))
    except LibsndfileError as error:
        if Path(path).suffix.lower() in CONTAINER_SUFFIXES or _is_container(head):
            decoder = ContainerDecoder(place, name=path, track=track)
        else:
            raise RecordingError(
                path,
                "is not a sound file that can be read, whatever its name says (expected WAV, "
                "FLAC, OGG, Opus, MP3 or AIFF). Check its content, or convert it.",
            ) from error
    return _with_track(path, _checked(path, decoder), track)


def _with_track(path: str, decoder: Decoder, track: int | None) -> Decoder:
    """Return a decoder if it reads the track that was chosen; else close it and raise."""
    if track not in (None, 1) and not isinstance(decoder, ContainerDecoder):
        decoder.close()
        raise no_such_track(path, track, 1)
    return decoder


def _sound_file(path: str, source: bytes | int, head: bytes) -> SoundFileDecoder:
    is_vorbis = head[28:35] == b"\x01vorbis"  # follows the header of an Ogg page
    if is_vorbis and isinstance(source, bytes):
        return _vorbis_decoder()(path, source)
    return SoundFileDecoder(path, source)


@cache
def _vorbis_decoder() -> type[SoundFileDecoder]:
    """Return the decoder for Ogg Vorbis: FFmpeg is faster, where it is installed."""
    try:
        from sed.audio.decoders.vorbis import VorbisDecoder
    except ImportError:  # the `av` extra is not installed
        return SoundFileDecoder
    return VorbisDecoder


def _has_length(path: str) -> bool:
    """Return whether an MP3 header gives the length; otherwise libsndfile guesses it, too short."""
    with open(path, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            length = 0  # of the tag, in four groups of seven bits
            for byte in head[6:10]:
                length = length << 7 | byte & 0x7F
            file.seek(10 + length)
        else:
            file.seek(0)
        first_frame = file.read(4096)
    return any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))


def _through_pipe(path: str) -> int:
    """Return the reading end of a pipe with the content of a file.

    libsndfile does not guess the length of a pipe, so it reads to the end.
    """
    reading, writing = os.pipe()
    # Opened here and not in the thread: a local copy is unlinked as soon as this returns.
    file = open(path, "rb")  # noqa: SIM115

    def copy() -> None:
        with suppress(OSError), file, open(writing, "wb") as pipe:
            while block := file.read(1 << 16):
                pipe.write(block)

    threading.Thread(target=copy, name="decode-pipe", daemon=True).start()
    return reading


def _is_container(head: bytes) -> bool:
    """Recognise MP4, Matroska and ASF by their first bytes."""
    return head[4:8] == b"ftyp" or head.startswith((b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75"))


def _open_stdin() -> Decoder:
    from sed.audio.decoders.pcm import PcmStreamDecoder, raw_stdin

    if sys.stdin is None:
        raise RecordingError("-", "standard input is closed. Pipe a WAV file into it.")
    if sys.stdin.buffer.seekable():
        try:
            return _checked("-", SoundFileDecoder("-", sys.stdin.fileno(), close=False))
        except LibsndfileError as error:
            raise RecordingError(
                "-", "standard input is not a sound file; for raw samples give --raw-rate."
            ) from error
    return _checked("-", PcmStreamDecoder.from_wav(raw_stdin()))


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


def _checked(path: str, decoder: Decoder) -> Decoder:
    """Return the decoder if its sample rate is supported; else close it and raise."""
    if not MIN_SAMPLE_RATE <= decoder.sample_rate <= MAX_SAMPLE_RATE:
        decoder.close()
        raise RecordingError(
            path,
            f"has {decoder.sample_rate} samples per second; expected {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE}. Check the header, or convert it.",
        )
    return decoder
