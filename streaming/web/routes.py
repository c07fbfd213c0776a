"""Serve the web page, events, history, clips, metrics and the live WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.events.sqlite import DatabaseError
from sed.text import to_utf8
from streaming.sinks.record.history import clip_path, has_label, hourly_counts, stored_events
from streaming.web.feed import Viewer, Viewers, row_json
from streaming.web.metrics import MEDIA_TYPE, MetricsCollector
from streaming.web.parameters import MAX_ID, Parameters, bounded_integer, event_filter

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
    """

    def __init__(
        self,
        database: Path,
        viewers: Viewers,
        metrics: MetricsCollector,
        hierarchy: Hierarchy,
        report: Callable[[str], None],
    ) -> None:
        self._database = database
        self._viewers = viewers
        self._metrics_collector = metrics
        self._hierarchy = hierarchy
        self._report = report
        self._has_reported = False
        self._files = page_files(PAGE)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                *(Route(path, self._file) for path in self._files),
                Route("/events", self._events),
                Route("/history", self._history),
                Route("/clips/{id}", self._clip),
                Route("/metrics", self._metrics),
                Route("/health", self._health),
                WebSocketRoute("/live", self._live),
            ],
            exception_handlers={
                HTTPException: self._http_error,
                UsageError: self._usage_error,
                DatabaseError: self._database_error,
                Exception: self._unexpected_error,
            },
        )

    async def _file(self, request: Request) -> Response:
        content, media_type = self._files[request.url.path]
        return Response(content, media_type=media_type, headers=NO_CACHE)

    def _events(self, request: Request) -> Response:
        parameters = _parameters(request, *FILTERS, "limit", "after", "before")
        is_stored = partial(has_label, self._database)
        rows = stored_events(
            self._database,
            parameters.integer("limit", 1, MAX_EVENTS) or 100,
            after=parameters.integer("after", 0, MAX_ID),
            before=parameters.integer("before", 0, MAX_ID),
            only=event_filter(parameters, self._hierarchy, is_stored),
        )
        return JSONResponse({"events": [row_json(row) for row in rows]}, headers=NO_CACHE)

    def _history(self, request: Request) -> Response:
        n_hours = _parameters(request, "hours").integer("hours", 1, MAX_HOURS) or 24
        hours, counts = hourly_counts(self._database, n_hours)
        history = {"hours": [hour.isoformat() for hour in hours], "counts": counts}
        return JSONResponse(history, headers=NO_CACHE)

    def _clip(self, request: Request) -> Response:
        _parameters(request)
        event_id = bounded_integer(request.path_params["id"], 0, MAX_ID)
        if event_id is None:
            raise HTTPException(404, "expected the id of an event")
        path = clip_path(self._database, event_id)
        if path is None:
            raise HTTPException(404, f"event {event_id} has no clip")
        if path.suffix != ".flac" or not path.is_file():
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
