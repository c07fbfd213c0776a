"""Control access to the web page: by a token, or without one by requests from this machine only.

::

    request ─▶ AuthMiddleware ─▶ application

    without a token   The Host header must name this machine (localhost or a loopback address). A
                      page of another site cannot send that, even by DNS rebinding.
    with a token      Accepted as a header, a cookie or a query parameter. A browser that sends the
                      parameter receives the cookie and is redirected to the address without it.
    WebSocket, POST   The Origin header, if there is one, must be that of this server.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from sed.errors import SedError, UsageError
from streaming.web.connections import Connections

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

SECURITY_HEADERS: Headers = [
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
LOGIN_PAGE = (Path(__file__).parent / "page" / "login.html").read_bytes()
LOGIN_STYLE = "/login.css"  # served without a token


class AuthMiddleware:
    """Pass authorized requests on to an ASGI application, and refuse all others.

    Parameters
    ----------
    application
        Receives the authorized requests.
    token
        Required from every client; None if only this machine can connect.
    cookie
        Name of the cookie. All ports of a host share their cookies, so use one name per port.
    connections
        Learn which clients are authorized, and admit viewers.
    """

    def __init__(
        self,
        application: Application,
        token: str | None,
        cookie: str,
        connections: Connections,
    ) -> None:
        self._application = application
        self._connections = connections
        self._token = None if token is None else token.encode()
        self._cookie = cookie.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
                # A stranger keeps no connection.
                if not is_authorized:
                    message["headers"].append((b"connection", b"close"))
            await send(message)
            # A long download goes on as long as the client receives it.
            if is_authorized and message.get("more_body"):
                self._connections.authorize(scope["client"], is_viewer=False)

        headers = dict(scope["headers"])
        parameter = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token")
        is_browser = b"text/html" in headers.get(b"accept", b"")
        is_authorized = self._is_authorized(headers) or self._is_token(parameter)
        if scope["type"] == "websocket":
            if not (is_authorized and _has_own_origin(headers)):
                await send({"type": "websocket.close", "code": 1008})
            elif self._connections.authorize(scope["client"], is_viewer=True):
                await self._application(scope, receive, send)
            else:
                await _refuse_viewer(send)
            return
        if is_authorized:
            self._connections.authorize(scope["client"], is_viewer=False)
        if scope["method"] not in ("GET", "HEAD") and not _has_own_origin(headers):
            await _respond(send_with_headers, 403, b"text/plain", b"Another site sent this.\n")
        elif is_browser and self._is_token(parameter):
            await self._set_cookie(scope, send_with_headers)
        elif is_authorized or scope["path"] == LOGIN_STYLE:
            await self._application(scope, receive, send_with_headers)
        elif self._token is None:
            await _respond(send_with_headers, 403, b"text/plain", b"Open 127.0.0.1 or localhost.\n")
        elif is_browser:
            await _respond(send_with_headers, 401, b"text/html; charset=utf-8", LOGIN_PAGE)
        else:
            text = b'{"error": "Give the token, as Authorization: Bearer or as ?token=."}\n'
            await _respond(
                send_with_headers, 401, b"application/json", text, (b"www-authenticate", b"Bearer")
            )

    def _is_authorized(self, headers: dict[bytes, bytes]) -> bool:
        if self._token is None:
            return _is_own_host(headers.get(b"host", b""))
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(credentials.strip(), self._token):
            return True
        cookies = (c.strip().partition(b"=") for c in headers.get(b"cookie", b"").split(b";"))
        return any(
            name == self._cookie and hmac.compare_digest(value, self._cookie_value)
            for name, _, value in cookies
        )

    def _is_token(self, value: str | None) -> bool:
        if self._token is None or value is None:
            return False
        return hmac.compare_digest(value.encode("utf-8", "replace"), self._token)

    @property
    def _cookie_value(self) -> bytes:
        """A hash of the token, in characters that a cookie may have."""
        return hmac.new(self._token or b"", b"cookie", hashlib.sha256).hexdigest().encode()

    async def _set_cookie(self, scope: Scope, send: Send) -> None:
        """Set the cookie, and redirect to the address without the token."""
        rest = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1"))
                if pair[0] != "token"]  # fmt: skip
        location = quote("/" + scope["path"].lstrip("/")) + (f"?{urlencode(rest)}" if rest else "")
        attributes = b"; Path=/; HttpOnly; SameSite=Strict"
        attributes += b"; Secure" * (scope["scheme"] == "https")
        cookie = self._cookie + b"=" + self._cookie_value + attributes
        await _respond(
            send, 303, b"text/plain", b"", (b"location", location.encode()), (b"set-cookie", cookie)
        )


async def _respond(
    send: Send, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]
) -> None:
    always = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    start = {"type": "http.response.start", "status": status, "headers": [*always, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _refuse_viewer(send: Send) -> None:
    """Refuse a WebSocket with a status that asks to come again."""
    start = {"type": "websocket.http.response.start", "status": 503, "headers": []}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": b"There are too many viewers.\n"})


def bind_socket(host: str, port: int, token: str | None) -> socket.socket:
    """Return a listening socket on an address; refuse one beyond this machine without a token.

    Parameters
    ----------
    host, port
        The address; port 0 is any free port.
    token
        The token that clients need; None for no token.

    Raises
    ------
    UsageError
        If other machines could connect without a token, or the token is empty.
    SedError
        If the address is in use, or does not belong to this machine.
    """
    if token is not None and not token.strip():
        raise UsageError("the token is empty. Give one that is hard to guess")
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        if token is None and not _is_loopback(str(address[0])):
            raise UsageError(f"other machines can reach {place}: give --token to protect it")
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(place, error) from error
    # A part of the name is empty or longer than 63 characters.
    except UnicodeError as error:
        raise _unusable(place, OSError("the host name is not valid")) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise _unusable(place, error) from error
    return listening


def _unusable(place: str, error: OSError) -> SedError:
    reason = error.strerror or error
    return SedError(
        f"{place}: cannot be used: {reason}. Choose another address with --web HOST:PORT."
    )


def _is_loopback(host: str) -> bool:
    """Return whether a name or an address can be reached from this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_own_host(host: bytes) -> bool:
    try:
        return _is_loopback(urlsplit(f"//{host.decode('latin-1')}").hostname or "")
    except ValueError:
        return False


def _has_own_origin(headers: dict[bytes, bytes]) -> bool:
    """Return whether a page of this server sent a request, or a program."""
    origin, host = headers.get(b"origin"), headers.get(b"host", b"")
    # Programs send no Origin header; browsers always do.
    if origin is None:
        return True
    return origin.lower() in (b"http://" + host.lower(), b"https://" + host.lower())
