"""The payloads that alerts, JSON Lines and the API share, and their schema."""

import io
import json

import pytest

from sed.events.reading.events import read_events
from sed.events.tracker import Event
from streaming.messages import ClipSaved, EventEnded, EventStarted, Problem
from streaming.sinks.event_file import EventFileSink, EventStreamSink
from streaming.sinks.payload import SCHEMA, payload_of
from streaming.sinks.record.history import StoredEvent
from streaming.web.feed import row_json
from tests.conftest import ROOT
from tests.streaming.sinks.alerts.examples import EVENT, GAP, TIME

FILE = ROOT / "docs" / "event.schema.json"
# Sums of samples and hops have such rests.
ROUGH = Event(0.1 + 0.2, 15.100000000000001, "dog\udcff", 0.123456789, "mic", TIME)


@pytest.fixture(scope="module")
def validate():
    """Check a payload against the schema, with names that it does not have as an error."""
    jsonschema = pytest.importorskip("jsonschema")
    strict = json.loads(FILE.read_text())
    for each in strict["$defs"].values():
        each["additionalProperties"] = False
    kinds = jsonschema.Draft202012Validator
    kinds.check_schema(strict)
    return kinds(strict).validate


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
        "duration": 1.0,
        "n_samples": 16_000,
        "time": "2026-11-21T13:15:00.250+01:00",
        "source": "garden",
        "reason": "the driver lost some",
    }
    assert payload_of(Problem("x"), waits_for_clip=False) is None


def test_numbers_are_rounded_and_text_is_utf_8():
    payload = payload_of(EventEnded(ROUGH), waits_for_clip=False)
    numbers = {name: payload[name] for name in ("onset", "offset", "duration", "score")}
    assert numbers == {"onset": 0.3, "offset": 15.1, "duration": 14.8, "score": 0.1235}
    assert payload["label"] == r"dog\xff"


def test_the_file_of_the_documentation_is_this_schema():
    assert json.loads(FILE.read_text()) == SCHEMA


def test_alerts_send_what_the_schema_says(validate):
    for event in (EVENT, ROUGH):
        for message in (EventStarted(event), EventEnded(event), ClipSaved(event, "a.flac"), GAP):
            for waits_for_clip in (False, True):
                if payload := payload_of(message, waits_for_clip=waits_for_clip):
                    validate(json.loads(json.dumps(payload)))


@pytest.mark.parametrize("species", [{}, {"dog": ("Canis familiaris", "Dog")}])
def test_json_lines_are_what_the_schema_says(validate, species):
    out = io.StringIO()
    sink = EventStreamSink(out, "jsonl", species=species)
    for message in (EventStarted(EVENT), EventEnded(EVENT), GAP, EventEnded(ROUGH)):
        sink.handle(message)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["type"] for line in lines] == ["event", "gap", "event"]
    for line in lines:
        validate(line)
    assert lines[0].get("common_name") == ("Dog" if species else None)


def test_the_api_returns_what_the_schema_says(validate):
    row = StoredEvent(7, 2, "mic", "dog", 0.1 + 0.2, 1.0, 0.98765, "2026-11-21T13:15:00.250+01:00",
                      TIME.timestamp(), None, None)  # fmt: skip
    validate(event := row_json(row))
    assert (event["onset"], event["duration"], event["score"]) == (0.3, 0.7, 0.9877)
    assert event["clip"] is None
    assert row_json(row._replace(clip_path="/clips/dog.flac"))["clip"] == "/clips/7"
    validate(row_json(row._replace(clip_path="/clips/dog.flac", verdict="wrong")))


def test_what_is_no_payload_is_not_valid(validate):
    jsonschema = pytest.importorskip("jsonschema")
    payload = payload_of(EventEnded(EVENT), waits_for_clip=False)
    for wrong in ({"score": 1.5}, {"offset": None}, {"type": "start"}, {"samples": 3}):
        with pytest.raises(jsonschema.ValidationError):
            validate(payload | wrong)


def test_lines_of_this_and_earlier_releases_are_read_from_one_file(tmp_path):
    path = tmp_path / "events.jsonl"
    time = "2026-11-21T13:15:00.250+01:00"
    earlier = {"onset": 1.0, "offset": 2.0, "label": "cat", "score": 0.5, "time": time}
    lines = [{"file": "mic"} | earlier, {"file": "mic", "onset": 2.0, "offset": 3.0, "gap": "away"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sink = EventFileSink(path)
    for message in (EventEnded(EVENT), GAP):
        sink.handle(message)
    assert list(sink.close()) == []
    assert read_events(path, "jsonl") == [
        Event(1.0, 2.0, "cat", 0.5, "mic", TIME),
        Event(12.25, 13.5, "dog", 0.875, "garden", TIME),
    ]
