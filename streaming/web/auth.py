"""Who may see the web view: those who know the token, or if there is none, this machine alone.

::

    request ─▶ AuthMiddleware ─▶ application
                 ├─ no token: the name of the host has to be one of this machine's own, which the
                 │  page of a stranger cannot have, even if its name is made to lead here
                 ├─ a token: as a header, as a cookie, or in the address; a browser is given the
                 │  cookie for it, and an address without it
                 └─ a socket: opened by a page that came from here, if by a page at all
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

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

SAFE: Headers = [
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
LOGIN_STYLE = "/login.css"  # anybody may have it


class AuthMiddleware:
    """Lets a request through to an ASGI application, or does not.

    Parameters
    ----------
    application
        Who answers.
    token
        What has to be known; None if only this machine can reach us anyway.
    cookie
        The name of the cookie. Ports share cookies, so it should differ from port to port.
    """

    def __init__(self, application: Application, token: str | None, cookie: str) -> None:
        self._application = application
        self._token = None if token is None else token.encode()
        self._cookie = cookie.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_safely(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SAFE]
            await send(message)

        headers = dict(scope["headers"])
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token")
        is_browser = b"text/html" in headers.get(b"accept", b"")
        if scope["type"] == "websocket":
            if _is_from_here(headers) and (self._is_known(headers) or self._is_token(given)):
                await self._application(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        elif is_browser and self._is_token(given):
            await self._take_cookie(scope, send_safely)
        elif self._is_known(headers) or self._is_token(given) or scope["path"] == LOGIN_STYLE:
            await self._application(scope, receive, send_safely)
        elif self._token is None:
            await _answer(send_safely, 403, b"text/plain", b"Open 127.0.0.1 or localhost.\n")
        elif is_browser:
            await _answer(send_safely, 401, b"text/html; charset=utf-8", LOGIN_PAGE)
        else:
            text = b'{"error": "Give the token, as Authorization: Bearer or as ?token=."}\n'
            await _answer(
                send_safely, 401, b"application/json", text, (b"www-authenticate", b"Bearer")
            )

    def _is_known(self, headers: dict[bytes, bytes]) -> bool:
        if self._token is None:
            return _is_of_this_machine(headers.get(b"host", b""))
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(credentials.strip(), self._token):
            return True
        cookies = (c.strip().partition(b"=") for c in headers.get(b"cookie", b"").split(b";"))
        return any(
            name == self._cookie and hmac.compare_digest(value, self._cookie_value)
            for name, _, value in cookies
        )

    def _is_token(self, given: str | None) -> bool:
        if self._token is None or given is None:
            return False
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    @property
    def _cookie_value(self) -> bytes:
        """What stands for the token, in letters that a cookie may have."""
        return hmac.new(self._token or b"", b"cookie", hashlib.sha256).hexdigest().encode()

    async def _take_cookie(self, scope: Scope, send: Send) -> None:
        """Have the browser keep what stands for the token, and forget the address that has it."""
        rest = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1"))
                if pair[0] != "token"]  # fmt: skip
        place = quote("/" + scope["path"].lstrip("/")) + (f"?{urlencode(rest)}" if rest else "")
        attributes = b"; Path=/; HttpOnly; SameSite=Strict"
        attributes += b"; Secure" * (scope["scheme"] == "https")
        cookie = self._cookie + b"=" + self._cookie_value + attributes
        await _answer(
            send, 303, b"text/plain", b"", (b"location", place.encode()), (b"set-cookie", cookie)
        )


async def _answer(
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


def bound_socket(host: str, port: int, token: str | None) -> socket.socket:
    """Return a socket bound to an address, after a look at who could then reach it.

    Raises
    ------
    UsageError
        If others could, and there is no token; or the token is empty.
    SedError
        If the address is in use, or is none of this machine's.
    """
    if token is not None and not token.strip():
        raise UsageError("the token is empty. Give one that is hard to guess")
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        if token is None and not is_loopback(str(address[0])):
            raise UsageError(f"others can reach {place}: give --token, which they then need")
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(place, error) from error
    except UnicodeError as error:  # an empty part of a name, or one of more than 63 letters
        raise _unusable(place, OSError("no machine can have that name")) from error
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
        f"{place}: cannot be listened on: {reason}. Choose another with --web HOST:PORT."
    )


def is_loopback(host: str) -> bool:
    """Return whether an address, or a name, is that of this machine to itself."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_of_this_machine(host: bytes) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host.decode('latin-1')}").hostname or "")
    except ValueError:
        return False


def _is_from_here(headers: dict[bytes, bytes]) -> bool:
    """Return whether a page that opens a socket came from us; programs do not say."""
    origin, host = headers.get(b"origin"), headers.get(b"host", b"")
    if origin is None:
        return True
    return origin.lower() in (b"http://" + host.lower(), b"https://" + host.lower())
