"""The start of a recording, from the header of its file."""

import os
import struct
from datetime import UTC, datetime

import numpy as np
import pytest
import soundfile

from sed.audio.start_time import recording_start, start_from_header, start_from_name
from tests.sed.audio.times import BERLIN, PLUS_10, utc


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def wav(path, *chunks, sound=b"\1\2" * 500):
    """Write a WAV file: chunks before the sound, None, chunks after it."""
    before = chunks[: chunks.index(None)] if None in chunks else chunks
    after = chunks[len(before) + 1 :]
    body = b"WAVE" + chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))
    body += b"".join(before) + chunk(b"data", sound) + b"".join(after)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def comment(text):
    return chunk(b"LIST", b"INFO" + chunk(b"ICMT", text.encode().ljust(384, b"\0")))


def guano(timestamp):
    text = f"GUANO|Version: 1.0\nMake: BATLOGGER\nSerial: 1001\n{timestamp}\nLength: 7.02\n"
    return chunk(b"guan", text.encode())


AUDIOMOTH = "Recorded at {} by AudioMoth 249BC3055C02FE06 at medium gain while battery was 4.5V."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("05:30:00 01/05/2024 (UTC)", "2024-05-01T05:30:00+00:00"),
        ("05:30:00 01/05/2024 (UTC+2)", "2024-05-01T05:30:00+02:00"),
        ("05:30:00 01/05/2024 (UTC-11)", "2024-05-01T05:30:00-11:00"),
        ("05:30:00 01/05/2024 (UTC+5:30)", "2024-05-01T05:30:00+05:30"),
        ("05:30:00 01/05/2024 (UTC-0:30)", "2024-05-01T05:30:00-00:30"),
        ("05:30:00.250 01/05/2024 (UTC)", "2024-05-01T05:30:00.250000+00:00"),
        ("05:30:00 01/05/2024", "2024-05-01T05:30:00+00:00"),
    ],
)
def test_the_comment_of_an_audiomoth_is_a_moment(tmp_path, text, expected):
    path = wav(tmp_path / "renamed.wav", comment(AUDIOMOTH.format(text)))
    assert start_from_header(path).isoformat() == expected
    assert recording_start(path).isoformat() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Timestamp: 2024-05-01T05:30:00+02:00", "2024-05-01T05:30:00+02:00"),
        ("Timestamp:2024-05-01 05:30:00.5Z", "2024-05-01T05:30:00.500000+00:00"),
        ("Timestamp: 2019-01-21T22:14:29", "2019-01-21T22:14:29+01:00"),
        ("Timestamp: 2019-01-21T22:14:29\nZone: 29", "2019-01-21T22:14:29+01:00"),
    ],
)
def test_guano_is_found_behind_the_sound(tmp_path, text, expected):
    path = wav(tmp_path / "10010003.wav", None, guano(text), sound=b"x" * 999)
    in_utc = datetime.fromisoformat(expected).astimezone(UTC)
    assert recording_start(path, BERLIN) == in_utc
    has_zone = not text.endswith("29")
    assert recording_start(path) == (in_utc if has_zone else datetime(2019, 1, 21, 22, 14, 29))
    assert not has_zone or start_from_header(path).isoformat() == expected


def test_the_metadata_of_wildlife_acoustics_are_read(tmp_path):
    fields = struct.pack("<HIH", 0, 2, 1) + struct.pack("<HI", 5, 25) + b"2014-04-02 22:59:14-05:00"
    path = wav(tmp_path / "a.wav", chunk(b"wamd", fields))
    assert start_from_header(path).isoformat() == "2014-04-02T22:59:14-05:00"


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg"])
def test_the_comment_is_found_where_converters_put_it(tmp_path, extension):
    path = tmp_path / f"dawn.{extension}"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        file.title = "dawn"
        file.comment = AUDIOMOTH.format("05:30:00 01/05/2024 (UTC+2)")
        file.write(np.zeros(8_000))
    assert start_from_header(path).isoformat() == "2024-05-01T05:30:00+02:00"


def test_the_header_has_the_zone_and_the_name_has_the_time(tmp_path):
    header = comment(AUDIOMOTH.format("05:30:00 01/05/2024 (UTC+2)"))
    original = wav(tmp_path / "20240501_053000.WAV", header)
    piece = wav(tmp_path / "20240501_053500.WAV", header)
    renamed = wav(tmp_path / "20240501T053000+1000_REC.wav", header)
    assert recording_start(original) == utc("2024-05-01T03:30:00")
    assert recording_start(piece) == utc("2024-05-01T03:35:00")
    assert recording_start(piece, BERLIN).isoformat() == "2024-05-01T05:35:00+02:00"
    assert recording_start(piece, PLUS_10) == utc("2024-05-01T03:35:00")
    assert recording_start(renamed) == utc("2024-04-30T19:30:00")


def test_a_song_meter_has_its_offset_in_guano(tmp_path):
    path = wav(tmp_path / "SM4_20240501_053000.wav", guano("Timestamp: 2024-05-01T05:30:00-04:00"))
    assert start_from_name(path) == datetime(2024, 5, 1, 5, 30)
    assert recording_start(path) == utc("2024-05-01T09:30:00")


def test_a_header_without_a_zone_leaves_it_to_the_caller(tmp_path):
    path = wav(tmp_path / "SM4_20240501_053000.wav", guano("Timestamp: 2024-05-01T05:30:01"))
    assert recording_start(path) == datetime(2024, 5, 1, 5, 30)
    assert recording_start(path, BERLIN) == utc("2024-05-01T03:30:00")


def test_broadcast_wave_has_a_date_without_a_zone(tmp_path):
    texts = b"x" * 320
    path = wav(
        tmp_path / "take1.wav", chunk(b"bext", texts + b"2024:05:01" + b"05-30-07" + bytes(8))
    )
    assert recording_start(path) == datetime(2024, 5, 1, 5, 30, 7)
    assert recording_start(path, BERLIN) == utc("2024-05-01T03:30:07")
    with_zone = guano("Timestamp: 2024-05-01T05:30:00-04:00")
    path = wav(
        tmp_path / "take2.wav", chunk(b"bext", texts + b"2024-05-01" + b"05:30:07"), with_zone
    )
    assert recording_start(path) == utc("2024-05-01T09:30:00")


def test_a_clock_in_utc_is_shown_in_the_time_of_the_place(tmp_path):
    for name, expected in (
        ("20240330_233000.WAV", "2024-03-31T00:30:00+01:00"),
        ("20240331_013000.WAV", "2024-03-31T03:30:00+02:00"),  # an hour is skipped at 1:00 UTC
        ("20241027_003000.WAV", "2024-10-27T02:30:00+02:00"),
        ("20241027_013000.WAV", "2024-10-27T02:30:00+01:00"),  # an hour occurs twice
    ):
        assert recording_start(tmp_path / name, BERLIN, UTC).isoformat() == expected
    assert recording_start(tmp_path / name, None, UTC).isoformat() == "2024-10-27T01:30:00+00:00"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff\1\2\3",
        b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xffINFO",
        b"RIFF\0\0\0\0WAVE" + bytes(100_000),
        b"fLaC",
        b"fLaC\0\xff\xff\xff",
        b"fLaC" + bytes(100_000),
        b"RIFF\0\0\0\0WAVE" + comment(AUDIOMOTH.format("05:30:00 31/02/2024 (UTC)")),
        b"RIFF\0\0\0\0WAVE" + comment(AUDIOMOTH.format("05:30:00 01/05/2024 (UTC+99)")),
        b"RIFF\0\0\0\0WAVE" + guano("Timestamp: 2024-13-01T05:30:00Z"),
        os.urandom(1000),
    ],
)
def test_a_header_without_a_time_is_no_error(tmp_path, content):
    path = tmp_path / "dawn.wav"
    path.write_bytes(content)
    assert start_from_header(path, BERLIN) is None


def test_a_path_that_is_not_a_regular_file_is_not_opened(tmp_path):
    pipe = tmp_path / "20240501_053000.WAV"
    os.mkfifo(pipe)
    assert recording_start(pipe) == datetime(2024, 5, 1, 5, 30)
    assert start_from_header(tmp_path) is None
    assert recording_start(tmp_path / "gone" / "dawn.wav") is None
    assert recording_start("-", BERLIN) is None
