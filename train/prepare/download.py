"""Download recordings: politely, several at once, and on from where it was stopped."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from urllib.parse import urlsplit

from sed.audio.remote_stream import RemoteError, RemoteStream, open_stream
from sed.errors import OutputError, RecordingError, SedError, UsageError
from sed.text import printable
from train.prepare.download_files import (
    Download,
    finished_path,
    load_download,
    name_of,
    part_path,
    save_download,
    sound_suffix,
)
from train.prepare.rate_limit import RateLimit
from train.prepare.web_audio import NOTE, download_page

_logger = logging.getLogger("sed.prepare")

_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_MAX_PAUSE_SECONDS = 600.0  # that a server may ask for
_PROGRESS_BYTES = 1 << 20  # after so many new bytes, the retries are counted from zero


@dataclass(frozen=True)
class DownloadConfig:
    """How recordings are downloaded.

    Attributes
    ----------
    requests_per_second
        Requests per second to each host.
    connections
        Downloads at once, over all hosts.
    max_gb
        Size of the largest file to take, in gigabytes.
    n_retries
        How often a request is repeated after a fault that may pass.
    retry_seconds
        The pause before the first repetition; it doubles each time.
    """

    requests_per_second: float = 1.0
    connections: int = 4
    max_gb: float = 4.0
    n_retries: int = 4
    retry_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuse impossible values, all at once."""
        errors = [
            f"{name} above 0, got {getattr(self, name):g}"
            for name in ("requests_per_second", "max_gb", "retry_seconds")
            if not 0 < getattr(self, name) < float("inf")
        ]
        if self.connections < 1:
            errors.append(f"1 connection or more, got {self.connections}")
        if self.n_retries < 0:
            errors.append(f"0 retries or more, got {self.n_retries}")
        if errors:
            raise UsageError("expected " + "; ".join(errors))


class _StoppedError(Exception):
    """A thread was stopped within its download."""


class Downloader:
    """Downloads the sound of urls into a folder, each once.

    Parameters
    ----------
    folder
        Where the files go.
    config
        How they are downloaded.
    on_done
        Called with the bytes of each download.
    on_error
        Called with the error of each download that fails.
    """

    def __init__(
        self,
        folder: Path,
        config: DownloadConfig,
        on_done: Callable[[int], None] = lambda _: None,
        on_error: Callable[[SedError], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._config = config
        self._on_done = on_done
        self._on_error = on_error
        self._stop = threading.Event()
        self._limit = RateLimit(config.requests_per_second, self._pause)
        self._max_bytes = int(config.max_gb * 1e9)

    def run(self, urls: Sequence[str]) -> dict[str, Download | SedError]:
        """Download what is not there yet; return the facts, or the error, of each url.

        Raises
        ------
        OutputError
            If the folder cannot be written or the disk is full.
        """
        done: dict[str, Download | SedError] = {}
        from_pages = False
        with ThreadPoolExecutor(self._config.connections) as pool:
            try:
                futures = {pool.submit(self._result, url): url for url in _interleaved(urls)}
                for future in as_completed(futures):
                    done[futures[future]] = result = future.result()
                    if isinstance(result, SedError):
                        self._on_error(result)
                        continue
                    self._on_done(result.n_bytes or 0)
                    if result.page and not from_pages:
                        from_pages = True
                        _logger.warning(NOTE)
            except BaseException:  # Ctrl-C or a full disk: stop the other threads
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return {url: done[url] for url in urls}

    def _result(self, url: str) -> Download | SedError:
        """Download a url; return its error if it cannot be."""
        try:
            download = self._direct(url) or self._from_page(url)
        except OutputError:
            raise
        except SedError as error:
            return error
        # The facts come first: a whole file without them would be downloaded again.
        save_download(self._folder, download)
        if finished_path(self._folder, download) is None:
            return RecordingError(url, "the download is incomplete. Run the same command again.")
        _logger.info("%s: downloaded as %s", printable(url), download.file)
        return download

    def _direct(self, url: str) -> Download | None:
        """Download a file, repeating requests that fail; None if the url is that of a page."""
        part = part_path(self._folder, url)
        n_faults, most = 0, 0
        while True:
            self._limit.acquire(_host(url))
            try:
                return self._attempt(url, part)
            except RemoteError as error:
                if not error.is_transient:
                    raise
                n_bytes = part.stat().st_size if part.exists() else 0
                n_faults = 1 if n_bytes >= most + _PROGRESS_BYTES else n_faults + 1
                most = max(most, n_bytes)
                if n_faults > self._config.n_retries:
                    raise
                pause = self._config.retry_seconds * 2 ** (n_faults - 1)
                if error.retry_after is not None:
                    pause = max(error.retry_after, self._config.retry_seconds)
                if pause > _MAX_PAUSE_SECONDS:
                    raise RecordingError(
                        url,
                        f"the server asks to wait {pause:,.0f} s. Run the same command later.",
                    ) from error
                _logger.info("%s; next attempt in %.0f s", error, pause)
                self._limit.hold(_host(url), pause)

    def _attempt(self, url: str, part: Path) -> Download | None:
        """Download a file from where the partial one ends; None if the url is that of a page."""
        known = load_download(self._folder, url)
        is_known = bool(known.tag) or known.n_bytes is not None
        start = part.stat().st_size if is_known and part.exists() else 0
        stream = open_stream(
            url, start=start, n_bytes=known.n_bytes, tag=known.tag, check=self._check
        )
        with closing(stream):
            if stream.content_type.lower() in _PAGE_TYPES:
                if sound_suffix(url):
                    raise RecordingError(
                        url, "the server sends a web page in place of the sound. Check the address."
                    )
                return None
            download = Download(url, n_bytes=stream.n_bytes, tag=stream.tag)
            save_download(self._folder, download)
            n_bytes = self._write(url, part, stream)
        suffix = sound_suffix(url, stream.content_type)
        return replace(download, file=name_of(url) + suffix, n_bytes=n_bytes)

    def _write(self, url: str, part: Path, stream: RemoteStream) -> int:
        """Append what a server sends to the partial file; return its size."""
        n_bytes = stream.start
        self._check_size(url, stream.n_bytes or 0)
        try:
            with open(part, "ab" if stream.start else "wb") as file:
                for block in stream.blocks():
                    n_bytes += len(block)
                    self._check_size(url, n_bytes)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:  # of the disk; the stream raises none
            raise OutputError(part, error) from error
        if stream.n_bytes not in (None, n_bytes):
            reason = f"{n_bytes:,} of {stream.n_bytes:,} bytes came. Check the network."
            raise RemoteError(url, reason)
        return n_bytes

    def _from_page(self, url: str) -> Download:
        self._limit.acquire(_host(url))
        return download_page(
            url,
            self._folder,
            max_bytes=self._max_bytes,
            pause_seconds=1 / self._config.requests_per_second,
            check=self._check,
        )

    def _check_size(self, url: str, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            part_path(self._folder, url).unlink(missing_ok=True)
            raise RecordingError(
                url, f"is larger than {self._config.max_gb:g} GB. Raise --max-download-gb."
            )

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _StoppedError


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _interleaved(urls: Sequence[str]) -> list[str]:
    """Return urls so that hosts take turns, and no thread waits for a host that others wait for."""
    by_host: dict[str, list[str]] = {}
    for url in urls:
        by_host.setdefault(_host(url), []).append(url)
    turns = chain.from_iterable(zip_longest(*by_host.values()))
    return [url for url in turns if url is not None]
