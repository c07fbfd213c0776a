"""Compare what a decoder has read of a file with what the file holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.audio.decoders.layout import amr, boxes, chunks, flac, mpeg, ogg
from sed.audio.decoders.layout.local_file import (
    MIN_REST_BYTES,
    READ_AHEAD_BYTES,
    LocalFile,
    Pipe,
    Readable,
)
from sed.audio.decoders.layout.mpeg import Run
from sed.audio.decoders.layout.wav import WavPart
from sed.audio.decoders.libsndfile import KEPT, LibsndfileError, SoundFileDecoder
from sed.audio.first_decoder import open_part
from sed.text import pluralize

UNREADABLE = f"cannot be decoded. {KEPT}"

# Encoders of MP3 and Opus pad the beginning and the end of a recording by less than this.
MAX_PADDING_SECONDS = 0.5

# Sound that a second decoder finds beyond the first: less is padding of the encoder.
MIN_MORE_SECONDS = 0.05

# A larger file is not read from end to end for what its headers say.
MAX_SCAN_BYTES = 1 << 30

# Of these, chunks or pages say what follows.
_KNOWN = ("WAV", "WAVEX", "RF64", "OGG")
_CHUNKED = ("AIFF", "AU", "CAF", "W64")


class HeaderAccount(NamedTuple):
    """What headers say about a recording, without decoding."""

    n_samples: int | None  # None if they do not say
    seconds: float  # where the fault is
    fault: str  # empty if there is none
    starts_soon: bool = True  # whether decoding does, or reads a large file from end to end first


def kind_of(form: str) -> str:
    """Return the container in a format such as ``OGG VORBIS``; FFmpeg's are in small letters."""
    return form.split()[0].upper()


def n_bytes_left(
    file: LocalFile, decoder: SoundFileDecoder, start: int, following: int | None = None
) -> int:
    """Return how many bytes of sound a decoder has not read; few count as none.

    Parameters
    ----------
    file
        The file.
    decoder
        The decoder of the recording that starts at the byte `start`, at its end.
    start
        First byte of the recording.
    following
        First byte of the next one, if there is any.
    """
    kind = kind_of(decoder.format)
    if kind in _KNOWN:
        return 0
    position = _n_bytes_read(file, decoder, start)
    end = following
    if end is None:
        end = mpeg.mpeg_end(file) if kind in ("MP3", "FLAC") else file.n_bytes
    is_metadata = chunks.is_metadata(file, position, kind)
    return 0 if end - position < MIN_REST_BYTES or is_metadata else end - position


def has_more(file: LocalFile, decoder: SoundFileDecoder, start: int, following: int | None) -> bool:
    """Return whether a recording goes on behind what a decoder has read; see `n_bytes_left`."""
    if kind_of(decoder.format) != "FLAC":
        return following is None and n_bytes_left(file, decoder, start) > 0
    end = flac.flac_end(file, start, following)
    if end is None or decoder.n_samples is None:
        return n_bytes_left(file, decoder, start, following) > 0
    n_expected: int = decoder.n_samples + round(MIN_MORE_SECONDS * decoder.sample_rate)
    return end > n_expected


def n_bytes_between(file: LocalFile, decoder: SoundFileDecoder, start: int, following: int) -> int:
    """Return how many bytes between a recording and the next were not decoded; few count as none.

    The parameters are those of `n_bytes_left`.
    """
    kind = kind_of(decoder.format)
    if kind == "OGG":
        return ogg.ogg_torn_bytes(file, start, following)
    if kind not in ("FLAC", "MP3"):  # their chunks say where the next one starts
        return 0
    n_bytes = following - _n_bytes_read(file, decoder, start)
    return n_bytes if n_bytes > READ_AHEAD_BYTES else 0


def next_start(file: LocalFile, decoder: SoundFileDecoder, start: int) -> int | None:
    """Return the byte at which another recording starts; None if the file holds no more."""
    kind = kind_of(decoder.format)
    if kind == "OGG":
        return ogg.next_ogg(file, start)
    if kind == "FLAC":
        early = _n_bytes_read(file, decoder, start) - READ_AHEAD_BYTES
        return flac.next_flac(file, max(start + 8, early))
    if kind in _CHUNKED:
        return chunks.next_form(file, start)
    if kind == "MP3" and n_bytes_left(file, decoder, start):
        return mpeg.next_mpeg(file, _n_bytes_read(file, decoder, start))
    return None


def ogg_fault(
    file: Readable, form: str, n_samples: int, sample_rate: int, n_recordings: int
) -> str:
    """Return what is wrong with the end of an Ogg file; empty if nothing is.

    Parameters
    ----------
    file
        The file.
    form
        Its format, as the decoder calls it.
    n_samples, sample_rate
        What was decoded.
    n_recordings
        Streams of a chain.
    """
    if kind_of(form) != "OGG" or (end := ogg.ogg_end(file)) is None:
        return ""
    n_left = file.n_bytes - end.position
    if n_left > MIN_REST_BYTES:
        return f"{pluralize(n_left, 'byte')} follow that {UNREADABLE}"
    if not end.is_last:
        return f"it is cut off there, before its end mark. {KEPT}"
    rate = 48_000 if "opus" in form.lower() else sample_rate
    first = ogg.ogg_start_time(file, rate)
    seconds = (end.n_samples - (first if first < end.n_samples else 0)) / rate
    if n_recordings == 1 and seconds - n_samples / sample_rate > MAX_PADDING_SECONDS:
        return f"it should last {seconds:.3f} s, and a part before {UNREADABLE}"
    return ""


def packet_fault(file: Readable, decoder: ContainerDecoder) -> str:
    """Return what follows the last packet of a file without a length, as ADTS or open FLAC."""
    if decoder.format.startswith("flac"):
        # The last packet holds what is behind it too: more than its samples can take.
        n_tags = file.n_bytes - mpeg.mpeg_end(file)
        n_most = decoder.n_frame * decoder.sample_bytes
        n_left = decoder.packet_bytes.n_last - n_most - n_tags
        is_cut = not decoder.n_samples and flac.flac_is_cut(file, 0)
        if is_cut or n_left > MIN_REST_BYTES:
            return f"bytes follow that are no frame and {UNREADABLE}"
    if decoder.packet_bytes.n_odd:
        return f"{pluralize(decoder.packet_bytes.n_odd, 'byte')} at the end {UNREADABLE}"
    rest = boxes.matroska_rest if decoder.format.startswith("matroska") else boxes.mp4_rest
    if joined := rest(file):
        return f"{pluralize(joined, 'byte')} behind the recording are not read. {KEPT}"
    n_left = amr.amr_parts(file)[1]
    if decoder.format.startswith("asf") and decoder.n_streams == 1:
        last = decoder.packet_bytes
        n_left = boxes.asf_rest(file, last.end - last.n_last)
    if n_left:
        return f"{pluralize(n_left, 'byte')} follow that {UNREADABLE}"
    if decoder.format.startswith("tta"):  # its header says how many packets there are
        n_left = mpeg.mpeg_end(file) - decoder.packet_bytes.end
        left = f"{pluralize(n_left, 'byte')} follow that {UNREADABLE}"
        return left if n_left > MIN_REST_BYTES else ""
    n_bytes = decoder.n_bytes_read
    n_early = decoder.packet_bytes.start - mpeg.mpeg_start(file, 0) if n_bytes else 0
    if n_early > MIN_REST_BYTES:
        early = pluralize(n_early, "byte")
        return f"{early} before the first sound {UNREADABLE} All times are too early."
    n_left = mpeg.mpeg_end(file) - n_bytes if n_bytes else 0
    if n_left <= MIN_REST_BYTES:
        return ""
    left = pluralize(n_left, "byte")
    return f"{left} here or before {UNREADABLE} If they are before, times after them are too early."


def pipe_fault(pipe: Pipe, decoder: ContainerDecoder, n_samples: int) -> str:
    """Return what of a pipe was not decoded; empty if all was. Its last bytes are read here.

    Parameters
    ----------
    pipe
        The pipe.
    decoder
        Its decoder, at its end.
    n_samples
        What was decoded.
    """
    n_after = 0  # FFmpeg stops at the end that a header gives
    while data := pipe.read(READ_AHEAD_BYTES):
        n_after += len(data)
    ends, form = pipe.ends(), decoder.format
    if kind_of(form) in _CHUNKED:  # of which FFmpeg has read more than it decoded
        n_after = max(n_after, ends.n_bytes - decoder.packet_bytes.end)
    # Of a chain only the last stream is counted, which is less than all of it.
    fault = ogg_fault(ends, form, n_samples, decoder.sample_rate, n_recordings=1)
    promised = mpeg.promised_samples(ends, 0) if form.startswith("mp3 ") else 0
    if promised - n_samples > MAX_PADDING_SECONDS * decoder.sample_rate:
        seconds = promised / decoder.sample_rate
        fault = f"it is cut off there; its header promises {seconds:.3f} s. {KEPT}"
    if fault := fault or packet_fault(ends, decoder):
        return fault
    if n_after <= MIN_REST_BYTES:
        return ""
    if chunks.is_metadata(ends, decoder.packet_bytes.end, kind_of(form)):
        return ""
    return f"{pluralize(n_after, 'byte')} follow that {UNREADABLE}"


def mpeg_fault(run: Run, n_samples: int, sample_rate: int, n_recordings: int) -> str:
    """Return how much of the frames of an MP3 file was not decoded; empty if all was."""
    missing = (run.n_samples - n_samples) / sample_rate
    if missing <= MAX_PADDING_SECONDS * n_recordings:
        return ""
    return f"about {missing:.1f} s before {UNREADABLE}"


def by_headers(
    file: LocalFile, decoder: SoundFileDecoder | ContainerDecoder, parts: Sequence[WavPart]
) -> HeaderAccount:
    """Return what headers say about the length and the damage of a file.

    Parameters
    ----------
    file
        The file; read from end to end if it is MP3, Ogg or FLAC of at most `MAX_SCAN_BYTES`.
    decoder
        The decoder of its first recording, before it has decoded anything.
    parts
        All parts of a WAV file whose header is not right.
    """
    rate, n_samples = decoder.sample_rate, decoder.n_samples
    kind = kind_of(decoder.format)
    if isinstance(decoder, ContainerDecoder):
        return HeaderAccount(None if len(parts) > 1 else n_samples, 0.0, "")
    if parts:
        return _by_parts(file, rate, parts)
    if kind == "MP3":
        is_small = file.n_bytes <= MAX_SCAN_BYTES
        return _by_frames(file, rate) if is_small else HeaderAccount(None, 0.0, "", False)
    end = flac.flac_end(file) if kind == "FLAC" else None
    if end is not None and n_samples is not None and n_samples - end > MAX_PADDING_SECONDS * rate:
        promised = n_samples / rate
        fault = f"it is cut off there; its header promises {promised:.3f} s. {KEPT}"
        return HeaderAccount(end, end / rate, fault)
    fault = decoder.header_fault
    fault = f"{fault}. {KEPT}" if fault else ""
    if kind in ("OGG", "FLAC", *_CHUNKED):
        fault = fault or ogg_fault(file, decoder.format, n_samples or 0, rate, 1)
        is_small = file.n_bytes <= MAX_SCAN_BYTES or kind in _CHUNKED
        find, start = {"OGG": (ogg.next_ogg, 0), "FLAC": (flac.next_flac, 4)}.get(
            kind, (chunks.next_form, 0)
        )
        if not is_small or find(file, start) is not None:  # other recordings follow, or may
            return HeaderAccount(None, 0.0, "")
    return HeaderAccount(n_samples, (n_samples or 0) / rate, fault)


def _by_parts(file: LocalFile, rate: int, parts: Sequence[WavPart]) -> HeaderAccount:
    """Return the samples of all parts of a WAV file, at the rate of the first."""
    n_samples, seconds, fault = 0, 0.0, ""
    for part in parts:
        try:
            with closing(open_part(file, part)) as decoder:
                n_samples += round((decoder.n_samples or 0) * rate / decoder.sample_rate)
        except LibsndfileError:
            text = f"{pluralize(part.n_bytes, 'byte')} follow that {UNREADABLE}"
            return HeaderAccount(n_samples, n_samples / rate, text)
        if part.fault and not fault:
            seconds, fault = n_samples / rate, f"{part.fault}. {KEPT}"
    return HeaderAccount(n_samples, seconds, fault)


def _by_frames(file: LocalFile, rate: int) -> HeaderAccount:
    """Return about how many samples the frames of an MP3 file have, and where some are missing."""
    n_samples, fault, seconds = 0, "", 0.0
    for run in mpeg.mpeg_runs(file, 0):
        if (run.n_lost or not run.n_samples) and not fault:
            seconds, fault = n_samples / rate, f"about {run.n_lost / rate:.3f} s {UNREADABLE}"
        n_samples += run.n_samples + run.n_lost
    return HeaderAccount(n_samples, seconds, fault)


def _n_bytes_read(file: LocalFile, decoder: SoundFileDecoder, start: int) -> int:
    n_bytes = decoder.n_bytes_read
    return file.n_bytes if n_bytes is None else start + n_bytes
