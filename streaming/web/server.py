"""Serve live detection as a web page, and to programs over HTTP.

::

    listener thread  ┊  thread of the event loop

    handle ─▶ inbox ─┊─▶ Feed ─▶ Viewers ─▶ WebSockets
                     ┊                          ▲
                     ┊  Connections ─▶ AuthMiddleware ─▶ Routes

Neither thread waits for the other. The server itself is `streaming.web.http_server`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sed.errors import MissingExtraError
from sed.events.hierarchy import Hierarchy
from sed.events.sqlite import DatabaseError
from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from streaming.messages import AudioBlock, ClipSaved, FaultReporter, Message, Problem
from streaming.sinks.record.history import find_event
from streaming.web.connections import ConnectionsConfig
from streaming.web.feed import Feed, Viewers, row_json
from streaming.web.http_server import HOST, PORT, HttpServer

MAX_INBOX = 200  # messages between the two threads; each may hold audio
MAX_CLIPS = 20  # clips that wait until they are in the database


class WebView:
    """Show levels, spectrograms, events and problems on a web page.

    The server runs in a thread of its own, from the construction until `close`.

    Parameters
    ----------
    host, port
        The address; port 0 is any free port.
    token
        Required from every client; needed if other machines can reach the address.
    database_path
        The file of an `EventDatabase` that handles every message before this sink.
    labels
        One per class, in the order of the probabilities.
    log_mel
        Parameters of the log-mel columns.
    model
        Name of the model.
    hierarchy
        Of the classes of the model; None if it has none.
    settings
        Returns what the page shows of the settings: values by their names, by the titles of their
        groups.
    connections
        Bounds of the connections; those that fit the file descriptors of this process if not given.

    Raises
    ------
    MissingExtraError
        If the packages of the `web` extra are not installed.
    UsageError
        If other machines could connect without a token, or the token is empty.
    SedError
        If the address is in use, or does not belong to this machine.
    """

    def __init__(
        self,
        host: str = HOST,
        port: int = PORT,
        *,
        token: str | None = None,
        database_path: str | os.PathLike[str],
        labels: Sequence[str],
        log_mel: LogMelConfig,
        model: str = "default",
        hierarchy: Hierarchy | None = None,
        settings: Callable[[], Mapping[str, Mapping[str, str]]] = dict,
        connections: ConnectionsConfig | None = None,
    ) -> None:
        try:
            # uvicorn itself would import it only when the first viewer connects.
            import websockets  # noqa: F401

            from streaming.web.metrics import MetricsCollector
            from streaming.web.routes import Routes
        except ImportError as error:
            raise MissingExtraError("the web view", "web") from error
        self._database = Path(database_path)
        self._feed = Feed(labels, log_mel, model)
        self._viewers = Viewers(self._feed)
        self._metrics = MetricsCollector(self._viewers)
        self._clips: deque[Event] = deque(maxlen=MAX_CLIPS)  # events with unannounced clips
        self._clip_faults = FaultReporter("the web view announces clips again")
        self._loop_faults = FaultReporter()
        self._announcing: asyncio.Task[None] | None = None
        self._lock = threading.Lock()  # guards the next four attributes
        self._inbox: deque[Message] = deque()
        self._n_missed = 0  # messages that the inbox had no room for
        self._is_scheduled = False  # a call of `_empty_inbox`
        self._notices: list[Message] = []
        routes = Routes(
            self._database,
            self._viewers,
            self._metrics,
            _hierarchy_with(hierarchy, labels),
            self._report,
            settings=settings,
            band_hz=(log_mel.f_min, log_mel.f_max),
        )
        self._server = HttpServer(
            routes.application(),
            host,
            port,
            token=token,
            on_failure=self._report_failure,
            connections=connections,
        )
        self._loop = self._server.loop

    @property
    def url(self) -> str:
        """The address of the page, as a browser on this machine can open it."""
        return self._server.url

    def handle(self, message: Message) -> Sequence[Message]:
        """Put a message into the inbox without waiting; a full inbox drops its oldest message."""
        self._metrics.handle(message)
        with self._lock:
            self._inbox.append(message)
            if len(self._inbox) > MAX_INBOX:
                self._inbox.popleft()
                self._n_missed += 1
            # Without a viewer, sound can wait for the next status.
            is_due = bool(len(self._viewers)) or not isinstance(message, AudioBlock)
            must_schedule = is_due and not self._is_scheduled
            self._is_scheduled = self._is_scheduled or is_due
            notices, self._notices = self._notices, []
        if must_schedule:
            # A RuntimeError means that the loop has ended, which was reported.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._empty_inbox)
        return notices

    def close(self) -> Sequence[Message]:
        """Disconnect all viewers and stop the server."""
        self._server.close()
        return self._notices

    def _report_failure(self, text: str) -> None:
        """Report what fails in the event loop, once."""
        with self._lock:
            self._notices += self._loop_faults.update(text)

    def _report(self, text: str) -> None:
        with self._lock:
            self._notices.append(Problem(text))

    def _empty_inbox(self) -> None:
        """Encode the messages of the inbox for the viewers; runs in the event loop."""
        with self._lock:
            messages, n_missed = list(self._inbox), self._n_missed
            self._inbox.clear()
            self._n_missed, self._is_scheduled = 0, False
        if n_missed:
            self._feed.forget_active_events()
            self._viewers.miss(n_missed)
        for message in messages:
            is_watched = bool(len(self._viewers))
            if (encoded := self._feed.encode(message, is_watched=is_watched)) is not None:
                self._viewers.put(encoded)
            if isinstance(message, ClipSaved) and message.path is not None:
                self._clips.append(message.event)
        if self._clips and self._announcing is None:
            self._announcing = self._loop.create_task(self._announce_clips())

    async def _announce_clips(self) -> None:
        """Announce new clips to the viewers, with their ids from the database."""
        try:
            for event in list(self._clips):
                await self._announce_clip(event)
        finally:
            self._announcing = None

    async def _announce_clip(self, event: Event) -> None:
        fault = None
        try:
            row = await asyncio.to_thread(find_event, self._database, event)
            if row is None or row.clip_path is None:
                return
            self._viewers.put({"type": "clip_saved", "event": row_json(row)})
        except DatabaseError:
            return  # `_empty_inbox` tries it again with the next message
        except Exception as error:
            fault = f"the web view could not announce a clip: {error!r}"
        # A full queue may have dropped the event meanwhile.
        with suppress(ValueError):
            self._clips.remove(event)
        with self._lock:
            self._notices += self._clip_faults.update(fault)


def _hierarchy_with(hierarchy: Hierarchy | None, labels: Sequence[str]) -> Hierarchy:
    """Return a hierarchy that has also the labels that are no classes or kinds, as "unknown"."""
    known = hierarchy or Hierarchy((), ())
    more = (label for label in labels if label not in known.names)
    return known.with_labels([*known.labels, *more])
