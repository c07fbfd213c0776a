"""Build the messages of alerts, and read the problems that they report."""

from datetime import datetime, timedelta, timezone

from sed.events.tracker import Event
from streaming.messages import Gap, Problem

TIME = datetime(2026, 11, 21, 13, 15, 0, 250_000, timezone(timedelta(hours=1)))
EVENT = Event(12.25, 13.5, "dog", 0.875, "garden", TIME)
GAP = Gap("garden", 2.0, 3.0, 16_000, "the driver lost some", TIME)


def labelled(label):
    return Event(1.0, 2.0, label, 0.5, "mic", TIME)


def texts(messages):
    assert all(isinstance(message, Problem) for message in messages)
    return [message.text for message in messages]
