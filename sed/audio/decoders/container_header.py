"""Read what a container says about its sound: its tracks, their start and their length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sed.errors import RecordingError
from sed.text import pluralize, printable

# Formats whose times count from the start of the presentation, sound or not. In others they count
# from anything: a clock of the station, the delay of the encoder.
_MP4, _MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
_FROM_ZERO = (_MP4, _MATROSKA)
# FLAC counts its frames from zero: a later start is sound that is missing.
FROM_ZERO_SOUND = "flac"
# A start later than this, which no picture confirms, is a clock that counts from something else.
_MAX_START_SECONDS = 60.0

# Formats whose headers give the length of each stream, or of the whole. In others, such as ADTS and
# MP3 without a Xing header, FFmpeg estimates it from the bit rate or the last packets.
_STREAM_LENGTH = (_MP4, "wav", "w64", "aiff", "caf", "flac", "ape", "wv", "tta", "tak", "mpc8")
_WHOLE_LENGTH = (_MATROSKA, "avi", "asf", "flv")

_DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


@dataclass(frozen=True)
class Track:
    """A track of sound in a container."""

    number: int  # counted from 1
    codec: str
    n_channels: int
    sample_rate: int  # Hz; 0 if it is not known before decoding
    language: str
    title: str
    is_default: bool  # by the container

    def __str__(self) -> str:
        about = [
            self.codec,
            pluralize(self.n_channels, "channel") if self.n_channels else "",
            f"{self.sample_rate:,} Hz" if self.sample_rate else "",
            self.language,
            f'"{self.title}"' if self.title else "",
            "default" if self.is_default else "",
        ]
        return ", ".join(printable(text) for text in about if text)


def list_tracks(streams: Sequence[Any]) -> tuple[Track, ...]:
    """Return the tracks of the audio streams of PyAV, in their order."""
    return tuple(_track(number, stream) for number, stream in enumerate(streams, 1))


def choose_track(path: str, tracks: Sequence[Track], wanted: int | None) -> Track:
    """Return a track by its number, or else the default of the container.

    Raises
    ------
    RecordingError
        If there is no such track.
    """
    if wanted is not None:
        if not 1 <= wanted <= len(tracks):
            raise no_such_track(path, wanted, len(tracks))
        return tracks[wanted - 1]
    decodable = [track for track in tracks if track.n_channels] or tracks
    return next((track for track in decodable if track.is_default), decodable[0])


def no_such_track(path: str, wanted: int | None, n_tracks: int) -> RecordingError:
    """Return the error about a track that a recording does not have."""
    return RecordingError(
        path,
        f"has no track {wanted}: it has {n_tracks}, counted from 1. Choose another with --track, "
        "or leave it out.",
    )


def start_seconds(container: Any) -> float:
    """Return the time in a container of PyAV that is the start of the recording."""
    start = (container.start_time or 0) / 1e6
    if container.format.name == FROM_ZERO_SOUND:
        return 0.0
    if container.format.name not in _FROM_ZERO:
        return start
    seconds = (container.duration or 0) / 1e6
    return 0.0 if 0 <= start <= max(_MAX_START_SECONDS, seconds) else start


def end_seconds(container: Any, stream: Any) -> float | None:
    """Return the time at which a stream ends by the headers; None if they do not say."""
    name, end = container.format.name, container_end_seconds(container)
    if name in _STREAM_LENGTH and stream.duration:
        # Of several edits FFmpeg adds up more than is played.
        start = 0 if name == FROM_ZERO_SOUND else stream.start_time or 0
        own = float((start + stream.duration) * stream.time_base)
        return own if end is None else min(own, end)
    if name not in _WHOLE_LENGTH:
        return None
    if end is not None and not _other_streams(container, stream):
        return end
    # Matroska: written by most programs that write Matroska.
    for key, text in metadata_of(stream).items():
        if key.upper().startswith("DURATION") and (found := _DURATION_TAG.match(text)):
            tagged = 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
            return tagged if end is None else min(tagged, end)
    return None


def container_end_seconds(container: Any) -> float | None:
    """Return the time at which the last stream ends by the headers; None if they do not say."""
    name, start = container.format.name, container.start_time or 0
    if name not in (*_STREAM_LENGTH, *_WHOLE_LENGTH) or not container.duration:
        return None
    # FFmpeg counts from the start where it adds up fragments.
    is_from_zero = name == FROM_ZERO_SOUND or (name in _FROM_ZERO and start < container.duration)
    return float(container.duration + (0 if is_from_zero else start)) / 1e6


def metadata_of(stream: Any) -> dict[str, str]:
    """Return the tags of a stream; none if PyAV cannot read them."""
    with suppress(Exception):  # metadata are never a reason to fail
        return dict(stream.metadata)
    return {}


def _track(number: int, stream: Any) -> Track:
    own, tags = stream.codec_context, metadata_of(stream)
    language, title = tags.get("language", ""), tags.get("title", "")
    return Track(
        number,
        "unknown codec" if own is None else str(own.name),
        0 if own is None else int(own.channels),
        0 if own is None else int(own.sample_rate or 0),
        "" if language == "und" else language,
        title,
        bool(int(getattr(stream, "disposition", 0)) & 1),
    )


def _other_streams(container: Any, stream: Any) -> bool:
    return any(s.index != stream.index and s.type in ("audio", "video") for s in container.streams)
