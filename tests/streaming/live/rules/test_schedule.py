"""Times at which a rule is in force: on the clock, and by the sun."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from streaming.live.rules.schedule import Location, Schedule, parse_days, parse_span, sun_seconds

BERLIN = ZoneInfo("Europe/Berlin")
PLACE = Location(52.52, 13.40)


def at(text):
    """Return a local time in Berlin, as a `Listener` gives it: with a fixed offset."""
    return datetime.fromtimestamp(
        datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp(), BERLIN
    )


def schedule(*hours, days=("mon-sun",), location=PLACE):
    return Schedule(tuple(map(parse_span, hours)), parse_days(days), location)


def test_a_span_may_pass_midnight_and_belongs_to_the_day_on_which_it_starts():
    night = schedule("22:00 to 06:00", days=["fri"])  # 2026-11-27 is a Friday
    assert night.contains(at("2026-11-27T22:00:00"))
    assert night.contains(at("2026-11-28T05:59:59"))
    assert not night.contains(at("2026-11-28T06:00:00"))
    assert not night.contains(at("2026-11-27T05:00:00"))
    assert not night.contains(at("2026-11-28T23:00:00"))
    assert schedule("0:00-24:00").contains(at("2026-11-28T23:59:59"))


def test_days_wrap_around_the_week():
    assert parse_days(["sat-mon", "Wednesday"]) == {5, 6, 0, 2}
    assert not schedule(days=["sat-sun"]).contains(at("2026-11-27T12:00:00"))
    assert schedule(days=["sat-sun"]).contains(at("2026-11-28T12:00:00"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sunset-30 to sunrise", "expected hours as"),
        ("25:00 to 06:00", "there is no time 25:00"),
        ("12:60-13:00", "there is no time 12:60"),
        ("noon to 13:00", "expected hours as"),
    ],
)
def test_a_wrong_span_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_span(text)


def test_a_wrong_day_is_refused_with_a_near_one():
    with pytest.raises(ValueError, match=r"there is no day 'tus'\. Did you mean tue or thu"):
        parse_days(["tus"])


# On the two days in Berlin the clock shows each time of a span as often as it shows it.
@pytest.mark.parametrize(
    ("day", "n_minutes"), [("2026-03-29", 60), ("2026-10-25", 180), ("2026-06-01", 120)]
)
def test_on_days_of_clock_changes_the_clock_on_the_wall_counts(day, n_minutes):
    start = datetime.fromisoformat(day).replace(tzinfo=BERLIN).astimezone(UTC)
    moments = [(start + timedelta(minutes=n)).astimezone(BERLIN) for n in range(300)]
    span = schedule("01:00 to 03:00")
    assert sum(span.contains(moment) for moment in moments) == n_minutes


def test_the_sun_rises_and_sets_as_almanacs_say():
    pytest.importorskip("astral")
    summer, winter = timedelta(hours=2), timedelta(hours=1)
    # timeanddate.com for Berlin: 4:43 and 21:33 on 2026-06-21, 8:15 and 15:54 on 2026-12-21.
    for day, offset, rise, fall in (
        (date(2026, 6, 21), summer, 4 * 60 + 43, 21 * 60 + 33),
        (date(2026, 12, 21), winter, 8 * 60 + 15, 15 * 60 + 54),
    ):
        assert sun_seconds(PLACE, "sunrise", day, offset) / 60 == pytest.approx(rise, abs=2)
        assert sun_seconds(PLACE, "sunset", day, offset) / 60 == pytest.approx(fall, abs=2)
    night = schedule("sunset-30m to sunrise+1h")
    assert night.contains(at("2026-06-21T21:10:00"))
    assert night.contains(at("2026-06-21T05:30:00"))
    assert not night.contains(at("2026-06-21T20:50:00"))
    assert not night.contains(at("2026-06-21T06:00:00"))


def test_there_are_days_without_night_and_nights_without_day():
    pytest.importorskip("astral")
    tromso = Location(69.65, 18.96)
    day, night = (
        schedule("sunrise to sunset", location=tromso),
        schedule("sunset to sunrise", location=tromso),
    )
    summer = [datetime(2026, 6, 21, h, tzinfo=UTC) for h in range(24)]
    winter = [datetime(2026, 12, 21, h, tzinfo=UTC) for h in range(24)]
    assert all(day.contains(t) and not night.contains(t) for t in summer)
    assert all(night.contains(t) and not day.contains(t) for t in winter)
