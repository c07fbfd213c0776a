"""Build the payloads that alerts, JSON Lines and the web API share, and describe them by a schema.

``docs/event.schema.json`` is `SCHEMA`. Within a version names are only added; one that is changed
or taken away is a new version.
"""

from __future__ import annotations

from typing import Any, Literal

from sed.events.tracker import Event
from sed.text import iso_time, to_utf8
from streaming.messages import ClipSaved, EventEnded, EventStarted, Gap, Message

Payload = dict[str, str | float | None]

VERSION = 1  # of the schema
TIME_DECIMALS = 3
SCORE_DECIMALS = 4


def payload_of(message: Message, *, waits_for_clip: bool) -> Payload | None:
    """Return the payload of a message, or None if the message has none.

    An event has two: ``"type": "onset"`` when it starts, without offset and clip and with the
    score so far; and ``"type": "event"`` when it is complete.

    Parameters
    ----------
    message
        What happened.
    waits_for_clip
        Whether an event is complete with its `ClipSaved` instead of its `EventEnded`.
    """
    match message:
        case EventStarted(event):
            return event_payload(event, "onset") | {"clip": None}
        case EventEnded(event) if not waits_for_clip:
            return event_payload(event) | {"clip": None}
        case ClipSaved(event, path) if waits_for_clip:
            return event_payload(event) | {"clip": None if path is None else to_utf8(path)}
        case Gap():
            return gap_payload(message)
    return None


def event_payload(event: Event, type: Literal["onset", "event"] = "event") -> Payload:
    """Return the payload of an event, without its clip.

    Times are seconds on the clock of the samples, with milliseconds, and scores have four decimals;
    ``time`` is the onset in ISO 8601. At an onset, the offset and the duration are None.
    """
    is_complete = type == "event"
    return {
        "type": type,
        "label": to_utf8(event.label),
        "score": round(event.score, SCORE_DECIMALS),
        "onset": round(event.onset, TIME_DECIMALS),
        "offset": round(event.offset, TIME_DECIMALS) if is_complete else None,
        "duration": round(event.offset - event.onset, TIME_DECIMALS) if is_complete else None,
        "time": iso_time(event.time) or None,
        "source": to_utf8(event.file),
    }


def gap_payload(gap: Gap) -> Payload:
    """Return the payload of lost sound."""
    return {
        "type": "gap",
        "onset": round(gap.onset, TIME_DECIMALS),
        "offset": round(gap.offset, TIME_DECIMALS),
        "duration": round(gap.offset - gap.onset, TIME_DECIMALS),
        "n_samples": gap.n_samples,
        "time": iso_time(gap.time),
        "source": to_utf8(gap.source),
        "reason": to_utf8(gap.reason),
    }


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description} | more


def _number(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "description": description} | more


def _always(value: None | str) -> dict[str, Any]:
    return {"type": "null"} if value is None else {"const": value}


def _object(description: str, required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "properties": required | optional,
    }


_LABEL = {
    "label": _text("The class."),
    "score": _number("Highest probability of the class, with four decimals.", maximum=1),
}
_ONSET = {"onset": _number("Start in seconds since the session started, with milliseconds.")}
_OFFSET = {
    "offset": _number("End in seconds since the session started, with milliseconds."),
    "duration": _number("Seconds from onset to offset, with milliseconds."),
}
_TIME = {
    "time": _text("Time of day of the onset: ISO 8601 with UTC offset.", format="date-time"),
    "source": _text("Name of the input."),
}
_CLIP = _text("Where the sound is: path of a file, or of an address of the API; null if nowhere.")
_NAMES = {
    "scientific_name": _text("Of a class that is a species; JSON Lines."),
    "common_name": _text("Of a class that is a species; JSON Lines."),
}
_STORED = {
    "id": {"type": "integer", "minimum": 1, "description": "In the database; API. Ids only grow."},
    "session_id": {"type": "integer", "minimum": 1, "description": "Of the session; API."},
    "unix_time": _number("The onset in seconds since 1970; API.", minimum=-(2**63)),
    "verdict": {
        "enum": ["right", "wrong", None],
        "description": "What a person says about the event; API. null if it is not marked.",
    },
}
ONSET_SCHEMA = _object(
    "An event has started, and still lasts. Its score may rise.",
    {"type": _always("onset")}
    | _LABEL
    | _ONSET
    | {"offset": _always(None), "duration": _always(None)}
    | _TIME,
    {"clip": _always(None)},
)
EVENT_SCHEMA = _object(
    "An event is complete.",
    {"type": _always("event")} | _LABEL | _ONSET | _OFFSET | _TIME,
    {"clip": _CLIP | {"type": ["string", "null"]}} | _NAMES | _STORED,
)
GAP_SCHEMA = _object(
    "Sound was lost.",
    {"type": _always("gap")}
    | _ONSET
    | _OFFSET
    | {"n_samples": {"type": "integer", "minimum": 0, "description": "0 if it is not known."}}
    | _TIME
    | {"reason": _text("Why.")},
    {},
)
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": f"urn:sed-engine:event:{VERSION}",
    "title": f"What sed listen sends, version {VERSION}",
    "description": "Names may be added; one that is changed or taken away is a new version.",
    "oneOf": [{"$ref": f"#/$defs/{name}"} for name in ("onset", "event", "gap")],
    "$defs": {"onset": ONSET_SCHEMA, "event": EVENT_SCHEMA, "gap": GAP_SCHEMA},
}
