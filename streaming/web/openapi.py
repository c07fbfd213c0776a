"""Describe the routes of the web view in OpenAPI 3.1. A test compares both."""

from __future__ import annotations

from typing import Any

from streaming.sinks.payload import EVENT_SCHEMA, VERSION

Json = dict[str, Any]
_ERROR = {"$ref": "#/components/responses/Error"}
_EVENT = {"$ref": "#/components/schemas/Event"}
# Of events in the API, besides what every payload has.
_ALWAYS = ["clip", "id", "session_id", "unix_time", "verdict"]


def _parameter(name: str, schema: Json, description: str, *, several: bool = False) -> Json:
    if several:
        schema = {"type": "array", "items": schema, "maxItems": 200}
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _number(least: int, most: int, default: int | None = None) -> Json:
    schema: Json = {"type": "integer", "minimum": least, "maximum": most}
    return schema if default is None else schema | {"default": default}


_TEXT: Json = {"type": "string"}
_DAY: Json = {"type": "string", "format": "date"}
_LABEL = _parameter("label", _TEXT, "Only this class.", several=True)
_KIND = _parameter("kind", _TEXT, "Only this kind or class, with all below it.", several=True)
_SOURCE = _parameter("source", _TEXT, "Only this input.", several=True)
_SCORE = _parameter(
    "min_score", {"type": "number", "minimum": 0, "maximum": 1}, "Only this score or a higher one."
)
_MOMENT = "A day, or a time in ISO 8601, which is local unless it has a UTC offset."
_EVENTS_PARAMETERS = [
    _LABEL,
    _KIND,
    _SOURCE,
    _parameter("from", _TEXT, f"Only onsets from then on. {_MOMENT}"),
    _parameter("to", _TEXT, f"Only onsets before, or on this day. {_MOMENT}"),
    _SCORE,
    _parameter("limit", _number(1, 1_000, 100), "How many events at most."),
    _parameter("after", _number(0, 2**63 - 1), "Events that were stored after the one of this id."),
    _parameter("before", _number(0, 2**63 - 1), "The latest with onsets before that of this id."),
]
_HISTORY_PARAMETERS = [
    _parameter("hours", _number(1, 744, 24), "How many hours, up to the current one."),
    _parameter("day", _DAY, "The hours of this day instead."),
    _SOURCE,
]
_DAY_PARAMETER = _parameter("day", _DAY, "The day.") | {"required": True}
_FORMAT = {
    "name": "format",
    "in": "path",
    "required": True,
    "schema": {"enum": ["csv", "raven", "clips"]},
}
_ID = {"name": "id", "in": "path", "required": True, "schema": _number(1, 2**63 - 1)}


def _object(properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _map(values: Json) -> Json:
    return {"type": "object", "additionalProperties": values}


def _operation(
    summary: str, content: Json, *parameters: Json, body: Json | None = None, **statuses: str
) -> Json:
    """Return an operation; errors have the schema of all errors."""
    codes = {name.removeprefix("status_"): text for name, text in statuses.items()}
    found: Json = {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {"200": {"description": "Done.", "content": content}}
        | {code: _ERROR | {"description": text} for code, text in codes.items()}
        | {"400": _ERROR, "401": _ERROR},
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": _json(body)}
    return found


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _binary(*media_types: str) -> Json:
    return {name: {"schema": {"type": "string", "format": "binary"}} for name in media_types}


_GONE = "There is no such event."
_BROKEN = "The database cannot be read or written."
OPENAPI: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "sed listen",
        "version": str(VERSION),
        "description": "Live sound events. Names may be added to a version, never changed.",
    },
    "security": [{}, {"bearer": []}, {"token": []}],
    "paths": {
        "/events": {
            "get": _operation(
                "Events, oldest first.",
                _json(_object({"events": _list(_EVENT)})),
                *_EVENTS_PARAMETERS,
                status_503=_BROKEN,
            )
        },
        "/events/{id}": {
            "delete": _operation(
                "Delete an event and its clip.",
                _json(_object({"id": {"type": "integer"}})),
                _ID,
                status_403="A page of another site sent this.",
                status_404=_GONE,
                status_503=_BROKEN,
            )
        },
        "/events/{id}/verdict": {
            "post": _operation(
                "Mark an event as right or wrong, or take the mark away.",
                _json(_object({"event": _EVENT})),
                _ID,
                body=_object({"verdict": {"enum": ["right", "wrong", None]}}),
                status_403="A page of another site sent this.",
                status_404=_GONE,
                status_503=_BROKEN,
            )
        },
        "/names": {
            "get": _operation(
                "What events can be chosen by.",
                _json(
                    _object(
                        {
                            "labels": _list(_TEXT),
                            "kinds": _map(_list(_TEXT)),
                            "sources": _list(_TEXT),
                            "first_day": {"type": ["string", "null"], "format": "date"},
                        }
                    )
                ),
                status_503=_BROKEN,
            )
        },
        "/history": {
            "get": _operation(
                "Counts of events per hour and class.",
                _json(
                    _object(
                        {
                            "hours": _list({"type": "string", "format": "date-time"}),
                            "counts": _map(_list({"type": "integer", "minimum": 0})),
                        }
                    )
                ),
                *_HISTORY_PARAMETERS,
                status_503=_BROKEN,
            )
        },
        "/settings": {
            "get": _operation("What the page shows of the settings.", _json(_map(_map(_TEXT))))
        },
        "/download/{format}": {
            "get": _operation(
                "The events of a day as a table, or their clips.",
                _binary("text/csv", "text/plain", "application/zip"),
                _FORMAT,
                _DAY_PARAMETER,
                _LABEL,
                _KIND,
                _SOURCE,
                _SCORE,
                status_404="There is no such format.",
                status_503=_BROKEN,
            )
        },
        "/clips/{id}": {
            "get": _operation(
                "The sound of an event.",
                _binary("audio/flac"),
                _ID,
                status_404="There is no such clip.",
                status_503=_BROKEN,
            )
        },
        "/metrics": {"get": _operation("Metrics for Prometheus.", {"text/plain": {}})},
        "/health": {
            "get": _operation(
                "Whether an input is connected.",
                _json(_object({"state": {"enum": ["listening", "starting", "stalled", "lost"]}})),
            )
        },
        "/openapi.json": {"get": _operation("This description.", _json({"type": "object"}))},
    },
    "components": {
        "schemas": {
            "Event": EVENT_SCHEMA | {"required": [*EVENT_SCHEMA["required"], *_ALWAYS]},
            "Error": _object({"error": _TEXT}),
        },
        "responses": {
            "Error": {
                "description": "What is wrong, with names near an unknown one.",
                "content": _json({"$ref": "#/components/schemas/Error"}),
            }
        },
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "token": {"type": "apiKey", "in": "query", "name": "token"},
        },
    },
}
OPENAPI["paths"]["/health"]["get"]["responses"]["503"] = {
    "description": "No input is connected, or none of them delivers.",
    "content": OPENAPI["paths"]["/health"]["get"]["responses"]["200"]["content"],
}
