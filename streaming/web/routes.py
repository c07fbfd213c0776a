"""What the web view answers: its page, events, history, clips, a live socket, and metrics."""

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
from streaming.sinks.history import (
    clip_path,
    events_after,
    hourly_counts,
    latest_events,
)
from streaming.web.feed import Viewer, Viewers, row_json

PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
FRESH = {"Cache-Control": "no-cache"}
MOST_EVENTS = 1_000  # in an answer
MOST_HOURS = 24 * 31
LARGEST_ID = 2**63 - 1
TELLING_SECONDS = 0.08  # from what a viewer is told to the next: in between, it gathers
STALLED_SECONDS = 10.0  # without a word from the listener


class Routes:
    """The routes.

    Parameters
    ----------
    database
        Where the events are.
    viewers
        Who watches.
    figures
        What the metrics are made of.
    tell_trouble
        Told once if an answer fails that should not.
    """

    def __init__(
        self,
        database: Path,
        viewers: Viewers,
        figures: MetricsCollector,
        tell_trouble: Callable[[str], None],
    ) -> None:
        self._database = database
        self._viewers = viewers
        self._figures = figures
        self._tell_trouble = tell_trouble
        self._has_failed = False
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(figures)
        self._files = {
            f"/{path.name}": (path.read_bytes(), KINDS[path.suffix])
            for path in PAGE.iterdir()
            if path.suffix in KINDS
        }
        self._files["/"] = self._files.pop("/page.html")

    def application(self) -> Starlette:
        """Return what a server runs."""
        return Starlette(
            routes=[
                *(Route(path, self._file) for path in self._files),
                Route("/events", self._events),
                Route("/history", self._history),
                Route("/clips/{id:int}", self._clip),
                Route("/metrics", self._metrics),
                Route("/health", self._health),
                WebSocketRoute("/live", self._live),
            ],
            exception_handlers={
                HTTPException: self._refused,
                DatabaseError: self._unreadable,
                Exception: self._failed,
            },
        )

    async def _file(self, request: Request) -> Response:
        content, kind = self._files[request.url.path]
        return Response(content, media_type=kind, headers=FRESH)

    def _events(self, request: Request) -> Response:
        n = _number(request, "limit", 1, MOST_EVENTS) or 100
        after = _number(request, "after", 0, LARGEST_ID)
        if after is None:
            rows = latest_events(self._database, n)
        else:
            rows = events_after(self._database, after, n)
        return JSONResponse({"events": [row_json(row) for row in rows]}, headers=FRESH)

    def _history(self, request: Request) -> Response:
        n_hours = _number(request, "hours", 1, MOST_HOURS) or 24
        hours, counts = hourly_counts(self._database, n_hours)
        told = {"hours": [hour.isoformat() for hour in hours], "counts": counts}
        return JSONResponse(told, headers=FRESH)

    def _clip(self, request: Request) -> Response:
        event_id = request.path_params["id"]
        path = clip_path(self._database, event_id) if event_id <= LARGEST_ID else None
        if path is None:
            raise HTTPException(404, f"event {event_id} has no clip")
        if path.suffix != ".flac" or not path.is_file():
            raise HTTPException(404, f"the clip of event {event_id} was deleted")
        return FileResponse(
            path,
            media_type="audio/flac",
            filename=path.name,
            content_disposition_type="inline",
            headers=FRESH,
        )

    def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def _health(self, request: Request) -> Response:
        state = self._figures.state
        return JSONResponse({"state": state}, 200 if state == "listening" else 503, FRESH)

    async def _live(self, socket: WebSocket) -> None:
        await socket.accept()
        viewer = self._viewers.connect()
        telling = asyncio.create_task(_tell(socket, viewer))
        try:
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            telling.cancel()
            self._viewers.disconnect(viewer)

    def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    def _unreadable(self, request: Request, error: Exception) -> Response:
        return JSONResponse({"error": to_utf8(str(error))}, 503)

    def _failed(self, request: Request, error: Exception) -> Response:
        if not self._has_failed:
            self._has_failed = True
            self._tell_trouble(f"the web view could not answer {request.url.path}: {error!r}")
        return JSONResponse({"error": "this could not be answered"}, 500)


async def _tell(socket: WebSocket, viewer: Viewer) -> None:
    """Tell a viewer all it should know, for as long as it is there."""
    with suppress(WebSocketDisconnect):
        while True:
            await socket.send_text(await viewer.next())
            await asyncio.sleep(TELLING_SECONDS)


def _number(request: Request, name: str, least: int, most: int) -> int | None:
    """Return a whole number that a request gives, if it does."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise HTTPException(400, f"expected {name} from {least} to {most}")
    return int(text)


class MetricsCollector(Collector):
    """What the metrics are made of: events that were counted, and the last `Status`.

    Parameters
    ----------
    viewers
        Who watches.
    """

    def __init__(self, viewers: Viewers) -> None:
        self._viewers = viewers
        self._n_events: Counter[tuple[str, str]] = Counter()  # of a source and a label
        self._status: Status | None = None
        self._told_at = 0.0

    def handle(self, message: Message) -> None:
        """Count a message."""
        match message:
            case EventEnded(event):
                self._n_events[to_utf8(event.file), to_utf8(event.label)] += 1
            case Status():
                self._status, self._told_at = message, time.monotonic()

    @property
    def state(self) -> str:
        """How listening goes: starting, listening, stalled, or lost if no input is there."""
        if self._status is None:
            return "starting"
        if time.monotonic() - self._told_at > STALLED_SECONDS:
            return "stalled"
        is_there = any(source.state == "listening" for source in self._status.sources)
        return "listening" if is_there else "lost"

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as Prometheus wants them."""
        events = CounterMetricFamily(
            "sed_events", "Events that are complete.", labels=["source", "label"]
        )
        for names, n in self._n_events.copy().items():
            events.add_metric(names, n)
        yield events
        yield GaugeMetricFamily("sed_viewers", "Viewers of the page.", len(self._viewers))
        if (status := self._status) is None:
            return
        for name, text, value in (
            ("sed_uptime_seconds", "Since listening began.", status.uptime_seconds),
            ("sed_load", "Seconds of work per second of sound.", status.real_time_factor),
            ("sed_latency_seconds", "From sound to its answer.", status.latency_seconds),
        ):
            yield GaugeMetricFamily(name, text, value)
        yield from _of_sources(status.sources)


def _of_sources(sources: tuple[InputStatus, ...]) -> Iterator[Metric]:
    for name, text, count in (
        ("sed_samples_delivered", "Samples that the device gave.", "n_delivered"),
        ("sed_samples_heard", "Samples that went through the model.", "n_processed"),
        ("sed_samples_dropped", "Samples that the model was too slow for.", "n_dropped"),
        ("sed_samples_missing", "Samples that were never delivered.", "n_missing"),
        ("sed_overflows", "Times that the driver lost samples.", "n_overflows"),
        ("sed_gaps", "Gaps in the sound.", "n_gaps"),
    ):
        counter = CounterMetricFamily(name, text, labels=["source"])
        for source in sources:
            counter.add_metric([to_utf8(source.name)], getattr(source, count))
        yield counter
    listening = GaugeMetricFamily("sed_listening", "1 if an input is there.", labels=["source"])
    for source in sources:
        listening.add_metric([to_utf8(source.name)], source.state == "listening")
    yield listening
