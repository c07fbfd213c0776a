r"""Read the start time of a recording from its file name or its header.

A clock reading is a moment only together with a time zone. The zone comes, in this order, from

1. the file name: ``20240501T053000+0200``, ``…_053000Z``;
2. the header: ``Recorded at 05:30:00 01/05/2024 (UTC+2) by AudioMoth …``, or the ``Timestamp`` of
   GUANO and of Wildlife Acoustics, with an offset;
3. the caller: the zone that the clocks were set to, else that of the site.

Without any of these the reading is the time of day where the clock was, and has no zone: that it is
UTC is never guessed, not even where a recorder leaves the factory so. If the name and the header
both give a time, the name is used: software that cuts a recording into parts names each part by
its own time and copies the header of the first part to all.

When clocks are set back, the times of one hour occur twice: the first one is assumed. When they
are set forward, one hour is skipped: a recorder that shows a time in that hour was not adjusted,
and its time is read with the offset before the change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import BinaryIO
from zoneinfo import ZoneInfo, available_timezones

from sed.errors import UsageError
from sed.text import near

MAX_CHUNKS = 64  # of a header that are read; recorders write fewer than ten
MAX_TEXT_BYTES = 1 << 16  # that are read of one chunk
MAX_OGG_BYTES = 1 << 13  # the comment of an Ogg file is in its second page, within these

# Only valid months, days and hours match, so that a serial number is seldom taken for a date. A
# clock that was never set shows 1970 or 1980.
YEAR = r"(?P<year>199\d|20\d\d)"
MONTH = r"(?P<month>0[1-9]|1[0-2])"
DAY = r"(?P<day>0[1-9]|[12]\d|3[01])"
HOUR = r"(?P<hour>[01]\d|2[0-3])"
MINUTE = r"(?P<minute>[0-5]\d)"
SECOND = r"(?P<second>[0-5]\d)"
DATE = rf"(?<!\d){YEAR}(?P<dash>[-_.]?){MONTH}(?P=dash){DAY}"
CLOCK = rf"{HOUR}(?P<colon>[-_:.]?){MINUTE}(?P=colon){SECOND}"
FRACTION = r"(?:[._](?P<fraction>\d{6}|\d{3})(?!\d))?"
OFFSET = r"(?:0\d|1[0-4]):?(?:00|15|30|45)(?!\d)"
# A hyphen right after 20240501_053000 precedes a counter; only in ISO form (T) is it a minus.
ZONE = rf"(?:(?P<zone>Z(?![A-Za-z])|[-_ ]?UTC|(?(iso)[-+]|(?:\+|_[-+])){OFFSET}))?"


@dataclass(frozen=True)
class Pattern:
    """A pattern of file names, and the recorders that write them."""

    recorders: str  # the recorders
    source: str  # where the naming is documented
    name: re.Pattern[str]


# The first matching pattern is used.
PATTERNS = (
    Pattern(
        "AudioMoth with its first firmware",
        "its main.c: seconds since 1970 in hexadecimal digits. A name without letters could be the "
        "serial number of another recorder, but those do not end in .WAV",
        re.compile(r"^(?P<unix>(?=\d*[A-F]|\d{8}\.WAV$)(?:5[7-9A-F]|6[0-9A-F])[0-9A-F]{6})\."),
    ),
    Pattern(
        "AudioMoth",
        "its main.c, generateFolderAndFilename: in the zone that it is configured to; T is for "
        "triggered. AudioMoth-Utils, filenameHandler.js: milliseconds, SYNC",
        re.compile(
            rf"^(?:[0-9A-F]{{16}}_)?{YEAR}{MONTH}{DAY}_{HOUR}{MINUTE}{SECOND}"
            r"(?:_(?P<fraction>\d{3}))?(?:T|_SYNC)?\."
        ),
    ),
    Pattern(
        "BirdNET-Pi",
        "its birdnet_recording.sh: local time, of twelve hours if so configured",
        re.compile(rf"{DATE}-birdnet-(?:RTSP_\d+-)?{CLOCK}(?P<half>[ap]m)?"),
    ),
    Pattern(
        "SoundTrap",
        "its user guide, Data Files and Clock details: serial number and yymmddhhmmss in the zone "
        "of the computer that the files were copied to",
        re.compile(
            rf"(?<!\d)\d{{3,10}}[._](?P<year>\d\d){MONTH}{DAY}{HOUR}{MINUTE}{SECOND}(?=[._])"
        ),
    ),
    Pattern(
        "Song Meter, SMART, Swift, OwlSense, Frontier Labs BAR, PAMGuard, JASCO AMAR, clips of "
        "sed listen, and others that follow ISO 8601 or the advice of Open Ecoacoustics",
        "guides of Wildlife Acoustics (local time; $ where a GPS set the clock; microseconds); "
        "tests of aru_metadata_parser (Swift, OwlSense) and ecosound (PAMGuard, JASCO); "
        "openecoacoustics.org, Filenames for audio files; sed listen --clips",
        re.compile(rf"{DATE}(?:[_ ]?(?P<iso>T)|[-_$. ]{{0,3}}){CLOCK}(?!\d){FRACTION}{ZONE}"),
    ),
    Pattern(
        "Sony and Zoom handheld recorders",
        "their guides: YYMMDD_HHMM of ICD-PX and ICD-UX, YYMMDD-HHMMSS of the H series. Some "
        "others count in the place of the minutes, which looks the same",
        re.compile(
            rf"(?<![\d.])(?P<year>[0-4]\d){MONTH}{DAY}[-_]{HOUR}{MINUTE}(?:{SECOND})?(?![\d])"
        ),
    ),
)

# The comment of AudioMoth; its first firmware writes UTC without saying so.
COMMENT = re.compile(
    rf"Recorded at {HOUR}:{MINUTE}:{SECOND}(?:\.(?P<fraction>\d{{3}}))? {DAY}/{MONTH}/{YEAR}"
    r"(?P<zone> by AudioMoth| \(UTC(?:[-+](?:1[0-4]|\d)(?::[0-5]\d)?)?\))"
)
ISO = rf"{YEAR}-{MONTH}-{DAY}[T ]{HOUR}:{MINUTE}:{SECOND}(?:\.(?P<fraction>\d{{1,6}}))?"
ISO_ZONE = r" ?(?P<zone>Z|[-+](?:0\d|1[0-4]):?[0-5]\d)?"
# Chunks of a WAV file whose text gives the start time, and its pattern there.
CHUNKS = {
    b"LIST": COMMENT,
    b"guan": re.compile(rf"^Timestamp:\s*{ISO}{ISO_ZONE}", re.MULTILINE),  # guano-md.org
    b"wamd": re.compile(rf"{ISO}{ISO_ZONE}"),  # Wildlife Acoustics, wa_meta-1.0
    # EBU Tech 3285: OriginationDate and OriginationTime follow 320 bytes of texts.
    b"bext": re.compile(
        rf"\A.{{320}}{YEAR}[-_:. /]{MONTH}[-_:. /]{DAY}{HOUR}[-_:. /]{MINUTE}[-_:. /]{SECOND}",
        re.DOTALL,
    ),
}
# Metadata block of a FLAC file to which converters copy the comment of a WAV file.
FLAC_COMMENT = 4


def recording_start(
    path: str | os.PathLike[str], zone: tzinfo | None = None, recorder_zone: tzinfo | None = None
) -> datetime | None:
    """Return the start time of a recording, in `zone` if that is given; None if it is unknown.

    It has no zone if neither the recording nor the caller gives one.

    Parameters
    ----------
    path
        The recording; its header is read unless its name gives both time and zone.
    zone
        Time zone of the site.
    recorder_zone
        Time zone of clocks whose recorders do not store it; that of the site if not given.
    """
    named = _in_name(path)
    if named and named.zone:
        return _absolute_time(named, zone, recorder_zone)
    headed = _in_header(path)
    if named and headed:
        named = replace(named, zone=headed.zone)
    return _absolute_time(named or headed, zone, recorder_zone)


def start_from_name(
    path: str | os.PathLike[str], zone: tzinfo | None = None, recorder_zone: tzinfo | None = None
) -> datetime | None:
    """Return the start time of a recording by its file name; see `recording_start`."""
    return _absolute_time(_in_name(path), zone, recorder_zone)


def start_from_header(
    path: str | os.PathLike[str], zone: tzinfo | None = None, recorder_zone: tzinfo | None = None
) -> datetime | None:
    """Return the start time of a recording by its header; see `recording_start`.

    Some hundred bytes of a WAV, FLAC or Ogg file are read. For an unreadable file this is None;
    the error is reported when the file is decoded.
    """
    return _absolute_time(_in_header(path), zone, recorder_zone)


def time_zone(name: str) -> tzinfo:
    """Return a time zone: Europe/Berlin, UTC, an offset such as +02:00, or local.

    Raises
    ------
    UsageError
        If there is no time zone of that name.
    """
    if name.lower() == "local":
        name = _local_name()
    if name.upper() in ("UTC", "Z"):
        return UTC
    if match := re.fullmatch(r"(?:UTC)?([-+])([01]?\d|2[0-3])(?::?([0-5]\d))?", name):
        return _fixed(*match.groups())
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"unknown time zone {name!r}. {near(name, sorted(available_timezones()))} "
            "An offset such as +02:00 works as well."
        ) from None


@dataclass(frozen=True)
class _Reading:
    """A clock reading."""

    clock: datetime  # without a zone
    zone: tzinfo | None = None  # stored with the reading


def _absolute_time(
    reading: _Reading | None, zone: tzinfo | None, recorder_zone: tzinfo | None
) -> datetime | None:
    if reading is None:
        return None
    read_in = reading.zone or recorder_zone or zone
    if read_in is None:
        return reading.clock
    return reading.clock.replace(tzinfo=read_in).astimezone(UTC).astimezone(zone or read_in)


def _in_name(path: str | os.PathLike[str]) -> _Reading | None:
    name = os.path.basename(os.fspath(path))
    for pattern in PATTERNS:
        for match in pattern.name.finditer(name):
            if reading := _read(match):
                return reading
    return None


def _in_header(path: str | os.PathLike[str]) -> _Reading | None:
    if not os.path.isfile(path):  # a pipe would lose the bytes read here
        return None
    first: _Reading | None = None
    try:
        with open(path, "rb") as file:
            for pattern, text in _texts(file):
                match = pattern.search(text.decode("latin-1"))
                if match and (reading := _read(match)):
                    if reading.zone:
                        return reading
                    first = first or reading
    except Exception:  # of any file; what is wrong is reported when it is decoded
        pass
    return first


def _texts(file: BinaryIO) -> Iterator[tuple[re.Pattern[str], bytes]]:
    """Yield the texts of a header that may hold the start time, each with its pattern."""
    magic = file.read(12)
    if magic[:4] in (b"RIFF", b"RF64", b"BW64") and magic[8:] == b"WAVE":
        yield from _wav_texts(file)
    elif magic[:4] == b"fLaC":
        file.seek(4)
        yield from _flac_texts(file)
    elif magic[:4] == b"OggS":
        yield COMMENT, file.read(MAX_OGG_BYTES)


def _wav_texts(file: BinaryIO) -> Iterator[tuple[re.Pattern[str], bytes]]:
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        n_bytes = int.from_bytes(head[4:], "little")
        after = file.tell() + n_bytes + n_bytes % 2
        if pattern := CHUNKS.get(head[:4]):
            yield pattern, file.read(min(n_bytes, MAX_TEXT_BYTES))
        file.seek(after)


def _flac_texts(file: BinaryIO) -> Iterator[tuple[re.Pattern[str], bytes]]:
    for _ in range(MAX_CHUNKS):
        head = file.read(4)
        if len(head) < 4:
            return
        n_bytes = int.from_bytes(head[1:], "big")
        after = file.tell() + n_bytes
        if head[0] & 0x7F == FLAC_COMMENT:
            yield COMMENT, file.read(min(n_bytes, MAX_TEXT_BYTES))
        if head[0] & 0x80:  # the last block
            return
        file.seek(after)


def _read(match: re.Match[str]) -> _Reading | None:
    """Return the clock reading of a match; None if there is no such day."""
    part = match.groupdict()
    if part.get("unix"):
        return _Reading(
            datetime.fromtimestamp(int(part["unix"], 16), UTC).replace(tzinfo=None), UTC
        )
    year, month, day, hour, minute, second = (
        int(part[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    if half := part.get("half"):
        hour = hour % 12 + 12 * (half == "pm")
    microsecond = int((part.get("fraction") or "").ljust(6, "0"))
    try:
        clock = datetime(
            year if year >= 100 else 2000 + year, month, day, hour, minute, second, microsecond
        )
    except ValueError:
        return None
    return _Reading(clock, _zone_in(part.get("zone")))


def _zone_in(text: str | None) -> tzinfo | None:
    """Return the zone of a text such as ``UTC+2`` or ``Z``; None if there is no text."""
    if not text:
        return None
    match = re.search(r"([-+])(\d\d?):?(\d\d)?", text)
    return _fixed(*match.groups()) if match else UTC


def _fixed(sign: str, hours: str, minutes: str | None) -> tzinfo:
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return timezone(-offset if sign == "-" else offset)


def _local_name() -> str:
    """Return the name of the time zone of this machine."""
    name = os.environ.get("TZ", "").lstrip(":")
    name = name or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    if not name or name.startswith("/"):
        raise UsageError(
            "the time zone of this machine is not set: name one, such as Europe/Berlin"
        )
    return name
