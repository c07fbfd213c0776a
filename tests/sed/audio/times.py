"""Time zones of the tests."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")  # two hours ahead of UTC in May
PLUS_10 = timezone(timedelta(hours=10))


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
