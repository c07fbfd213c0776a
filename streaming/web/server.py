"""Serve live detection as a web page, and to programs over HTTP.

::

    listener thread  ┊  thread of the event loop

    handle ─▶ inbox ─┊─▶ Feed ─▶ Viewers ─▶ WebSockets
                     ┊                          ▲
                     ┊  Connections ─▶ AuthMiddleware ─▶ Routes

Neither thread waits for the other.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sed.errors import MissingExtraError, UsageError
from sed.events.sqlite import DatabaseError
from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from streaming.messages import ClipSaved, FaultReporter, Message, Problem
from streaming.sinks.history import find_event
from streaming.web.auth import AuthMiddleware, bind_socket
from streaming.web.connections import Connections, ConnectionsConfig
from streaming.web.feed import Feed, Viewers, row_json

HOST, PORT = "127.0.0.1", 8765
MAX_INBOX = 200  # messages between the two threads; each may hold audio
MAX_CLIPS = 20  # clips that wait until they are in the database
CLOSE_SECONDS = 5.0
SERVER_OPTIONS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": 1024,
    "ws_per_message_deflate": False,
    "lifespan": "off",
    "log_config": None,
    "log_level": "critical",  # standard error may belong to the terminal view
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "timeout_graceful_shutdown": 1,
}


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and port of ``HOST:PORT``, ``PORT``, ``HOST`` or ``[::1]:PORT``.

    A missing host is `HOST`, and a missing port is `PORT`.

    Raises
    ------
    UsageError
        If the text is not an address.
    """
    host, port = text.strip(), ""
    if host.isdecimal():
        host, port = "", host
    elif host.count(":") == 1 or "]:" in host:
        host, _, port = host.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or HOST
    port = port or str(PORT)
    is_port = port.isascii() and port.isdecimal() and int(port) < 65_536
    if not is_port or not (re.fullmatch(r"[\w.-]+", host) or _is_ipv6(host)):
        raise UsageError(f"{text!r} is not an address. Give HOST:PORT, like {HOST}:{PORT}")
    return host, int(port)


def _is_ipv6(host: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(host))
    except ValueError:
        return False


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
        connections: ConnectionsConfig | None = None,
    ) -> None:
        try:
            import uvicorn

            # uvicorn itself would import it only when the first viewer connects.
            import websockets  # noqa: F401

            from streaming.web.routes import MetricsCollector, Routes
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
        self._socket = bind_socket(host, port, token)
        self._address: tuple[str, int] = self._socket.getsockname()[:2]
        routes = Routes(self._database, self._viewers, self._metrics, self._report)
        self._connections = Connections(connections or ConnectionsConfig.for_this_process())
        application = AuthMiddleware(
            routes.application(), token, f"sed_{self._address[1]}", self._connections
        )
        self._server = uvicorn.Server(uvicorn.Config(application, **SERVER_OPTIONS))
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._serve, name="web view", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the page, as a browser on this machine can open it."""
        host, port = self._address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def handle(self, message: Message) -> Sequence[Message]:
        """Put a message into the inbox without waiting; a full inbox drops its oldest message."""
        self._metrics.handle(message)
        with self._lock:
            self._inbox.append(message)
            if len(self._inbox) > MAX_INBOX:
                self._inbox.popleft()
                self._n_missed += 1
            must_schedule, self._is_scheduled = not self._is_scheduled, True
            notices, self._notices = self._notices, []
        if must_schedule:
            # A RuntimeError means that the loop has ended, which was reported.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._empty_inbox)
        return notices

    def close(self) -> Sequence[Message]:
        """Disconnect all viewers and stop the server."""
        self._server.should_exit = True
        self._thread.join(CLOSE_SECONDS)
        return self._notices

    def _serve(self) -> None:
        with self._runner, self._socket:
            try:
                self._runner.run(self._accept())
            except Exception as error:
                self._report(f"the web view at {self.url} stopped: {error!r}")

    async def _accept(self) -> None:
        self._loop.set_exception_handler(self._report_failure)
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(
                self._connections.accept(self._socket, self._create_protocol)
            )
            await self._server.serve([])
            accepting.cancel()

    def _create_protocol(self) -> asyncio.Protocol:
        """Return what serves the requests of one connection."""
        config = self._server.config
        create: Callable[..., asyncio.Protocol] = config.http_protocol_class
        return create(config=config, server_state=self._server.server_state, app_state={})

    def _report_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report what fails in the event loop, once; asyncio itself would print it."""
        error = context.get("exception")
        fault = f"the web view: {context['message']}" + f": {error!r}" * (error is not None)
        with self._lock:
            self._notices += self._loop_faults.update(fault)

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
            if (encoded := self._feed.encode(message)) is not None:
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
