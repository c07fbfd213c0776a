"""The ear: any recording in, mono float32 blocks at one sample rate out.

A recording is read in blocks and resampled as one stream, so its length does not matter and its
sample positions are exact. What is wrong with a recording is raised after everything good in it
has been given out.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr

from sed.audio.libsndfile import LibsndfileError, Samples, SoundFileDecoder
from sed.audio.remote import fetched, is_remote
from sed.errors import RecordingError, UsageError

LOWEST_RATE, HIGHEST_RATE = 8_000, 384_000

# Endings of what libsndfile reads, and of what only the `av` extra reads.
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


_LONGEST_PERIOD_SECONDS = 6.0  # see `_period`; 44.1 to 16 kHz has 4.96


class Decoder(Protocol):
    """An opened recording."""

    sample_rate: int  # samples per second
    n_channels: int
    n_samples: int | None  # per channel, as far as it is known beforehand
    format: str  # container and encoding, for people

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels); raise `RecordingError` behind the last."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Resampler:
    """A stream of samples at one rate to the same stream at another.

    The n-th output sample is at the time of input sample n · from / to, from first to last: soxr's
    delay is compensated, and `flush` brings what it still holds.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._rates = from_rate, to_rate
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        from_rate, to_rate = self._rates
        self._stream = (
            None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 1, "float32")
        )

    def push(self, samples: Samples) -> Samples:
        """Take samples, return those that are ready."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> Samples:
        """Return the rest."""
        rest = np.empty(0, np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
        self.reset()
        return rest


def open_recording(path: str | os.PathLike[str]) -> Decoder:
    """Open a recording for reading; ``-`` is standard input, holding a WAV file.

    One that lies elsewhere (``s3://…``) is copied to this machine until it is closed.

    Raises
    ------
    RecordingError
        If it is missing, unreadable, empty or of no known format.
    MissingExtraError
        If its format needs the `av` extra.
    """
    path = os.fspath(path)
    if path == "-":
        return _open_stdin()
    if is_remote(path):
        with fetched(path) as copy:  # which is removed here, and read on by whoever has it open
            return _open_file(path, copy, os.open(copy, os.O_RDONLY))
    return _open_file(path, path, os.fsencode(path))


def _open_file(path: str, place: str, source: bytes | int) -> Decoder:
    """Open a file of this machine, which may be a copy of the one that was named."""
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
        if decoder.format.startswith("MP3") and not _tells_its_length(place):
            decoder.close()
            decoder = SoundFileDecoder(path, _through_pipe(place))
    except LibsndfileError as error:
        if Path(path).suffix.lower() in CONTAINER_SUFFIXES or _is_container(head):
            from sed.audio.ffmpeg import ContainerDecoder

            decoder = ContainerDecoder(place, name=path)
        else:
            raise RecordingError(
                path,
                "is not a sound file that can be read, whatever its name says (expected WAV, "
                "FLAC, OGG, Opus, MP3 or AIFF). Check its content, or convert it.",
            ) from error
    return _checked(path, decoder)


def _sound_file(path: str, source: bytes | int, head: bytes) -> SoundFileDecoder:
    is_vorbis = head[28:35] == b"\x01vorbis"  # behind the header of an Ogg page
    if is_vorbis and isinstance(source, bytes):
        return _vorbis_decoder()(path, source)
    return SoundFileDecoder(path, source)


@cache
def _vorbis_decoder() -> type[SoundFileDecoder]:
    """Return what reads Ogg Vorbis best here."""
    try:
        from sed.audio.vorbis import VorbisDecoder
    except ImportError:  # an extra
        return SoundFileDecoder
    return VorbisDecoder


def _tells_its_length(path: str) -> bool:
    """Return whether an MP3 says how long it is; libsndfile guesses otherwise, and stops there."""
    with open(path, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag, its length in four times seven bits
            length = 0
            for byte in head[6:10]:
                length = length << 7 | byte & 0x7F
            file.seek(10 + length)
        else:
            file.seek(0)
        first_frame = file.read(4096)
    return any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))


def _through_pipe(path: str) -> int:
    """Return the reading end of a pipe that a file is poured into: nobody guesses its length."""
    reading, writing = os.pipe()
    file = open(path, "rb")  # noqa: SIM115  # now: a copy is removed when it is open

    def pour() -> None:
        with suppress(OSError), file, open(writing, "wb") as pipe:
            while block := file.read(1 << 16):
                pipe.write(block)

    threading.Thread(target=pour, name="pour", daemon=True).start()
    return reading


def _is_container(head: bytes) -> bool:
    """Recognise MP4, Matroska and ASF by their first bytes."""
    return head[4:8] == b"ftyp" or head.startswith((b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75"))


def _open_stdin() -> Decoder:
    from sed.audio.pcm import PcmStreamDecoder, raw_stdin

    if sys.stdin is None:
        raise RecordingError("-", "standard input is closed. Pipe a WAV file into it.")
    if sys.stdin.buffer.seekable():
        try:
            return _checked("-", SoundFileDecoder("-", sys.stdin.fileno(), close=False))
        except LibsndfileError as error:
            raise RecordingError(
                "-", "standard input is no sound file; for raw samples give --raw-rate."
            ) from error
    return _checked("-", PcmStreamDecoder.from_wav(raw_stdin()))


def open_raw_stdin(sample_rate: int, encoding: str = "s16", n_channels: int = 1) -> Decoder:
    """Open standard input as raw samples; see `PcmStreamDecoder`.

    Raises
    ------
    UsageError
        If the rate, the encoding or the number of channels cannot be.
    """
    from sed.audio.pcm import PcmStreamDecoder, raw_stdin

    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise UsageError(f"expected --raw-rate {LOWEST_RATE} to {HIGHEST_RATE}, got {sample_rate}")
    return PcmStreamDecoder(raw_stdin(), sample_rate, encoding, n_channels)


def _checked(path: str, decoder: Decoder) -> Decoder:
    if not LOWEST_RATE <= decoder.sample_rate <= HIGHEST_RATE:
        decoder.close()
        raise RecordingError(
            path,
            f"has {decoder.sample_rate} samples per second; expected {LOWEST_RATE} to "
            f"{HIGHEST_RATE}. Check the header, or convert it.",
        )
    return decoder


def one_channel(block: Samples, channel: int | None = None) -> Samples:
    """Return one channel of a block, shape (samples, channels), counted from 1, or their mean."""
    if channel is not None:
        return np.ascontiguousarray(block[:, channel - 1])
    mono: Samples = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    return mono


@dataclass
class SampleCheck:
    """What there is to say of the samples of a recording, once all have passed."""

    position: int = 0  # of the next sample
    n_bad: int = 0  # samples that are no number
    first_bad: int = 0  # position of the first of them
    has_sound: bool = False  # a sample was not zero

    def take(self, mono: Samples) -> Samples:
        """Look at the next samples; return them, with silence for those that are no number."""
        if not np.isfinite(mono.sum()):  # one pass in the usual case
            bad = ~np.isfinite(mono)
            if bad.any():
                self.first_bad = self.first_bad if self.n_bad else self.position + int(bad.argmax())
                self.n_bad += int(bad.sum())
                mono = np.where(bad, np.float32(0), mono)
        self.has_sound = self.has_sound or bool(mono.any())
        self.position += len(mono)
        return mono

    def end(self, path: str, sample_rate: int, channel: int | None) -> None:
        """Raise `RecordingError` for what is wrong with the samples."""
        if self.position == 0:
            raise RecordingError(path, "holds no samples, only a header. Record or copy it again.")
        if self.n_bad:
            raise RecordingError(
                path,
                f"{self.n_bad} samples are no number (NaN or infinite), the first at "
                f"{self.first_bad / sample_rate:.3f} s; they were taken as silence. Check what "
                "wrote the file.",
            )
        if not self.has_sound:
            which = "" if channel is None else f" of channel {channel}"
            raise RecordingError(
                path,
                f"every sample{which} is zero (digital silence). Check the microphone, or choose "
                "another channel with --channel.",
            )


def mono_blocks(
    path: str, decoder: Decoder, *, channel: int | None = None, check: SampleCheck | None = None
) -> Iterator[Samples]:
    """Yield one-dimensional blocks: the mean of the channels, or one of them, counted from 1.

    Samples that are no number are taken as silence.

    Raises
    ------
    RecordingError
        If there is no such channel. Behind the last block: if there was no sample, nothing but
        digital silence, samples that are no number, or damage.
    """
    if channel is not None and not 1 <= channel <= decoder.n_channels:
        raise RecordingError(
            path,
            f"has no channel {channel}: it has {decoder.n_channels}, counted from 1. Choose "
            "another with --channel, or leave it out for their mean.",
        )
    check = check or SampleCheck()
    for block in decoder.blocks():
        yield check.take(one_channel(block, channel))
    check.end(path, decoder.sample_rate, channel)


def read_blocks(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    channel: int | None = None,
    decoder: Decoder | None = None,
    start: int = 0,
    check: SampleCheck | None = None,
) -> Generator[Samples]:
    """Yield a recording as mono blocks at `sample_rate`, however long it is.

    Parameters
    ----------
    path
        The recording; ``-`` for a WAV file on standard input.
    sample_rate
        Samples per second to resample to.
    channel
        Which channel to take, counted from 1; the mean of all if not given.
    decoder
        The recording, already opened; it is closed here.
    start
        Sample, at `sample_rate`, to begin with; for a `SoundFileDecoder` that seeks exactly.
    check
        What is known of the samples before `start`; takes up what is found out here.

    Raises
    ------
    RecordingError
        Before the first block if it cannot be read, behind the last if something is wrong in it.
    """
    path = os.fspath(path)
    decoder = decoder or open_recording(path)
    resampler = Resampler(decoder.sample_rate, sample_rate)
    check = check or SampleCheck()
    trouble: RecordingError | None = None
    try:
        n_early = _seek(decoder, sample_rate, start, check) if start else 0
        try:
            for block in mono_blocks(path, decoder, channel=channel, check=check):
                resampled = resampler.push(block)
                yield resampled[n_early:]
                n_early = max(0, n_early - len(resampled))
        except RecordingError as error:
            trouble = error
        yield resampler.flush()[n_early:]
    finally:
        decoder.close()
    if trouble is not None:
        raise trouble


def _seek(decoder: Decoder, sample_rate: int, start: int, check: SampleCheck) -> int:
    """Seek to before a sample of the resampled stream; return how many come before it."""
    assert isinstance(decoder, SoundFileDecoder)
    n_in, n_out = _same_time(decoder.sample_rate, sample_rate)
    period, n_lead = _period(decoder.sample_rate, sample_rate)
    latest = max(0, start * n_in // n_out - n_lead)
    check.position = decoder.seek(latest // period * period)
    return start - check.position // n_in * n_out


@cache
def _period(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return where a resampler may begin, and how much earlier than it is needed.

    soxr works in blocks of a size that it chooses. Begun at a multiple of the period, in samples,
    its blocks are those of the whole stream, and all is the same to the last bit once it has
    forgotten that nothing came before. Where the period is too long, roundings differ.
    """
    n_in, _ = _same_time(from_rate, to_rate)
    if from_rate == to_rate:
        return 1, 0
    first = _next_burst(from_rate, to_rate, 0)
    second = _next_burst(from_rate, to_rate, first + 1)
    period = math.lcm(second - first, n_in)
    return period if period < _LONGEST_PERIOD_SECONDS * from_rate else n_in, 2 * second


def _next_burst(from_rate: int, to_rate: int, n_pushed: int) -> int:
    """Return how many samples a resampler takes, from so many on, until one brings out a block."""
    for step in (256, 1):  # roughly, then to the sample
        resampler, silence = Resampler(from_rate, to_rate), np.zeros(step, np.float32)
        resampler.push(np.zeros(n_pushed, np.float32))
        n_pushed += step * next(n for n in count() if len(resampler.push(silence)))
    return n_pushed


def _same_time(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return the smallest numbers of samples that last equally long at two rates."""
    common = math.gcd(from_rate, to_rate)
    return from_rate // common, to_rate // common


def read_recording(
    path: str | os.PathLike[str], sample_rate: int, *, channel: int | None = None
) -> Samples:
    """Return a whole recording, shape (samples,), mono at `sample_rate`. For clips."""
    return np.concatenate(list(read_blocks(path, sample_rate, channel=channel)))
