"""Serve the web page, events, history, clips, downloads, metrics and the live WebSocket."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sed.errors import OutputError, UsageError
from sed.events.hierarchy import Hierarchy
from sed.events.sqlite import DatabaseError
from sed.text import to_utf8
from streaming.sinks.record.counts import HOUR_SECONDS, first_time, hourly_counts, known_names
from streaming.sinks.record.edits import delete_event, set_verdict
from streaming.sinks.record.history import EventFilter, has_label, stored_event, stored_events
from streaming.web.downloads import TABLES, clip_of, parts_of, zip_of
from streaming.web.feed import Viewer, Viewers, row_json
from streaming.web.metrics import MEDIA_TYPE, MetricsCollector
from streaming.web.openapi import OPENAPI
from streaming.web.parameters import MAX_ID, Parameters, bounded_integer, event_filter

Settings = Callable[[], Mapping[str, Mapping[str, str]]]
PAGE = Path(__file__).parent / "page"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
NO_CACHE = {"Cache-Control": "no-cache"}
MAX_EVENTS = 1_000  # in a response
MAX_HOURS = 24 * 31
FILTERS = ("label", "kind", "source", "from", "to", "min_score")
SEVERAL = ("label", "kind", "source")  # may be given several times
MAX_BODY = 20_000  # bytes of a request
ENDINGS = {"csv": "csv", "raven": "selections.txt", "clips": "zip"}  # of files of a download
SEND_INTERVAL_SECONDS = 0.08  # between two sends to a viewer; objects gather meanwhile


class Routes:
    """The routes of the web view.

    Parameters
    ----------
    database
        Path of the database of events.
    viewers
        The connected viewers.
    metrics
        Source of the metrics and of the health.
    hierarchy
        Of the classes of the model.
    report
        Called with the text of the first unexpected error.
    settings
        Returns what the page shows of the settings: values by their names, by the titles of their
        groups.
    band_hz
        Lowest and highest frequency of the model's input in Hz, for Raven.
    """

    def __init__(
        self,
        database: Path,
        viewers: Viewers,
        metrics: MetricsCollector,
        hierarchy: Hierarchy,
        report: Callable[[str], None],
        *,
        settings: Settings,
        band_hz: tuple[float, float],
    ) -> None:
        self._database = database
        self._viewers = viewers
        self._metrics_collector = metrics
        self._hierarchy = hierarchy
        self._report = report
        self._settings = settings
        self._band_hz = band_hz
        self._has_reported = False
        self._files = page_files(PAGE)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                *(Route(path, self._file) for path in self._files),
                Route("/events", self._events),
                Route("/events/{id}", self._delete, methods=["DELETE"]),
                Route("/events/{id}/verdict", self._mark, methods=["POST"]),
                Route("/names", self._names),
                Route("/history", self._history),
                Route("/settings", self._settings_json),
                Route("/download/{format}", self._download),
                Route("/clips/{id}", self._clip),
                Route("/metrics", self._metrics),
                Route("/health", self._health),
                Route("/openapi.json", self._openapi),
                WebSocketRoute("/live", self._live),
            ],
            exception_handlers={
                HTTPException: self._http_error,
                UsageError: self._usage_error,
                OutputError: self._database_error,
                DatabaseError: self._database_error,
                Exception: self._unexpected_error,
            },
        )

    async def _file(self, request: Request) -> Response:
        content, media_type = self._files[request.url.path]
        return Response(content, media_type=media_type, headers=NO_CACHE)

    def _events(self, request: Request) -> Response:
        parameters = _parameters(request, *FILTERS, "limit", "after", "before")
        rows = stored_events(
            self._database,
            parameters.integer("limit", 1, MAX_EVENTS) or 100,
            after=parameters.integer("after", 0, MAX_ID),
            before=parameters.integer("before", 0, MAX_ID),
            only=self._filter(parameters),
        )
        return JSONResponse({"events": [row_json(row) for row in rows]}, headers=NO_CACHE)

    def _filter(self, parameters: Parameters) -> EventFilter:
        return event_filter(parameters, self._hierarchy, partial(has_label, self._database))

    async def _mark(self, request: Request) -> Response:
        """Store what a person says about an event, and show it to all viewers."""
        _parameters(request)
        event_id = _event_id(request)
        body = await json_body(request)
        if "verdict" not in body:
            raise HTTPException(400, "expected a verdict: right, wrong or null")
        await run_in_threadpool(set_verdict, self._database, event_id, body["verdict"])
        row = await run_in_threadpool(stored_event, self._database, event_id)
        if row is None:
            raise HTTPException(404, f"there is no event {event_id}")
        changed = row_json(row)
        self._viewers.put({"type": "event_changed", "event": changed})
        return JSONResponse({"event": changed}, headers=NO_CACHE)

    async def _delete(self, request: Request) -> Response:
        """Delete an event and its clip, and show that to all viewers."""
        _parameters(request)
        event_id = _event_id(request)
        if not await run_in_threadpool(delete_event, self._database, event_id):
            raise HTTPException(404, f"there is no event {event_id}")
        self._viewers.put({"type": "event_deleted", "id": event_id})
        return JSONResponse({"id": event_id}, headers=NO_CACHE)

    def _names(self, request: Request) -> Response:
        """Return the classes, kinds and inputs that events can be chosen by, and the first day."""
        _parameters(request)
        labels, sources = known_names(self._database)
        first = first_time(self._database)
        kinds = {name: self._hierarchy.descendants(name) for name in self._hierarchy.kinds}
        stored = set(labels)
        return JSONResponse(
            {
                "labels": labels,
                "kinds": {k: below for k, below in kinds.items() if stored.intersection(below)},
                "sources": sources,
                "first_day": None if first is None else f"{datetime.fromtimestamp(first):%Y-%m-%d}",
            },
            headers=NO_CACHE,
        )

    def _settings_json(self, request: Request) -> Response:
        _parameters(request)
        return JSONResponse(self._settings(), headers=NO_CACHE)

    def _download(self, request: Request) -> Response:
        """Return the events or clips of a day, part by part."""
        format = request.path_params["format"]
        if format not in ENDINGS:
            raise HTTPException(404, f"expected one of {', '.join(ENDINGS)}")
        parameters = _parameters(request, "day", *(f for f in FILTERS if f not in ("from", "to")))
        day = parameters.day("day")
        if day is None:
            raise HTTPException(400, "expected a day, like day=2026-11-21")
        start, stop = (datetime.fromordinal(day.toordinal() + n).timestamp() for n in (0, 1))
        only = dataclasses.replace(self._filter(parameters), start=start, stop=stop)
        if format == "clips":
            parts, media_type = zip_of(self._database, only), "application/zip"
        else:
            # A database that cannot be read is reported before the response begins.
            first_time(self._database)
            parts = parts_of(TABLES[format](self._database, only, day, self._band_hz))
            media_type = "text/csv" if format == "csv" else "text/plain"
        name = f"sed_{day:%Y-%m-%d}.{ENDINGS[format]}"
        headers = {**NO_CACHE, "Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(parts, media_type=media_type, headers=headers)

    def _history(self, request: Request) -> Response:
        """Return the counts of the last hours, or of the hours of a day."""
        parameters = _parameters(request, "hours", "day", "source")
        n_hours, now = parameters.integer("hours", 1, MAX_HOURS) or 24, None
        if (day := parameters.day("day")) is not None:
            start, stop = (datetime.fromordinal(day.toordinal() + n).astimezone() for n in (0, 1))
            # The clock change makes 23 or 25 hours of a day.
            n_hours = round((stop - start).total_seconds() / HOUR_SECONDS)
            now = stop - timedelta(seconds=1)
        sources = parameters.texts("source")
        hours, counts = hourly_counts(self._database, n_hours, now=now, sources=sources)
        history = {"hours": [hour.isoformat() for hour in hours], "counts": counts}
        return JSONResponse(history, headers=NO_CACHE)

    def _clip(self, request: Request) -> Response:
        _parameters(request)
        event_id = _event_id(request)
        row = stored_event(self._database, event_id)
        if row is None or row.clip_path is None:
            raise HTTPException(404, f"event {event_id} has no clip")
        if (path := clip_of(row)) is None:
            raise HTTPException(404, f"the clip of event {event_id} was deleted")
        return FileResponse(
            path,
            media_type="audio/flac",
            filename=path.name,
            content_disposition_type="inline",
            headers=NO_CACHE,
        )

    # These two wait for no thread, as the database does.
    async def _metrics(self, request: Request) -> Response:
        _parameters(request)
        return Response(self._metrics_collector.text(), media_type=MEDIA_TYPE)

    async def _health(self, request: Request) -> Response:
        _parameters(request)
        state = self._metrics_collector.state
        return JSONResponse({"state": state}, 200 if state == "listening" else 503, NO_CACHE)

    async def _openapi(self, request: Request) -> Response:
        _parameters(request)
        return JSONResponse(OPENAPI, headers=NO_CACHE)

    async def _live(self, socket: WebSocket) -> None:
        await socket.accept()
        viewer = self._viewers.connect()
        sending = asyncio.create_task(_send(socket, viewer))
        try:
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            sending.cancel()
            self._viewers.disconnect(viewer)

    def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    def _usage_error(self, request: Request, error: Exception) -> Response:
        return JSONResponse({"error": to_utf8(str(error))}, 400)

    def _database_error(self, request: Request, error: Exception) -> Response:
        return JSONResponse({"error": to_utf8(str(error))}, 503)

    def _unexpected_error(self, request: Request, error: Exception) -> Response:
        if not self._has_reported:
            self._has_reported = True
            self._report(f"the web view failed on {request.url.path}: {error!r}")
        return JSONResponse({"error": "internal error"}, 500)


async def _send(socket: WebSocket, viewer: Viewer) -> None:
    """Send the queue of a viewer until it disconnects."""
    with suppress(WebSocketDisconnect):
        while True:
            await socket.send_text(await viewer.next())
            await asyncio.sleep(SEND_INTERVAL_SECONDS)


def _parameters(request: Request, *known: str) -> Parameters:
    """Return the parameters of a request, of which only the known ones may be given."""
    return Parameters(request.query_params.multi_items(), known, SEVERAL)


def _event_id(request: Request) -> int:
    event_id = bounded_integer(request.path_params["id"], 0, MAX_ID)
    if event_id is None:
        raise HTTPException(404, "expected the id of an event")
    return event_id


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request holds; refuse a long one before it is read.

    Raises
    ------
    HTTPException
        If it is long, or is none.
    """
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise HTTPException(413, f"expected at most {MAX_BODY} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "expected a JSON object")
    return body


def page_files(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Return the content and media type of the files in a folder by their paths in a URL.

    The page itself, ``page.html``, has the path ``/``.
    """
    files = {
        f"/{path.name}": (path.read_bytes(), MEDIA_TYPES[path.suffix])
        for path in folder.iterdir()
        if path.suffix in MEDIA_TYPES
    }
    files["/"] = files.pop("/page.html")
    return files
