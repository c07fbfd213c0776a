"""Bound the connections of the web page, so that strangers exhaust nothing.

::

    accept ─▶ waiting: no whole request yet ─▶ unknown ─ authorized ─▶ request, and the next
                                                  └───── authorized WebSocket ─▶ viewer

Strangers (the first two), requests and viewers have shares of their own, so that none can lock out
another. Where a share is used up, the oldest connection makes room, of the strangers first one that
has sent no whole request: a client that sends its request at once is always served, however many
others send nothing. Only viewers are refused instead.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

MAX_STRANGERS, MAX_REQUESTS, MAX_VIEWERS = 1_000, 100, 100
# Shares of the file descriptors of the process. A request may need three: its socket, the clip that
# it receives, the database that it reads.
STRANGERS_SHARE, REQUESTS_SHARE, VIEWERS_SHARE = 1 / 3, 1 / 12, 1 / 12
N_ACCEPTED = 32  # connections that are accepted before any is served
# Connections that the system accepts meanwhile. One that finds no place is tried again by the
# system of the client, after one, three and seven seconds.
BACKLOG = 4096
MAX_HEADER_BYTES = 1 << 14
END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
CHECK_SECONDS = 0.5  # from one check of the deadlines to the next

Address = tuple[object, ...] | None


@dataclass(frozen=True)
class ConnectionsConfig:
    """Number and duration of connections.

    Attributes
    ----------
    n_strangers
        Connections that have not sent an authorized request.
    n_requests
        Connections that have sent one, also between two of their requests.
    n_viewers
        WebSockets.
    header_seconds
        Time for the first request, up to the end of its headers.
    request_seconds
        Time for the response and until the next request.
    close_seconds
        Time for the client to receive the end of the last response.
    """

    n_strangers: int = MAX_STRANGERS
    n_requests: int = MAX_REQUESTS
    n_viewers: int = MAX_VIEWERS
    header_seconds: float = 5.0
    request_seconds: float = 300.0
    close_seconds: float = 5.0

    @classmethod
    def for_this_process(cls) -> ConnectionsConfig:
        """Return numbers that leave a third of the descriptors to clips, commands and the rest."""
        limit = _max_descriptors()
        return cls(
            max(1, min(MAX_STRANGERS, int(limit * STRANGERS_SHARE))),
            max(1, min(MAX_REQUESTS, int(limit * REQUESTS_SHARE))),
            max(1, min(MAX_VIEWERS, int(limit * VIEWERS_SHARE))),
        )


class Connections:
    """Accepts connections within bounds, and passes those that send a request to a server.

    All methods run in the event loop.

    Parameters
    ----------
    config
        Bounds.
    """

    def __init__(self, config: ConnectionsConfig) -> None:
        self._config = config
        # Each in the order of the last step of its connections.
        self._waiting: _Share = {}
        self._unknown: _Share = {}
        self._requests: _Share = {}
        self._viewers: _Share = {}
        self._by_client: dict[Address, _Connection] = {}

    async def accept(
        self, listening: socket.socket, create_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        """Accept connections until this is cancelled.

        Parameters
        ----------
        listening
            A listening socket.
        create_protocol
            Returns the protocol that receives the bytes of a connection, from its first request on.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Connection(self, create_protocol), sock=listening, backlog=N_ACCEPTED
        )
        # asyncio accepts as many at once as it lets the system accept; here these are two numbers.
        listening.listen(BACKLOG)
        try:
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                self.check(loop.time())
        finally:
            server.close()
            for connection in self._waiting:
                connection.transport.abort()

    def authorize(self, client: Address, *, is_viewer: bool) -> bool:
        """Record that a client has sent an authorized request; return whether there is room.

        Parameters
        ----------
        client
            Its address and port.
        is_viewer
            Whether it opens a WebSocket.
        """
        connection = self._by_client.get(client)
        # It was closed meanwhile, so the response goes nowhere.
        if connection is None:
            return True
        self._drop_closed(self._viewers)
        if is_viewer and len(self._viewers) >= self._config.n_viewers:
            return False
        self._unknown.pop(connection, None)
        self._requests.pop(connection, None)
        connection.since = asyncio.get_running_loop().time()
        if is_viewer:
            self._viewers[connection] = None
            return True
        if len(self._requests) >= self._config.n_requests:
            self._drop_closed(self._requests)
        if len(self._requests) >= self._config.n_requests:
            self._close_oldest(self._requests)
        self._requests[connection] = None
        return True

    def add(self, connection: _Connection) -> None:
        """Take a new connection, which makes room for itself."""
        n_most = self._config.n_strangers
        if len(self._waiting) + len(self._unknown) >= n_most:
            self._drop_closed(self._unknown)
        if len(self._waiting) + len(self._unknown) >= n_most:
            self._close_oldest(self._waiting or self._unknown)
        self._waiting[connection] = None
        self._by_client[connection.client] = connection

    def start_request(self, connection: _Connection) -> None:
        """Record that a connection has sent its first request."""
        self._waiting.pop(connection, None)
        self._unknown[connection] = None

    def remove(self, connection: _Connection) -> None:
        """Forget a connection that was closed before it sent a request."""
        self._waiting.pop(connection, None)
        # The next connection of a client may have the same port.
        if self._by_client.get(connection.client) is connection:
            del self._by_client[connection.client]

    def _close_oldest(self, share: _Share) -> None:
        oldest = next(iter(share))
        oldest.transport.abort()
        del share[oldest]
        self.remove(oldest)

    def _drop_closed(self, share: _Share) -> None:
        for connection in [each for each in share if each.is_closed]:
            del share[connection]
            self.remove(connection)

    def check(self, now: float) -> None:
        """Close the connections that have passed a deadline.

        Parameters
        ----------
        now
            The time of the event loop, in seconds.
        """
        config = self._config
        for share in (self._waiting, self._unknown, self._requests, self._viewers):
            self._drop_closed(share)
            for connection in share:
                if connection.transport.is_closing():
                    connection.closing_since = min(connection.closing_since, now)
                    is_late = now - connection.closing_since > config.close_seconds
                elif share is self._viewers:
                    is_late = False  # the server sends pings, and closes those that do not respond
                else:
                    is_known = share is self._requests
                    limit = config.request_seconds if is_known else config.header_seconds
                    is_late = now - connection.since > limit
                if is_late:
                    connection.transport.abort()


class _Connection(asyncio.Protocol):
    """Collects the first request of a connection, and passes it and all that follows on."""

    transport: asyncio.Transport
    client: Address

    def __init__(
        self, connections: Connections, create_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._connections = connections
        self._create_protocol = create_protocol
        self._received = bytearray()
        self.since = 0.0  # time of the event loop, of the accept or of the last authorized request
        self.closing_since = math.inf  # when `Connections.check` first saw it close

    @property
    def is_closed(self) -> bool:
        """Whether its socket is closed: not only the end of what is sent was decided."""
        opened: socket.socket = self.transport.get_extra_info("socket")
        return opened.fileno() < 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for a request."""
        self.transport = cast(asyncio.Transport, transport)
        self.client = (transport.get_extra_info("peername") or ("",))[:2]
        self.since = asyncio.get_running_loop().time()
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Collect a part of the headers; pass them on when they are complete."""
        searched = max(0, len(self._received) - 3)  # an end of the headers may be split
        self._received += data
        if END_OF_HEADERS.search(self._received, searched):
            self._connections.start_request(self)
            protocol = self._create_protocol()
            self.transport.set_protocol(protocol)
            protocol.connection_made(self.transport)
            protocol.data_received(bytes(self._received))
            self._received.clear()
        elif len(self._received) > MAX_HEADER_BYTES or not self._received[:1].isalpha():
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Make room for another connection."""
        self._connections.remove(self)


_Share = dict[_Connection, None]


def _max_descriptors() -> int:
    """Return how many files and sockets this process may open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
