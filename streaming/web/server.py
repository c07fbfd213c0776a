"""What a listener says, as a page in the browser, and for programs over HTTP.

::

    take ─▶ inbox ─┊─▶ Feed ─▶ Viewers ─▶ sockets
                   ┊                         ▲
    the listener   ┊     AuthMiddleware ─▶ Routes ───┘        a thread of its own, with its own loop

Neither of the two waits for the other.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sed.errors import MissingExtraError, UsageError
from sed.events.sqlite import DatabaseError
from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from streaming.messages import ClipSaved, FaultReporter, Message, Problem
from streaming.sinks.history import stored_event
from streaming.web.auth import AuthMiddleware, bound_socket
from streaming.web.feed import Feed, Viewers, row_json

HOST, PORT = "127.0.0.1", 8765
MOST_WAITING = 200  # messages between the listener and the loop; each may hold sound
MOST_CLIPS = 20  # that wait until the database has them
MOST_CONNECTIONS = 100  # viewers and requests at a time
CLOSING_SECONDS = 5.0


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and port of HOST:PORT, PORT, HOST or [::1]:PORT; what is left out is ours.

    Raises
    ------
    UsageError
        If it is none of these.
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
        raise UsageError(f"{text!r} is no address. Give HOST:PORT, like {HOST}:{PORT}")
    return host, int(port)


def _is_ipv6(host: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(host))
    except ValueError:
        return False


class WebView:
    """Shows what is heard, found and lost to whoever opens a page; a sink of messages.

    It can be reached as soon as it is made, and until it is closed.

    Parameters
    ----------
    host, port
        The address; port 0 is any that is free.
    token
        What has to be known to see anything. Needed unless the address is of this machine alone.
    database_path
        Where an `EventDatabase` that comes before this keeps the events.
    labels
        One per class, in the order of the probabilities.
    log_mel
        What the columns of the spectrogram are.
    model
        Its name.

    Raises
    ------
    MissingExtraError
        If what serves pages is not installed.
    UsageError
        If others could see it without a token, or the token is empty.
    SedError
        If the address is in use, or is none of this machine's.
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
    ) -> None:
        try:
            import uvicorn
            import websockets  # noqa: F401  # uvicorn would miss it only when a viewer comes

            from streaming.web.routes import MetricsCollector, Routes
        except ImportError as error:
            raise MissingExtraError("the web view", "web") from error
        self._database = Path(database_path)
        self._feed = Feed(labels, log_mel, model)
        self._viewers = Viewers(self._feed)
        self._figures = MetricsCollector(self._viewers)
        self._clips: deque[Event] = deque(maxlen=MOST_CLIPS)  # whose clips are not told of yet
        self._clips_alarm = FaultReporter("the web view tells of clips again")
        self._telling_of_clips: asyncio.Task[None] | None = None
        self._lock = threading.Lock()  # guards what follows
        self._inbox: deque[Message] = deque()
        self._n_missed = 0  # messages that the inbox had no room for
        self._is_called = False  # the loop, to empty the inbox
        self._news: list[Message] = []
        self._socket = bound_socket(host, port, token)
        self._address: tuple[str, int] = self._socket.getsockname()[:2]
        answers = Routes(self._database, self._viewers, self._figures, self._tell_trouble)
        self._server = uvicorn.Server(
            uvicorn.Config(
                AuthMiddleware(answers.application(), token, f"sed_{self._address[1]}"),
                ws="websockets-sansio",
                ws_max_size=1024,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                log_level="critical",  # the terminal is not ours
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=1,
            )
        )
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
        """Hand a message over without waiting; what there is no room for, the viewers miss."""
        self._figures.handle(message)
        with self._lock:
            self._inbox.append(message)
            if len(self._inbox) > MOST_WAITING:
                self._inbox.popleft()
                self._n_missed += 1
            has_to_call, self._is_called = not self._is_called, True
            news, self._news = self._news, []
        if has_to_call:
            with suppress(RuntimeError):  # the loop has ended, and that was told
                self._loop.call_soon_threadsafe(self._empty_inbox)
        return news

    def close(self) -> Sequence[Message]:
        """Send the viewers away, and answer no more."""
        self._server.should_exit = True
        self._thread.join(CLOSING_SECONDS)
        return self._news

    def _serve(self) -> None:
        with self._runner, self._socket:
            try:
                self._runner.run(self._server.serve([self._socket]))
            except Exception as error:
                self._tell_trouble(f"there is no page any more at {self.url}: {error!r}")

    def _tell_trouble(self, text: str) -> None:
        with self._lock:
            self._news.append(Problem(text))

    def _empty_inbox(self) -> None:
        """Tell the viewers what the inbox holds; called in the loop."""
        with self._lock:
            messages, n_missed = list(self._inbox), self._n_missed
            self._inbox.clear()
            self._n_missed, self._is_called = 0, False
        if n_missed:
            self._feed.forget_lasting()
            self._viewers.miss(n_missed)
        for message in messages:
            if (told := self._feed.encode(message)) is not None:
                self._viewers.put(told)
            if isinstance(message, ClipSaved) and message.path is not None:
                self._clips.append(message.event)
        if self._clips and self._telling_of_clips is None:
            self._telling_of_clips = self._loop.create_task(self._tell_of_clips())

    async def _tell_of_clips(self) -> None:
        """Tell the viewers which events have clips now; the database may take its time."""
        try:
            for event in list(self._clips):
                await self._tell_of_clip(event)
        finally:
            self._telling_of_clips = None

    async def _tell_of_clip(self, event: Event) -> None:
        wrong = None
        try:
            row = await asyncio.to_thread(stored_event, self._database, event)
            if row is None or row.clip_path is None:
                return
            self._viewers.put({"type": "clip", "event": row_json(row)})
        except DatabaseError:
            return  # it is tried again with the next message
        except Exception as error:
            wrong = f"the web view could not tell of a clip: {error!r}"
        with suppress(ValueError):  # it had to make room meanwhile
            self._clips.remove(event)
        with self._lock:
            self._news += self._clips_alarm.update(wrong)
