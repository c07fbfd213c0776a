"""The start of a recording, from the name of its file."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.audio.start_time import PATTERNS, start_from_name
from sed.events.timestamps import with_timestamps
from sed.events.tracker import Event
from tests.sed.audio.times import BERLIN, PLUS_10, utc

# Names with a zone.
ABSOLUTE = {
    "5AFCBD7E.WAV": "2018-05-16T23:23:42",
    "5E90A4D4.WAV": "2020-04-10T16:54:44",
    "5E90A4D4.flac": "2020-04-10T16:54:44",
    "5A123456.flac": "2017-11-20T01:48:06",
    "59876543.WAV": "2017-08-06T18:51:47",
    "SwiftOne_20220719_000000_-0400.wav": "2022-07-19T04:00:00",
    "S1056_20240501_053000Z.wav": "2024-05-01T05:30:00",
    "S1056_20240501T053000+0200.wav": "2024-05-01T03:30:00",
    "S1056_20240501T053000-0330.wav": "2024-05-01T09:00:00",
    "SM304_0+1_20240501_053000_+0100_.wav": "2024-05-01T04:30:00",
    "20240501T053000+1000_REC_[-27.3888+152.8808].flac": "2024-04-30T19:30:00",
    "20240501T053000+1000_Site_-12.345+127.789.flac": "2024-04-30T19:30:00",
    "20170625T102105Z_SiteName_123456.flac": "2017-06-25T10:21:05",
    "20170625T102105.123456+0930.wav": "2017-06-25T00:51:05.123456",
    "AMAR173.20150823T174530Z.wav": "2015-08-23T17:45:30",
    "bugg_2024-05-01T05_30_00.125Z.mp3": "2024-05-01T05:30:00.125",
    "2024-05-01T05:30:00+00:00.wav": "2024-05-01T05:30:00",
    "2020-05-20-21-30-00-UTC.wav": "2020-05-20T21:30:00",
    "WURB1_20180908T231245+0200_N57.6627E12.6393_TE384.wav": "2018-09-08T21:12:45",
    "20261121T121500.250Z_siren_garden.flac": "2026-11-21T12:15:00.250",
}


# Names of recorders set to local time.
LOCAL = {
    "20240501_053000.WAV": "2024-05-01T05:30:00",
    "20240501_053000T.WAV": "2024-05-01T05:30:00",
    "20240501_053000_250.WAV": "2024-05-01T05:30:00.250",
    "20240501_053000_SYNC.WAV": "2024-05-01T05:30:00",
    "24E144085F256A1C_20240501_053000.WAV": "2024-05-01T05:30:00",
    "20240501_053000.flac": "2024-05-01T05:30:00",
    "240501_0530.mp3": "2024-05-01T05:30:00",
    "REC_240501-053012.wav": "2024-05-01T05:30:12",
    "SM2A_20240501_053000.wav": "2024-05-01T05:30:00",
    "S4A02641_0+1_20240501_053000.wav": "2024-05-01T05:30:00",
    "SBT-6-76-18_0+1_0_20160621_080000.wav": "2016-06-21T08:00:00",
    "ARIZONA-1_20161023$195550.wav": "2016-10-23T19:55:50",
    "2MM04797_20241127_155140.wav": "2024-11-27T15:51:40",
    "MIC7_20240501_053000_123456.wav": "2024-05-01T05:30:00.123456",
    "PAM_20171108_094819_000.wav": "2017-11-08T09:48:19",
    "PAM_20171108_094819_875.wav": "2017-11-08T09:48:19.875",
    "5678.240501053000.wav": "2024-05-01T05:30:00",
    "1677738025.180912073628.d24.d8.wav": "2018-09-12T07:36:28",
    "SanctSound_SB01_01_1678032935_181112190000.wav": "2018-11-12T19:00:00",
    "SanctSound_SB01_15_67403784_20210324_223239.wav": "2021-03-24T22:32:39",
    "AMAR.Chan_1-24bps.1277236867.2010-06-22-20-01-07.wav": "2010-06-22T20:01:07",
    "OO-HYEA2--YDH-2016-01-07T142750.968688.flac": "2016-01-07T14:27:50.968688",
    "55063_2024-11-27_T16-47-33.wav": "2024-11-27T16:47:33",
    "solo_2024-05-01_05-30-00.wav": "2024-05-01T05:30:00",
    "2024-05-01 05.30.00.wav": "2024-05-01T05:30:00",
    "site9_20240501053000.wav": "2024-05-01T05:30:00",
    "20240501-053000.wav": "2024-05-01T05:30:00",
    "20240501_053000-0100.wav": "2024-05-01T05:30:00",  # a number, not a zone
    "2024-05-01-birdnet-05:30:00.wav": "2024-05-01T05:30:00",
    "2024-05-01-birdnet-RTSP_1-05:30:00.wav": "2024-05-01T05:30:00",
    "2024-05-01-birdnet-05:30:00pm.wav": "2024-05-01T17:30:00",
    "2024-05-01-birdnet-12:30:00am.wav": "2024-05-01T00:30:00",
}


NO_TIME = [
    "dawn.wav",
    "",
    "-",
    "20240501.wav",
    "67403784.wav",  # a serial number, or that of a recording of a Batlogger
    "10160435.wav",
    "10160435.WAV",
    "1-77160-A-3.ogg",
    "XC123456.mp3",
    "ZOOM0001.WAV",
    "240501_2512.wav",
    "5678.240501_0530.wav",
    "20241301_053000.WAV",
    "20240532_053000.WAV",
    "20240230_053000.WAV",
    "20240501_253000.WAV",
    "20240501_056000.WAV",
    "19700101_000012.WAV",  # a clock that was never set
    "120240501_053000.wav",
    "20240501_0530001.wav",
    "5AFCBD7EA.WAV",
    "5678.249901053000.wav",
]


@pytest.mark.parametrize("name", ABSOLUTE)
def test_a_name_with_a_zone_is_a_moment(name):
    assert start_from_name(f"card 1/20190101_000000/{name}") == utc(ABSOLUTE[name])


@pytest.mark.parametrize("name", LOCAL)
def test_a_name_without_a_zone_is_a_moment_where_the_zone_is_known(name):
    expected = datetime.fromisoformat(LOCAL[name])
    assert start_from_name(name) == expected
    assert start_from_name(name, UTC) == expected.replace(tzinfo=UTC)
    start = start_from_name(name, BERLIN)
    assert start == expected.replace(tzinfo=BERLIN)
    assert start.replace(tzinfo=None) == expected


@pytest.mark.parametrize("name", NO_TIME)
def test_a_name_without_a_date_has_no_time(name):
    assert start_from_name(name, BERLIN) is None


def test_every_pattern_has_an_example_and_a_source():
    for name in [*ABSOLUTE, *LOCAL]:
        assert any(pattern.name.search(name) for pattern in PATTERNS), name
    for pattern in PATTERNS:
        assert pattern.source
        assert any(pattern.name.search(name) for name in [*ABSOLUTE, *LOCAL]), pattern.recorders


def test_the_zone_of_the_site_applies_to_clocks_without_one_and_shows_all_times():
    text = start_from_name("S1056_20240501_053000Z.wav", BERLIN)
    assert text.isoformat() == "2024-05-01T07:30:00+02:00"
    assert start_from_name("20240501_053000.WAV").isoformat() == "2024-05-01T05:30:00"
    assert start_from_name("20240501_053000.WAV", BERLIN).isoformat() == "2024-05-01T05:30:00+02:00"
    assert start_from_name("5AFCBD7E.WAV", BERLIN).isoformat() == "2018-05-17T01:23:42+02:00"


whole_seconds = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(
    lambda time: time.replace(microsecond=0)
)
quarter_hours = st.integers(-14 * 4, 14 * 4).map(lambda n: timezone(timedelta(minutes=15 * n)))
PREFIXES = st.from_regex(r"[A-Z][A-Za-z]{0,5}[0-9]{0,8}(-[A-Z]+)?_(0\+1_)?", fullmatch=True)
ZONELESS = [
    "{prefix}%Y%m%d_%H%M%S.wav",
    "{prefix}%Y%m%d$%H%M%S.wav",
    "{prefix}%Y%m%d-%H%M%S.wav",
    "{prefix}%Y%m%d%H%M%S.wav",
    "{prefix}%Y-%m-%d_%H-%M-%S.wav",
    "{prefix}%Y-%m-%dT%H%M%S.wav",
    "{prefix}%Y-%m-%d_T%H-%M-%S.wav",
    "{prefix}%Y%m%d_%H%M%S_000.wav",
    "{prefix}%Y%m%dT%H%M%S_more_12.flac",
    "{prefix}%Y-%m-%d-birdnet-%H:%M:%S.wav",
    "{prefix}%Y-%m-%d-birdnet-%I:%M:%S%p.wav",
    "5678.%y%m%d%H%M%S.wav",
]


@given(whole_seconds, PREFIXES, st.sampled_from(ZONELESS))
def test_any_time_comes_back_from_any_pattern(time, prefix, pattern):
    name = time.strftime(pattern.format(prefix=prefix)).replace("AM.", "am.").replace("PM.", "pm.")
    assert start_from_name(name, PLUS_10) == time.replace(tzinfo=PLUS_10)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=quarter_hours),
    PREFIXES,
    st.sampled_from(["%Y%m%dT%H%M%S", "%Y-%m-%dT%H:%M:%S", "%Y%m%d_%H%M%S"]),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
)
def test_any_time_with_a_zone_comes_back(time, prefix, pattern, timespec):
    time = datetime.fromisoformat(time.isoformat(timespec=timespec))
    fraction = time.isoformat(timespec=timespec).partition(".")[2][:-6]
    zone = "" if "T" in pattern else "_"
    name = f"{prefix}{time:{pattern}}{'.' * bool(fraction)}{fraction}{zone}{time:%z}.wav"
    assert start_from_name(name, BERLIN) == time


@given(st.integers(0x57000000, 0x6FFFFFFF))
def test_any_seconds_since_1970_come_back(seconds):
    assert start_from_name(f"{seconds:08X}.WAV").timestamp() == seconds


@given(st.text(max_size=40))
def test_any_name_at_all_is_read_without_an_error(name):
    time = start_from_name(name, BERLIN)
    assert time is None or time.tzinfo is BERLIN


def test_a_clock_that_is_set_back_shows_an_hour_twice_and_the_first_is_meant():
    start = start_from_name("SM4_20241027_023000.wav", BERLIN)
    assert start.astimezone(UTC) == utc("2024-10-27T00:30:00")
    assert start.isoformat() == "2024-10-27T02:30:00+02:00"


def test_a_time_in_the_hour_that_is_skipped_is_read_as_if_no_clock_had_been_changed():
    start = start_from_name("SM4_20240331_023000.wav", BERLIN)
    assert start == utc("2024-03-31T01:30:00")
    assert start.isoformat() == "2024-03-31T03:30:00+02:00"


def test_the_calendar_of_events_follows_absolute_time_when_the_clocks_change():
    events = [Event(onset, onset + 1, "owl", 0.5, "x") for onset in (0.0, 1800.25, 5400.0)]
    autumn = with_timestamps(events, start_from_name("SM4_20241027_023000.wav", BERLIN))
    assert [event.time.isoformat() for event in autumn] == [
        "2024-10-27T02:30:00+02:00",
        "2024-10-27T02:00:00.250000+01:00",
        "2024-10-27T03:00:00+01:00",
    ]
    assert [event.time for event in autumn] == [
        utc("2024-10-27T00:30:00"),
        utc("2024-10-27T01:00:00.250"),
        utc("2024-10-27T02:00:00"),
    ]
    spring = with_timestamps(events, start_from_name("SM4_20240331_013000.wav", BERLIN))
    assert [event.time.isoformat() for event in spring] == [
        "2024-03-31T01:30:00+01:00",
        "2024-03-31T03:00:00.250000+02:00",
        "2024-03-31T04:00:00+02:00",
    ]
    assert [(e.onset, e.offset, e.label, e.score, e.file) for e in spring] == [
        (e.onset, e.offset, e.label, e.score, e.file) for e in events
    ]


def test_without_a_start_events_have_no_time():
    assert with_timestamps([Event(0.0, 1.0, "owl", 0.5)], None) == [Event(0.0, 1.0, "owl", 0.5)]
