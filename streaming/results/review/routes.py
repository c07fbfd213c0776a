"""Serve the page of a review: its files, queues of events, their sound, and decisions."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sed.errors import RecordingError, SedError, UsageError
from sed.text import to_utf8, without_controls
from streaming.results.review.excerpt import EventSound
from streaming.results.review.queue import QueueConfig
from streaming.results.review.session import Json, ReviewSession
from streaming.web.routes import NO_CACHE, PAGE, json_body, page_files

OWN_PAGE = Path(__file__).parent / "page"
SHARED = ("/page.css", "/login.css", "/icon.svg", "/colours.js")  # files of the live page
MAX_EVENTS = 500  # in a response
MAX_SECONDS = 1e8  # of a border
MAX_TEXT = 200  # characters of a label or a name


class ReviewRoutes:
    """The routes of the page.

    Parameters
    ----------
    session
        The review.
    report
        Called with the text of the first unexpected error.
    """

    def __init__(
        self, session: ReviewSession, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self._session = session
        self._report = report
        self._has_reported = False
        # Browsers keep pictures and sounds; those of another run have other addresses.
        self._version = secrets.token_hex(4)
        shared = page_files(PAGE)
        self._files = {path: shared[path] for path in SHARED} | page_files(OWN_PAGE)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                *(Route(path, self._file) for path in self._files),
                Route("/overview", self._overview),
                Route("/queue", self._queue),
                Route("/precision", self._precision),
                Route("/events/{id}", self._event),
                Route("/events/{id}/sound", self._about_sound),
                Route("/events/{id}/sound.flac", self._sound),
                Route("/events/{id}/spectrogram.png", self._picture),
                Route("/decide", self._decide, methods=["POST"]),
                Route("/undo", self._undo, methods=["POST"]),
                Route("/export", self._export, methods=["POST"]),
            ],
            exception_handlers={
                HTTPException: self._http_error,
                UsageError: self._usage_error,
                RecordingError: self._recording_error,
                SedError: self._other_error,
                Exception: self._unexpected_error,
            },
        )

    async def _file(self, request: Request) -> Response:
        content, media_type = self._files[request.url.path]
        return Response(content, media_type=media_type, headers=NO_CACHE)

    def _overview(self, request: Request) -> Response:
        return _json(self._session.overview_json())

    def _queue(self, request: Request) -> Response:
        """Return a part of a queue: of the one with a number, or of a new one.

        A queue that is no longer kept is opened again.
        """
        first = int(_number(request, "first", 0, 0, 2**31))
        n = int(_number(request, "limit", 50, 1, MAX_EVENTS))
        number = int(_number(request, "queue", 0, 0, 2**53))
        rows = self._session.kept_queue(number)
        if rows is None:
            number, rows = self._session.open_queue(self._config(request))
        part = rows[first : first + n].tolist()
        events = [self._session.event_json(row) for row in part]
        return _json({"queue": number, "n": len(rows), "first": first, "events": events})

    def _config(self, request: Request) -> QueueConfig:
        queue, parameters = self._session.queue, request.query_params
        named: dict[str, Any] = {}
        for name, names in (
            ("label", queue.table.labels),
            ("site", queue.sites),
            ("day", queue.days),
        ):
            if parameters.get(name):
                named[name] = names[int(_number(request, name, 0, 0, len(names) - 1))]
        return QueueConfig(
            **named,
            min_score=_number(request, "min_score", -math.inf),
            max_score=_number(request, "max_score", math.inf),
            state=parameters.get("state", "open"),  # type: ignore[arg-type]  # which checks it
            order=parameters.get("order", "best"),  # type: ignore[arg-type]
            reviewer=_short(parameters.get("reviewer", "")),
            seed=int(_number(request, "seed", 0, 0, 2**31)),
        )

    def _precision(self, request: Request) -> Response:
        labels = self._session.queue.table.labels
        label = None
        if request.query_params.get("label"):
            label = labels[int(_number(request, "label", 0, 0, len(labels) - 1))]
        wanted = _number(request, "wanted", 0.9, 0, 1)
        return _json(self._session.precision_json(label, wanted))

    def _event(self, request: Request) -> Response:
        return _json(self._session.event_json(self._row(request.path_params["id"])))

    def _about_sound(self, request: Request) -> Response:
        """Return where the sound lies; of a recording that cannot be read, why, as no failure."""
        try:
            sound = self._sound_of(request)
        except RecordingError as error:
            return _json({"error": to_utf8(str(error))})
        return _json(
            {
                "start": round(sound.start_seconds, 4),
                "seconds": round(sound.seconds, 4),
                "top_hz": sound.top_hz,
                "version": self._version,
            }
        )

    def _picture(self, request: Request) -> Response:
        return Response(self._sound_of(request).png, media_type="image/png", headers=KEEP)

    def _sound(self, request: Request) -> Response:
        """Return the sound, or the part of it that a player asks for when it seeks."""
        data = self._sound_of(request).flac
        headers = {**KEEP, "Accept-Ranges": "bytes"}
        unit, _, asked = request.headers.get("range", "").partition("=")
        first, dash, last = asked.partition("-")
        if unit != "bytes" or not (dash and first.isdecimal() and len(first) < 12):
            return Response(data, media_type="audio/flac", headers=headers)
        start = int(first)
        end = min(len(data), int(last) + 1) if last.isdecimal() and len(last) < 12 else len(data)
        if start >= end:
            raise HTTPException(416, "no such part of the sound")
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return Response(data[start:end], 206, headers, "audio/flac")

    def _sound_of(self, request: Request) -> EventSound:
        row = self._row(request.path_params["id"])
        return self._session.sounds.get(row, self._session.queue.table.event(row))

    async def _decide(self, request: Request) -> Response:
        body = await json_body(request)
        row = self._row(str(body.get("id")))
        borders = None
        if body.get("onset") is not None or body.get("offset") is not None:
            borders = _seconds(body.get("onset")), _seconds(body.get("offset"))
        decide = partial(
            self._session.decide,
            row,
            _short(body.get("reviewer", "")),
            _short(body.get("verdict", "")),  # type: ignore[arg-type]  # which checks it
            _short(body.get("label", "")),
            borders,
        )
        event = await run_in_threadpool(decide)
        task = BackgroundTask(self._session.export_soon)
        return JSONResponse({"event": event}, headers=NO_CACHE, background=task)

    async def _undo(self, request: Request) -> Response:
        body = await json_body(request)
        event = await run_in_threadpool(self._session.undo, _short(body.get("reviewer", "")))
        task = BackgroundTask(self._session.export_soon)
        return JSONResponse({"event": event}, headers=NO_CACHE, background=task)

    def _export(self, request: Request) -> Response:
        paths = self._session.export() or ()
        return _json({"files": [to_utf8(str(path.absolute())) for path in paths]})

    def _row(self, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 12):
            raise HTTPException(404, "expected the id of an event")
        if int(text) >= len(self._session.queue):
            raise HTTPException(404, f"there is no event {text}")
        return int(text)

    def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    def _usage_error(self, request: Request, error: Exception) -> Response:
        return _json({"error": to_utf8(str(error))}, 400)

    def _recording_error(self, request: Request, error: Exception) -> Response:
        return _json({"error": to_utf8(str(error))}, 404)

    def _other_error(self, request: Request, error: Exception) -> Response:
        return _json({"error": to_utf8(str(error))}, 503)

    def _unexpected_error(self, request: Request, error: Exception) -> Response:
        if not self._has_reported:
            self._has_reported = True
            self._report(f"the page failed on {request.url.path}: {error!r}")
        return _json({"error": "internal error"}, 500)


# The sound of an event does not change while the page is open.
KEEP = {"Cache-Control": "private, max-age=600"}


def _json(content: Json, status: int = 200) -> Response:
    return JSONResponse(content, status, NO_CACHE)


def _number(
    request: Request,
    name: str,
    default: float,
    least: float = -math.inf,
    most: float = math.inf,
) -> float:
    """Return a query parameter, or a default if it is missing; refuse one out of range."""
    text = request.query_params.get(name) or ""
    try:
        number = float(text) if text else default
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise HTTPException(400, f"expected a number from {least:g} to {most:g} as {name}")
    return number


def _seconds(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= MAX_SECONDS
    ):
        raise HTTPException(400, "expected onset and offset in seconds")
    return round(float(value), 3)


def _short(value: object) -> str:
    """Return a label or a name without spaces around it; refuse a long one.

    One with control characters is refused too: tables with some could not be read again.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise HTTPException(400, f"expected a text of at most {MAX_TEXT} characters")
    text = " ".join(value.split())
    if without_controls(text) != text:
        raise HTTPException(400, "expected a text without control characters")
    return text
