"""The payload of an alert."""

from streaming.messages import ClipSaved, EventEnded, EventStarted, Problem
from streaming.sinks.alerts.payload import payload_of
from tests.streaming.sinks.alerts.examples import EVENT, GAP


def test_payloads_hold_the_known_values():
    onset = {
        "type": "onset",
        "label": "dog",
        "score": 0.875,
        "onset": 12.25,
        "offset": None,
        "duration": None,
        "time": "2026-11-21T13:15:00.250+01:00",
        "source": "garden",
        "clip": None,
    }
    assert payload_of(EventStarted(EVENT), waits_for_clip=False) == onset
    event = onset | {"type": "event", "offset": 13.5, "duration": 1.25}
    assert payload_of(EventEnded(EVENT), waits_for_clip=False) == event
    assert payload_of(EventEnded(EVENT), waits_for_clip=True) is None
    assert payload_of(ClipSaved(EVENT, "a.flac"), waits_for_clip=True) == event | {"clip": "a.flac"}
    assert payload_of(ClipSaved(EVENT, "a.flac"), waits_for_clip=False) is None
    assert payload_of(GAP, waits_for_clip=False) == {
        "type": "gap",
        "onset": 2.0,
        "offset": 3.0,
        "time": "2026-11-21T13:15:00.250+01:00",
        "source": "garden",
        "reason": "the driver lost some",
    }
    assert payload_of(Problem("x"), waits_for_clip=False) is None
