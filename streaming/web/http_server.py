"""Serve an application over HTTP in a thread of its own, to those who may see it.

::

    Connections ─▶ AuthMiddleware ─▶ application
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import threading
from collections.abc import Callable
from typing import Any

from sed.errors import MissingExtraError, UsageError
from streaming.web.auth import Application, AuthMiddleware, bind_socket
from streaming.web.connections import Connections, ConnectionsConfig

HOST, PORT = "127.0.0.1", 8765
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


class HttpServer:
    """Serves an ASGI application, from the construction until `close`.

    Parameters
    ----------
    application
        Receives the authorized requests.
    host, port
        The address; port 0 is any free port.
    token
        Required from every client; needed if other machines can reach the address.
    on_failure
        Called with the text of an error in the event loop, in its thread; asyncio itself would
        print it.
    connections
        Bounds of the connections; those that fit the file descriptors of this process if not given.

    Attributes
    ----------
    loop
        The event loop.

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
        application: Application,
        host: str = HOST,
        port: int = PORT,
        *,
        token: str | None = None,
        on_failure: Callable[[str], None] = lambda _: None,
        connections: ConnectionsConfig | None = None,
    ) -> None:
        try:
            import uvicorn
        except ImportError as error:
            raise MissingExtraError("the web view", "web") from error
        self._on_failure = on_failure
        self._socket = bind_socket(host, port, token)
        self._address: tuple[str, int] = self._socket.getsockname()[:2]
        self._connections = Connections(connections or ConnectionsConfig.for_this_process())
        guarded = AuthMiddleware(application, token, f"sed_{self._address[1]}", self._connections)
        self._server = uvicorn.Server(uvicorn.Config(guarded, **SERVER_OPTIONS))
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._serve, name="web server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the page, as a browser on this machine can open it."""
        host, port = self._address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def close(self) -> None:
        """Disconnect all clients and stop."""
        self._server.should_exit = True
        self._thread.join(CLOSE_SECONDS)

    def _serve(self) -> None:
        with self._runner, self._socket:
            try:
                self._runner.run(self._accept())
            except Exception as error:
                self._on_failure(f"the web view at {self.url} stopped: {error!r}")

    async def _accept(self) -> None:
        self.loop.set_exception_handler(self._report_failure)
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
        error = context.get("exception")
        fault = f"the web view: {context['message']}" + f": {error!r}" * (error is not None)
        self._on_failure(fault)
