"""Send events by HTTP POST."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

from sed.errors import SedError, UsageError
from streaming.messages import Message
from streaming.sinks.alerts.addresses import reason_of, split_url
from streaming.sinks.alerts.delivery import DeliveryConfig, DeliveryQueue
from streaming.sinks.payload import Payload, payload_of

TIMEOUT_SECONDS = 10.0
TRANSIENT_STATUS = frozenset([408, 429])  # of the 4xx, those for which a retry may help


class Webhook:
    """Post a payload as JSON for each onset, event and gap.

    Payloads that cannot be delivered wait in a queue and are retried in order.

    Parameters
    ----------
    url
        An http or https address; ``user:password@`` in it becomes basic authentication.
    headers
        Additional headers of the request.
    waits_for_clip
        Whether events are complete with their `ClipSaved`.
    timeout
        Seconds for the whole exchange: to find the server, connect, send, and read the reply.
    config
        Size and times of the delivery queue.

    Raises
    ------
    UsageError
        If the address or a header is not valid.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        waits_for_clip: bool = False,
        timeout: float = TIMEOUT_SECONDS,
        config: DeliveryConfig | None = None,
    ) -> None:
        parts = split_url(url, ("http", "https"), "https://host/path")
        self._headers = {"Content-Type": "application/json", "User-Agent": "sed-engine"}
        self._headers |= _checked_headers(headers or {})
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        place = parts.netloc.rpartition("@")[2]
        address = parts._replace(netloc=place, fragment="").geturl()
        self._url = quote(address, safe="/:?#[]@!$&'()*+,;=%~")
        self._timeout = timeout
        self._waits_for_clip = waits_for_clip
        # Reports do not name the path and the query: many services keep a secret there.
        self._queue = DeliveryQueue(f"webhook {parts.scheme}://{place}", self._post, config)

    def handle(self, message: Message) -> Sequence[Message]:
        """Queue the payload of a message, if it has one; return the notices of the queue."""
        if (payload := payload_of(message, waits_for_clip=self._waits_for_clip)) is not None:
            self._queue.put(payload)
        return self._queue.notices()

    def close(self) -> Sequence[Message]:
        """Deliver queued payloads, for a few seconds at most."""
        return self._queue.close()

    def _post(self, payload: Payload) -> None:
        request = urllib.request.Request(
            self._url, json.dumps(payload).encode(), self._headers, method="POST"
        )
        try:
            _Exchange(request, self._timeout).run()
        except urllib.error.HTTPError as error:
            error.close()
            reply = f"the server returned {error.code} {http.client.responses.get(error.code, '')}"
            if error.code >= 500 or error.code in TRANSIENT_STATUS:
                raise ConnectionError(reply.strip()) from error
            raise SedError(f"{reply.strip()}. Check the address") from error
        except OSError as error:
            raise ConnectionError(reason_of(error)) from error
        except http.client.HTTPException as error:
            raise ConnectionError("the reply of the server is not HTTP") from error


class _Exchange:
    """A request and its reply, with one deadline for both.

    The timeout of a socket is that of one read, which a server that sends a byte now and then never
    exceeds. So the exchange runs in a thread of its own, and at the deadline its socket is closed.
    """

    def __init__(self, request: urllib.request.Request, timeout: float) -> None:
        self._request = request
        self._timeout = timeout
        self._lock = threading.Lock()  # guards the next two attributes
        self._socket: socket.socket | None = None
        self._is_late = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Send the request and wait for the head of the reply.

        Raises
        ------
        OSError, http.client.HTTPException
            If it fails; a `TimeoutError` at the deadline.
        """
        thread = threading.Thread(target=self._open, name="webhook", daemon=True)
        thread.start()
        thread.join(self._timeout)
        with self._lock:
            self._is_late = thread.is_alive()
            if self._is_late and self._socket is not None:
                # It may be closed just now.
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        if self._is_late:
            raise TimeoutError("timed out")
        if self._error is not None:
            raise self._error

    def _open(self) -> None:
        try:
            opener = urllib.request.build_opener(
                _NoRedirect, _HttpHandler(self._connected), _HttpsHandler(self._connected)
            )
            opener.open(self._request, timeout=self._timeout).close()
        except BaseException as error:
            self._error = error

    def _connected(self, connected: socket.socket) -> None:
        """Keep the socket; nothing is sent by one that was connected too late."""
        with self._lock:
            self._socket = connected
            if self._is_late:
                raise TimeoutError


class _HttpHandler(urllib.request.HTTPHandler):
    """Calls a function with the socket of each connection."""

    def __init__(self, on_connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._on_connected = on_connected

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open the connection of a request."""
        return self.do_open(_reporting(http.client.HTTPConnection, self._on_connected), request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    """Calls a function with the socket of each connection."""

    def __init__(self, on_connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._on_connected = on_connected

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open the connection of a request."""
        return self.do_open(_reporting(http.client.HTTPSConnection, self._on_connected), request)


def _reporting(
    kind: type[http.client.HTTPConnection], on_connected: Callable[[socket.socket], None]
) -> Any:
    """Return a kind of connection that calls a function with its socket."""

    class Reporting(kind):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            on_connected(self.sock)

    return Reporting


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treat a redirect as an error: following it would turn the POST into a GET."""

    def redirect_request(self, *_: object) -> None:
        return None


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        is_name = re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII)
        if not is_name or not re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value):
            raise UsageError(f"the header {name!r} cannot be sent. Give a name and one line.")
    return dict(headers)
