"""Serve the web page, events, history, clips, metrics and the live WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sed.events.sqlite import DatabaseError
from sed.text import to_utf8
from streaming.messages import EventEnded, InputStatus, Message, Status
from streaming.sinks.record.history import clip_path, hourly_counts, stored_events
from streaming.web.feed import Viewer, Viewers, row_json

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
MAX_ID = 2**63 - 1
SEND_INTERVAL_SECONDS = 0.08  # between two sends to a viewer; objects gather meanwhile
STALLED_SECONDS = 10.0  # without a `Status`


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
    report
        Called with the text of the first unexpected error.
    """

    def __init__(
        self,
        database: Path,
        viewers: Viewers,
        metrics: MetricsCollector,
        report: Callable[[str], None],
    ) -> None:
        self._database = database
        self._viewers = viewers
        self._metrics_collector = metrics
        self._report = report
        self._has_reported = False
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(metrics)
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
                DatabaseError: self._database_error,
                Exception: self._unexpected_error,
            },
        )

    async def _file(self, request: Request) -> Response:
        content, media_type = self._files[request.url.path]
        return Response(content, media_type=media_type, headers=NO_CACHE)

    def _events(self, request: Request) -> Response:
        n = _integer(request, "limit", 1, MAX_EVENTS) or 100
        after = _integer(request, "after", 0, MAX_ID)
        rows = stored_events(self._database, n, after=after)
        return JSONResponse({"events": [row_json(row) for row in rows]}, headers=NO_CACHE)

    def _history(self, request: Request) -> Response:
        n_hours = _integer(request, "hours", 1, MAX_HOURS) or 24
        hours, counts = hourly_counts(self._database, n_hours)
        history = {"hours": [hour.isoformat() for hour in hours], "counts": counts}
        return JSONResponse(history, headers=NO_CACHE)

    def _clip(self, request: Request) -> Response:
        event_id = _bounded(request.path_params["id"], 0, MAX_ID)
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
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _health(self, request: Request) -> Response:
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


def _integer(request: Request, name: str, least: int, most: int) -> int | None:
    """Return a query parameter, or None if it is missing; refuse one out of range."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if (number := _bounded(text, least, most)) is None:
        raise HTTPException(400, f"expected {name} from {least} to {most}")
    return number


def _bounded(text: str, least: int, most: int) -> int | None:
    """Return a number, or None if it is out of range or none; long ones are not even parsed."""
    if len(text) > len(str(most)) or not (text.isascii() and text.isdecimal()):
        return None
    return int(text) if least <= int(text) <= most else None


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


class MetricsCollector(Collector):
    """Collect Prometheus metrics from messages: counts of events, and the last `Status`.

    Parameters
    ----------
    viewers
        The connected viewers.
    """

    def __init__(self, viewers: Viewers) -> None:
        self._viewers = viewers
        self._n_events: Counter[tuple[str, str]] = Counter()  # by source and label
        self._status: Status | None = None
        self._status_at = 0.0  # time of the last status, in seconds of a monotonic clock

    def handle(self, message: Message) -> None:
        """Count an event, or keep a status."""
        match message:
            case EventEnded(event):
                self._n_events[to_utf8(event.file), to_utf8(event.label)] += 1
            case Status():
                self._status, self._status_at = message, time.monotonic()

    @property
    def state(self) -> str:
        """One of starting, listening, stalled, and lost if no input is connected."""
        if self._status is None:
            return "starting"
        if time.monotonic() - self._status_at > STALLED_SECONDS:
            return "stalled"
        is_connected = any(source.state == "listening" for source in self._status.sources)
        return "listening" if is_connected else "lost"

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; Prometheus appends ``_total`` to the names of counters."""
        events = CounterMetricFamily("sed_events", "Complete events.", labels=["source", "label"])
        for names, n in self._n_events.copy().items():
            events.add_metric(names, n)
        yield events
        yield GaugeMetricFamily("sed_viewers", "Connected viewers.", len(self._viewers))
        if (status := self._status) is None:
            return
        for name, text, value in (
            ("sed_uptime_seconds", "Time since the start.", status.uptime_seconds),
            (
                "sed_real_time_factor",
                "Seconds of work per second of audio.",
                status.real_time_factor,
            ),
            (
                "sed_latency_seconds",
                "From the end of a window to its result.",
                status.latency_seconds,
            ),
        ):
            yield GaugeMetricFamily(name, text, value)
        yield from _input_metrics(status.sources)


def _input_metrics(sources: tuple[InputStatus, ...]) -> Iterator[Metric]:
    for name, text, count in (
        ("sed_samples_delivered", "Samples that the input delivered.", "n_delivered"),
        ("sed_samples_processed", "Samples that the model processed.", "n_processed"),
        ("sed_samples_dropped", "Samples that the model was too slow for.", "n_dropped"),
        ("sed_samples_missing", "Samples lost while the input was disconnected.", "n_missing"),
        ("sed_input_overflows", "Overflows that the driver reported.", "n_overflows"),
        ("sed_gaps", "Gaps in the audio.", "n_gaps"),
    ):
        counter = CounterMetricFamily(name, text, labels=["source"])
        for source in sources:
            counter.add_metric([to_utf8(source.name)], getattr(source, count))
        yield counter
    connected = GaugeMetricFamily(
        "sed_input_connected", "1 if the input is connected.", labels=["source"]
    )
    for source in sources:
        connected.add_metric([to_utf8(source.name)], source.state == "listening")
    yield connected
