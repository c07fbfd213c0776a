"""Read a remote file from any byte on, for downloads that are continued.

Of a web server the status is known, so that a request that may succeed later can be repeated.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import wait
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib import metadata
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from sed.audio.remote import explained, file_system
from sed.errors import RecordingError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_BLOCK_BYTES = 1 << 18
_CONNECT_SECONDS, _SILENCE_SECONDS = 30.0, 60.0  # until a server counts as unreachable
_CHECK_SECONDS = 0.1  # how often `check` is called while a server is silent
# Requests that may succeed later; 0 stands for a lost connection.
_TRANSIENT = (0, 408, 425, 429, 500, 502, 503, 504)

_Result = TypeVar("_Result")


class RemoteError(RecordingError):
    """A server refuses a request, or the connection to it is lost.

    `status` is that of HTTP, 0 without one; `retry_after` the seconds that the server asks to wait.
    """

    def __init__(
        self, path: str, reason: str, status: int = 0, retry_after: float | None = None
    ) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(path, reason)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.reason, self.status, self.retry_after)

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TRANSIENT


class RemoteStream(Protocol):
    """The bytes of a remote file, from one of them on."""

    start: int  # position of the first byte that `blocks` yields
    n_bytes: int | None  # of the whole file; None if unknown
    content_type: str  # as audio/wav; empty if unknown
    tag: str  # of this version of the file, to continue it later; empty if unknown

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in blocks.

        Raises
        ------
        RecordingError
            If the connection is lost.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def open_stream(
    path: str,
    *,
    start: int = 0,
    n_bytes: int | None = None,
    tag: str = "",
    check: Callable[[], None] = lambda: None,
) -> RemoteStream:
    """Open a remote file for reading from byte `start` on, or from its first if it has to be.

    Parameters
    ----------
    path
        With one protocol; chains of protocols (``::``) are not followed.
    start, n_bytes, tag
        How much of the file is there, its whole size, and the version it is of. Another version
        is read from its first byte.
    check
        Called at least every 0.1 s while the server is silent; may raise to stop.

    Raises
    ------
    RemoteError
        If the server refuses it, or cannot be reached.
    RecordingError
        If it cannot be downloaded for another reason.
    MissingExtraError
        If fsspec is not installed.
    """
    have = start, n_bytes, tag
    files = file_system(path)
    if urlsplit(path).scheme in ("http", "https"):
        return _HttpStream(path, files, have, check)
    with explained(path):
        return _StoredStream(path, files, have, check)


class _HttpStream:
    """A file of a web server, read through the session of fsspec."""

    def __init__(
        self,
        path: str,
        files: Any,
        have: tuple[int, int | None, str],
        check: Callable[[], None],
    ) -> None:
        self._path = path
        self._files = files
        self._check = check
        start, n_bytes, tag = have
        self._response = self._request({"Range": f"bytes={start}-", "If-Range": tag}, start)
        if start and not self._continues(start, n_bytes):
            self.close()
            start, self._response = 0, self._request({}, 0)
        response = self._response
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        length = response.headers.get("Content-Length", "")
        self.start = int(found[1]) if found else 0
        self.n_bytes = int(found[2]) if found else int(length) if length.isdecimal() else None
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        self.tag = _version_of(response.headers)
        if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or self.start > start:
            self.close()
            raise RemoteError(
                path,
                f"the server refuses it: {response.status} {_one_line(response.reason)}. "
                "Check the address.",
                response.status,
                _seconds_of(response.headers.get("Retry-After", "")),
            )

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in blocks."""
        while True:
            block: bytes = self._run(self._response.content.read(_BLOCK_BYTES))
            if not block:
                return
            yield block
            self._check()

    def close(self) -> None:
        """Close the connection, at once."""
        self._files.loop.call_soon_threadsafe(self._response.close)

    def _request(self, ranges: dict[str, str], start: int) -> Any:
        import aiohttp

        # The bytes of the file are counted, so a compressed transfer would not do.
        headers = {"User-Agent": _user_agent(), "Accept-Encoding": "identity"}
        headers |= {key: value for key, value in ranges.items() if start and value}
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
        )

        async def send() -> Any:
            session = await self._files.set_session()
            url = self._files.encode_url(self._path)
            return await session.get(url, headers=headers, timeout=timeout)

        return self._run(send())

    def _continues(self, start: int, n_bytes: int | None) -> bool:
        """Return whether a response continues the file, or is the whole of it, or a refusal."""
        status = self._response.status
        if status != HTTPStatus.PARTIAL_CONTENT:
            return bool(status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        found = _CONTENT_RANGE.fullmatch(self._response.headers.get("Content-Range", ""))
        return found is not None and int(found[1]) == start and n_bytes in (None, int(found[2]))

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine in the event loop of fsspec, and stop it if `check` raises."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._files.loop)
        try:
            while not wait([future], _CHECK_SECONDS).done:
                self._check()
        except BaseException:
            future.cancel()
            raise
        if _is_connection_lost(error := future.exception()):
            reason = _one_line(error) or type(error).__name__
            raise RemoteError(
                self._path,
                f"the connection is lost: {reason}. Check the address and the network.",
            ) from error
        with explained(self._path):
            return future.result()


class _StoredStream:
    """A file of object storage."""

    def __init__(
        self,
        path: str,
        files: Any,
        have: tuple[int, int | None, str],
        check: Callable[[], None],
    ) -> None:
        self._path = path
        self._check = check
        place = files._strip_protocol(path)
        details = files.info(place)
        self.n_bytes: int | None = details.get("size")
        self.tag = str(details.get("ETag") or details.get("etag") or details.get("mtime") or "")
        self.content_type = str(details.get("ContentType") or details.get("contentType") or "")
        start, *version = have
        self.start = start if self.tag and version == [self.n_bytes, self.tag] else 0
        self._file = files.open(place, "rb")
        self._file.seek(self.start)

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in blocks."""
        while True:
            with explained(self._path):
                block: bytes = self._file.read(_BLOCK_BYTES)
            if not block:
                return
            yield block
            self._check()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _is_connection_lost(error: BaseException | None) -> bool:
    import aiohttp

    lost = aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError
    return isinstance(error, lost)


def _version_of(headers: Mapping[str, str]) -> str:
    """Return what If-Range takes: a strong ETag, or else the date of the last change."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _seconds_of(retry_after: str) -> float | None:
    """Return the seconds to wait of a Retry-After header: a number, or a date."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _user_agent() -> str:
    return f"sed-engine/{metadata.version('sed-engine')}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
