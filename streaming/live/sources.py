"""Open audio sources: a sound device, a file at real speed, standard input, a URL."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Protocol

from sed.audio.decode import Decoder, is_pipe, open_recording
from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.errors import SedError
from sed.text import printable
from sed.types import Floats
from streaming.live.capture import CaptureBuffer
from streaming.pipeline.prefetch import Prefetcher

FILE_SPEED = 1.0  # seconds of a file per second
AHEAD_SECONDS = 2.0  # that a source which is faster than real time may deliver in advance
MAX_SPEED = 1.02  # a live source is never this much faster than its nominal rate; a file is
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0  # between attempts to connect to a URL again
TIMEOUT_SECONDS = 10.0  # without a byte, after which a URL counts as disconnected
BLOCKS_PER_SECOND = 20
DISCONNECTED, SILENT = "the stream was disconnected", "the stream sent no sound"
DAMAGED_PACKETS = "packets of the stream were lost or cannot be decoded"


class AudioSource(Protocol):
    """Something that delivers audio to a `CaptureBuffer`."""

    name: str  # the name in events
    sample_rate: int  # Hz
    n_channels: int

    def start(self, buffer: CaptureBuffer) -> None:
        """Start to deliver to a buffer."""
        ...

    def stop(self) -> None:
        """Stop, and end the buffer."""
        ...


def open_source(
    source: str | None = None, *, channel: int | None = None, stdin: Decoder | None = None
) -> AudioSource:
    """Open an audio source by its name.

    Parameters
    ----------
    source
        Name, part of a name or number of a sound device; a file; a pipe, or ``-`` for
        standard input; a URL. The default microphone if not given.
    channel
        The channel that will be used, counted from 1; None for all of them.
    stdin
        Decoder of standard input, where it holds raw samples.

    Raises
    ------
    UsageError
        If a device has no such channel, or a part of a name belongs to several devices.
    SedError
        If the source cannot be opened.
    """
    if source is not None and (source == "-" or is_pipe(source)):
        name, raw = ("stdin", stdin) if source == "-" else (os.path.basename(source), None)
        decoder = _PrefetchedDecoder(raw or open_recording(source))
        return FileSource(name, decoder, speed=math.inf)
    if source is not None and "://" in source:
        return _UrlSource(source)
    if source is not None and os.path.exists(source) and not os.path.isdir(source):
        return FileSource(os.path.basename(source), open_recording(source), speed=FILE_SPEED)
    # PortAudio is not needed for the sources above.
    from streaming.live.microphone import Microphone

    return Microphone(source, channel=channel)


class _ThreadedSource:
    """Delivers what a decoder returns from a thread of its own, which runs `_run`."""

    def __init__(self, name: str, decoder: Decoder) -> None:
        self.name = name
        self.sample_rate, self.n_channels = decoder.sample_rate, decoder.n_channels
        self._stop = threading.Event()

    def start(self, buffer: CaptureBuffer) -> None:
        """Start to deliver."""
        self._buffer = buffer
        self._thread = threading.Thread(target=self._read, name=f"read {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and end the buffer."""
        self._stop.set()
        # It takes longer only where a pipe or the network delivers nothing.
        self._thread.join(timeout=1.0)
        self._buffer.end()

    def _read(self) -> None:
        try:
            self._run()
        # A library may raise any exception, which must not end the input without a word.
        except Exception as error:
            self._buffer.fail(_reason(self.name, error))
        finally:
            self._buffer.end()

    def _run(self) -> None:
        raise NotImplementedError


class FileSource(_ThreadedSource):
    """Delivers what a decoder returns, from a thread of its own.

    Parameters
    ----------
    name
        The name in events.
    decoder
        Returns the audio; closed at the end.
    speed
        Seconds of audio per second. None is as fast as it is processed, and then none is dropped;
        infinite is as fast as it arrives, from a pipe that is taken for live sound.
    """

    def __init__(self, name: str, decoder: Decoder, *, speed: float | None = 1.0) -> None:
        super().__init__(name, decoder)
        self._decoder = decoder
        self._is_live = speed == math.inf
        self._limiter = None if speed is None else _RateLimiter(speed * decoder.sample_rate)

    def _run(self) -> None:
        self._buffer.is_live = self._is_live
        with closing(self._decoder):
            _deliver(self._decoder, self._buffer, self._limiter, self._stop)


class _UrlSource(_ThreadedSource):
    """Delivers the stream at a URL (RTSP, HTTP, Icecast, …), and connects again when it breaks off.

    Parameters
    ----------
    url
        A stream, or a file on a server.

    Raises
    ------
    RecordingError
        If the server cannot be reached, or its stream has no audio.
    MissingExtraError
        If PyAV is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._decoder = self._connect()
        super().__init__(_without_secrets(url), self._decoder)
        self._disconnected_at: float | None = None  # monotonic seconds
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._block_at = time.monotonic()  # when the last block was delivered
        self._is_silent = False  # whether only the sound is away

    def _run(self) -> None:
        decoder: ContainerDecoder | None = self._decoder
        try:
            while decoder is not None:
                has_end = decoder.has_end
                error = self._deliver_all(decoder)
                if error is not None and has_end:
                    raise error
                decoder = None
                if not has_end and not self._stop.is_set():
                    decoder = self._reconnect(error)
        finally:
            if self._disconnected_at is not None:
                self._buffer.reconnected(self._n_missing(), DISCONNECTED)

    def _deliver_all(self, decoder: ContainerDecoder) -> Exception | None:
        """Deliver until the stream ends; return the error if it broke off."""
        limiter = _RateLimiter(MAX_SPEED * self.sample_rate, AHEAD_SECONDS)
        self._block_at = time.monotonic()
        try:
            with closing(decoder):
                _deliver(decoder, self._buffer, limiter, self._stop, self._close_gap)
        # Whatever a library raises in the middle of a stream, another connection may work.
        except Exception as error:
            return error
        return None

    def _close_gap(self) -> None:
        """Report the gap, if there is one, before the first block after it."""
        self._block_at = time.monotonic()
        if self._disconnected_at is not None:
            text = f"{self.name}: {'sends sound' if self._is_silent else 'connected'} again"
            reason = SILENT if self._is_silent else DISCONNECTED
            self._buffer.reconnected(self._n_missing(), reason, text)
            self._disconnected_at, self._is_silent = None, False
            self._pause_seconds = FIRST_PAUSE_SECONDS

    def _watch(self) -> None:
        """Report that a camera sends pictures and no sound: no timeout notices that."""
        late_seconds = time.monotonic() - self._block_at
        if self._disconnected_at is None and late_seconds > TIMEOUT_SECONDS:
            self._disconnected_at, self._is_silent = self._block_at, True
            self._buffer.disconnected(f"{self.name}: sends no sound; waiting for it")

    def _lose(self, n_samples: int) -> None:
        """Report damaged packets as a gap: they are no reason to connect again."""
        was_away = self._disconnected_at is not None
        self._close_gap()
        if not was_away:  # else they are in that gap
            self._buffer.missed(n_samples, DAMAGED_PACKETS)

    def _connect(self, like: ContainerDecoder | None = None) -> ContainerDecoder:
        return ContainerDecoder(
            self._url,
            name=_without_secrets(self._url),
            timeout_seconds=TIMEOUT_SECONDS,
            like=like,
            on_lost=self._lose,
            on_other=self._watch,
        )

    def _reconnect(self, error: Exception | None) -> ContainerDecoder | None:
        """Try to connect until it works or the source is stopped.

        Parameters
        ----------
        error
            What ended the last connection; None if the server did.
        """
        self._is_silent = False
        if self._disconnected_at is None:  # else it broke off again before the first block
            self._disconnected_at = time.monotonic()
            if error is not None and not isinstance(error, SedError):
                self._buffer.notify(_reason(self.name, error))
            self._buffer.disconnected(f"{self.name}: disconnected; trying to connect again")
        while not self._stop.wait(self._pause_seconds):
            self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
            with suppress(Exception):
                return self._connect(self._decoder)
        return None

    def _n_missing(self) -> int:
        assert self._disconnected_at is not None
        return round((time.monotonic() - self._disconnected_at) * self.sample_rate)


class _PrefetchedDecoder:
    """Reads standard input from the moment this is made.

    The program that writes into the pipe cannot wait until a model is loaded. A pipe may carry live
    sound or a file. So it is read no faster than live sound could arrive, which slows a file down
    and live sound never.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.sample_rate, self.n_channels = decoder.sample_rate, decoder.n_channels
        self.n_samples, self.format = decoder.n_samples, decoder.format
        self._decoder = decoder
        self._limiter = _RateLimiter(MAX_SPEED * decoder.sample_rate, AHEAD_SECONDS)
        self._stop = threading.Event()
        self._prefetcher = Prefetcher(self._read())

    def blocks(self) -> Iterator[Floats]:
        """Return an iterator over blocks of shape (samples, channels)."""
        return self._prefetcher

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._prefetcher.stop()
        self._decoder.close()

    def _read(self) -> Generator[Floats]:
        for block in self._decoder.blocks():
            self._limiter.wait(len(block), self._stop)
            yield block


class _RateLimiter:
    """Delays deliveries of samples that come faster than a rate.

    Parameters
    ----------
    rate
        Samples per second.
    ahead_seconds
        How far deliveries may be ahead of the rate.
    """

    def __init__(self, rate: float, ahead_seconds: float = 0.0) -> None:
        self._rate = rate
        self._ahead_seconds = ahead_seconds
        self._started: float | None = None
        self._n_samples = 0

    def wait(self, n_samples: int, stop: threading.Event) -> None:
        """Block until this many more samples may be delivered, or `stop` is set."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        self._n_samples += n_samples
        due = self._started + self._n_samples / self._rate - self._ahead_seconds
        if due > now:
            stop.wait(due - now)
        elif self._ahead_seconds:  # a live source that paused does not catch up by being faster
            self._started = max(self._started, now - self._n_samples / self._rate)


def _deliver(
    decoder: Decoder,
    buffer: CaptureBuffer,
    limiter: _RateLimiter | None,
    stop: threading.Event,
    before_each: Callable[[], None] = lambda: None,
) -> None:
    """Push the blocks of a decoder, cut as short as those of a sound device, until `stop`."""
    max_samples = max(1, decoder.sample_rate // BLOCKS_PER_SECOND)
    for block in decoder.blocks():
        for first in range(0, len(block), max_samples):
            part = block[first : first + max_samples]
            if limiter is None:
                buffer.wait_for_room(len(part), stop)
            else:
                limiter.wait(len(part), stop)
            if stop.is_set():
                return
            before_each()
            buffer.push(part)


def _reason(name: str, error: Exception) -> str:
    """Return why reading failed. The text of a library's error may hold the password of a URL."""
    if isinstance(error, SedError):
        return str(error)
    return f"{printable(name)}: reading failed: {type(error).__name__}"


def _without_secrets(url: str) -> str:
    """Return a URL without user, password and query, fit for a log."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
