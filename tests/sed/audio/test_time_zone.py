"""Time zones by name, by offset, and of this machine."""

import os
import pickle
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sed.audio.start_time import time_zone
from sed.errors import UsageError


@pytest.mark.parametrize(
    ("name", "minutes"),
    [
        ("UTC", 0),
        ("utc", 0),
        ("Z", 0),
        ("+02:00", 120),
        ("-0330", -210),
        ("UTC+5:45", 345),
        ("-11", -660),
        ("Europe/Berlin", 60),
        ("Etc/GMT+3", -180),
    ],
)
def test_a_zone_is_a_name_or_an_offset(name, minutes):
    offset = datetime(2024, 1, 1, tzinfo=time_zone(name)).utcoffset()
    assert offset == timedelta(minutes=minutes)


@pytest.mark.parametrize("name", ["Berlin", "Europe/Berlim", "europe/berlin"])
def test_an_unknown_zone_lists_near_ones(name):
    with pytest.raises(UsageError) as error:
        time_zone(name)
    assert str(error.value).startswith(f"unknown time zone {name!r}. Did you mean ")
    assert "Europe/Berlin" in str(error.value)
    assert str(error.value).endswith("An offset such as +02:00 works as well.")


@pytest.mark.parametrize("name", ["", "Europe", "../etc/passwd", "/etc/localtime", "+25:00", "\0"])
def test_an_invalid_zone_is_misuse(name):
    with pytest.raises(UsageError, match="unknown time zone"):
        time_zone(name)


def test_local_is_the_zone_of_this_machine(monkeypatch):
    monkeypatch.setenv("TZ", ":America/Bogota")
    zone = time_zone("local")
    assert zone == ZoneInfo("America/Bogota")
    assert pickle.loads(pickle.dumps(zone)) is zone  # workers get it too
    monkeypatch.delenv("TZ")
    monkeypatch.setattr(os.path, "realpath", lambda _: "/usr/share/zoneinfo/Asia/Tokyo")
    assert time_zone("local") == ZoneInfo("Asia/Tokyo")
    monkeypatch.setattr(os.path, "realpath", lambda _: "/etc/localtime")
    with pytest.raises(UsageError, match="is not set: name one, such as Europe/Berlin"):
        time_zone("local")
