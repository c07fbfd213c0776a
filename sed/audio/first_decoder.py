"""Choose the decoder of a recording by its content."""

from __future__ import annotations

from collections import deque
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.audio.decoders.layout import amr, chunks, mpeg, ogg
from sed.audio.decoders.layout.local_file import LocalFile, Pipe, PipeEnds
from sed.audio.decoders.layout.wav import WavPart, longer_than_promised, read_layout
from sed.audio.decoders.libsndfile import LibsndfileError, SoundFileDecoder
from sed.audio.decoders.piped import PipedDecoder
from sed.errors import MissingExtraError, RecordingError

# File name endings of the formats that libsndfile reads.
SOUND_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("wav", "wave", "w64", "rf64", "bwf", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff"),
        *("aifc", "au", "snd", "caf"),
    )
)
# File name endings of the formats that need the `av` extra.
CONTAINER_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("m4a", "mp4", "aac", "wma", "mka", "mkv", "webm", "mov", "avi", "amr", "ac3", "3gp"),
        *("mpc", "ape", "wv", "tta", "mp2", "m4b", "m4v", "3g2", "mpg", "mpeg", "wmv", "flv"),
        *("ts", "mts", "m2ts", "vob", "spx"),
    )
)

HEAD_BYTES = 64

NOT_PIPED = (
    "cannot be read from a pipe (expected WAV, FLAC, Ogg, MP3, or another format that needs no "
    "seek). Give it as a file."
)

# First bytes of what FFmpeg may read without a seek: FLAC, Ogg, MP3, AIFF, CAF, AU, W64, RIFX,
# Matroska, ASF, WavPack, TTA. Others are not tried: FFmpeg would take raw samples for something.
STREAMED = (
    *(b"fLaC", b"OggS", b"ID3", b"FORM", b"caff", b".snd", b"riff", b"RIFX", b"\x1a\x45\xdf\xa3"),
    *(b"\x30\x26\xb2\x75", b"wvpk", b"TTA1"),
)
_ADTS = (b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9")
_CHAIN_BYTES = 8_192  # that hold some frames of MP3
_TS_BYTES = 188  # of a packet of MPEG-TS

# FFmpeg would take some texts for lists of other files, and open those.
_TEXT = bytes([*range(32, 127), 9, 10, 13])


def open_first(
    file: LocalFile, track: int | None
) -> tuple[SoundFileDecoder | ContainerDecoder, deque[WavPart]]:
    """Return the decoder of the first recording of a file.

    Parameters
    ----------
    file
        The file.
    track
        Track of sound in a container, counted from 1; the container's default if not given.

    Returns
    -------
    decoder
        The decoder.
    parts
        All parts of a WAV file whose header is not right, from the first on; else none.

    Raises
    ------
    RecordingError
        If no decoder can read it.
    MissingExtraError
        If it is a container and the `av` extra is not installed.
    """
    layout = read_layout(file)
    attempts = [True, False] if layout is not None and not layout.is_regular else [False, True]
    for is_repaired in attempts:
        try:
            if not is_repaired:
                return open_decoder(file, 0), deque()
            if layout is not None:
                return open_part(file, layout.parts[0]), deque(layout.parts)
        except LibsndfileError as error:
            failure = error
    try:
        if layout is not None and not layout.is_regular:
            return _repaired_container(file, layout.parts[0]), deque(layout.parts)
        return open_container(file, track), deque()
    except (RecordingError, MissingExtraError) as error:
        if isinstance(error, RecordingError) and track is not None:
            raise
        head = file.read(0, HEAD_BYTES)
        if Path(file.path).suffix.lower() in CONTAINER_SUFFIXES or _is_container(head):
            raise
        more = "; other formats need pip install 'sed-engine[av]'"
        raise RecordingError(
            file.path,
            "is not a sound file that can be read, whatever its name says (expected WAV, FLAC, "
            f"OGG, Opus, MP3 or AIFF{more if isinstance(error, MissingExtraError) else ''}). "
            "Check its content, or convert it.",
        ) from failure


def open_decoder(file: LocalFile, start: int) -> SoundFileDecoder | ContainerDecoder:
    """Return a decoder of the recording that starts at a byte of a file.

    Raises
    ------
    LibsndfileError
        If libsndfile cannot read it.
    """
    head = file.read(start, HEAD_BYTES)
    source = file.whole() if start == 0 else file.ranges([(start, file.n_bytes - start)])
    if end := chunks.next_form(file, start):
        source = file.ranges([(start, end - start)])
    elif start == 0 and (parts := longer_than_promised(file)):
        source = file.ranges(parts)
    # The codec follows the header of an Ogg page.
    if head[28:35] == b"\x01vorbis" and isinstance(source, bytes):
        decoder = _vorbis_decoder()(file.path, source)
    else:
        decoder = SoundFileDecoder(file.path, source)
    kind = decoder.format.split()[0]
    if kind == "MP3" and not mpeg.is_mpeg(file, start):
        return _closing(decoder, open_container(file, start=start))
    if kind == "MP3" and not mpeg.has_mpeg_length(file, start):
        decoder.close()
        first = mpeg.mpeg_start(file, start)
        content = file.ranges([(first, file.n_bytes - first)])
        return PipedDecoder(file.path, content, first - start)
    if kind == "OGG" and decoder.n_samples is None and (end := ogg.next_ogg(file, start)):
        decoder.close()
        return SoundFileDecoder(file.path, file.ranges([(start, end - start)]))
    if kind == "FLAC" and decoder.n_samples is None:
        # libsndfile drops the end, and stops at the first damage without an error.
        try:
            return _closing(decoder, open_container(file, start=start))
        except (RecordingError, MissingExtraError):
            pass
    return decoder


def open_part(file: LocalFile, part: WavPart) -> SoundFileDecoder:
    """Return a decoder of a part of a WAV file.

    Raises
    ------
    LibsndfileError
        If libsndfile cannot read it.
    """
    return SoundFileDecoder(file.path, file.ranges([part.header(), *part.ranges]))


def _repaired_container(file: LocalFile, part: WavPart) -> ContainerDecoder:
    source = cast(BinaryIO, file.ranges([part.header(), *part.ranges]))
    return ContainerDecoder(source, name=file.path)


def _closing(old: SoundFileDecoder, new: ContainerDecoder) -> ContainerDecoder:
    old.close()
    return new


def open_container(
    file: LocalFile, track: int | None = None, *, start: int = 0, end: int | None = None
) -> ContainerDecoder:
    """Return FFmpeg's decoder of all that a file holds from a byte on, or to another.

    Raises
    ------
    RecordingError
        If FFmpeg cannot read it.
    MissingExtraError
        If the `av` extra is not installed.
    """
    head = file.read(start, HEAD_BYTES)
    if not head.strip(_TEXT):
        raise RecordingError(file.path, "is a text. Give a recording.")
    if start == 0 and (parts := amr.amr_parts(file)[0]):
        return ContainerDecoder(cast(BinaryIO, file.ranges(parts)), name=file.path, track=track)
    if file.place is not None and start == 0 and end is None:
        return ContainerDecoder(file.place, name=file.path, track=track)
    end = file.n_bytes if end is None else end
    source = cast(BinaryIO, file.ranges([(start, end - start)]))
    return ContainerDecoder(source, name=file.path, track=track)


def open_piped(pipe: Pipe, track: int | None = None) -> ContainerDecoder:
    """Return FFmpeg's decoder of a stream that cannot seek and is not WAV.

    Raises
    ------
    RecordingError
        If FFmpeg cannot read it, or not without a seek.
    MissingExtraError
        If the `av` extra is not installed.
    """
    if not pipe.peek(1):
        raise RecordingError(pipe.name, "this stream is empty. Pipe a recording into it.")
    raw, failure = "", None
    try:
        if _is_streamed(pipe):
            return ContainerDecoder(cast(BinaryIO, pipe), name=pipe.name, track=track)
        if pipe.name == "-":
            raw = " For raw samples give their format: "
            raw += "--raw-rate 48000 --raw-encoding s16 --raw-channels 1."
    except RecordingError as error:
        if track is not None:
            raise
        failure = error
    raise RecordingError(pipe.name, f"{NOT_PIPED}{raw}") from failure


def _is_streamed(pipe: Pipe) -> bool:
    """Whether a stream begins like a format that FFmpeg may read without a seek."""
    head = pipe.peek(12)
    if head.startswith((*STREAMED, *_ADTS)) or _is_container(head):
        return True
    if head[:1] == b"\x47":
        return set(pipe.peek(3 * _TS_BYTES)[::_TS_BYTES]) == {0x47}
    if head[:1] != b"\xff":
        return False
    start = pipe.peek(_CHAIN_BYTES)
    return mpeg.is_mpeg(PipeEnds(start, start, len(start)), 0)


@cache
def _vorbis_decoder() -> type[SoundFileDecoder]:
    """Return the decoder for Ogg Vorbis: FFmpeg is faster, where it is installed."""
    try:
        from sed.audio.decoders.vorbis import VorbisDecoder
    except ImportError:  # the `av` extra is not installed
        return SoundFileDecoder
    return VorbisDecoder


def _is_container(head: bytes) -> bool:
    """Recognise MP4, Matroska and ASF by their first bytes."""
    return head[4:8] == b"ftyp" or head.startswith((b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75"))
