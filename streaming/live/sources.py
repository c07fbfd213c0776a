"""Whatever can be listened to: a sound device, a file at real speed, standard input, a URL."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Protocol

from sed.audio.decode import Decoder, open_recording
from sed.audio.ffmpeg import ContainerDecoder
from sed.errors import RecordingError, SedError
from sed.types import Floats
from streaming.live.capture import CaptureBuffer

FILE_SPEED = 1.0  # seconds of a file per second
AHEAD_SECONDS = 2.0  # what a source that is faster than real time may deliver in advance
HURRY = 1.02  # a live source is never that much faster than its nominal rate; a piped file is
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0  # between attempts to reach a URL again
NETWORK_SECONDS = 10.0  # without a byte, after which a URL counts as gone
GONE = "the stream was gone"


class AudioSource(Protocol):
    """Something that delivers sound."""

    name: str  # what events call it
    sample_rate: int
    n_channels: int

    def start(self, intake: CaptureBuffer) -> None:
        """Begin to deliver into an intake."""
        ...

    def stop(self) -> None:
        """Deliver nothing any more, and say so to the intake."""
        ...


def open_source(source: str | None = None, *, channel: int | None = None) -> AudioSource:
    """Return what listens to a source.

    Parameters
    ----------
    source
        Name, part of a name or index of a sound device; a file; ``-`` for a WAV stream on standard
        input; a URL. The default device if not given.
    channel
        Counted from 1, if only one will be heard.

    Raises
    ------
    SedError
        If it cannot be opened.
    """
    if source == "-":
        return stdin_source(open_recording("-"))
    if source is not None and "://" in source:
        return UrlSource(source)
    if source is not None and os.path.exists(source) and not os.path.isdir(source):
        return FileSource(os.path.basename(source), open_recording(source), speed=FILE_SPEED)
    from streaming.live.microphone import Microphone

    return Microphone(source, channel=channel)


def stdin_source(decoder: Decoder) -> AudioSource:
    """Return what listens to standard input, already opened, and read from now on.

    Nobody can tell a live source from a file in a pipe. So it is read no faster than a live source
    could be, which holds a file back and a live source never.
    """
    drain = Drain(decoder, Pace(HURRY * decoder.sample_rate, AHEAD_SECONDS))
    return FileSource("stdin", drain, speed=math.inf)


class Drain:
    """A decoder that is read from the moment this is made, whether its blocks are wanted or not.

    Whoever records into a pipe cannot wait until a model is loaded.

    Parameters
    ----------
    decoder
        What is read.
    pace
        How fast.
    """

    def __init__(self, decoder: Decoder, pace: Pace) -> None:
        self.sample_rate, self.n_channels = decoder.sample_rate, decoder.n_channels
        self.n_samples, self.format = decoder.n_samples, decoder.format
        self._decoder, self._pace = decoder, pace
        self._stop = threading.Event()
        self._read: queue.SimpleQueue[Floats | SedError | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="read ahead", daemon=True).start()

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels)."""
        while (item := self._read.get()) is not None:
            if isinstance(item, SedError):
                raise item
            yield item

    def close(self) -> None:
        """Read no further."""
        self._stop.set()
        self._read.put(None)
        self._decoder.close()

    def _run(self) -> None:
        try:
            for block in self._decoder.blocks():
                self._pace.wait(len(block), self._stop)
                self._read.put(block)
                if self._stop.is_set():
                    break
        except SedError as error:
            self._read.put(error)
        finally:
            self._read.put(None)


class ThreadedSource:
    """What delivers from a thread of its own, which `_run` is.

    Parameters
    ----------
    name
        What events call it.
    decoder
        Where the sound comes from.
    """

    def __init__(self, name: str, decoder: Decoder) -> None:
        self.name = name
        self.sample_rate, self.n_channels = decoder.sample_rate, decoder.n_channels
        self._stop = threading.Event()

    def start(self, intake: CaptureBuffer) -> None:
        """Begin to deliver."""
        self._intake = intake
        self._thread = threading.Thread(target=self._run, name=f"read {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing any more."""
        self._stop.set()
        self._thread.join(timeout=1.0)  # longer only where a pipe or the network says nothing
        self._intake.end()

    def _run(self) -> None:
        raise NotImplementedError


class FileSource(ThreadedSource):
    """Delivers what a decoder gives, in a thread of its own.

    Parameters
    ----------
    name
        What events call it.
    decoder
        Where the sound comes from; closed at the end.
    speed
        In seconds of sound per second; None is as fast as it is heard, and then nothing is dropped.
    """

    def __init__(self, name: str, decoder: Decoder, *, speed: float | None = 1.0) -> None:
        super().__init__(name, decoder)
        self._decoder = decoder
        self._pace = None if speed is None else Pace(speed * decoder.sample_rate)

    def _run(self) -> None:
        try:
            deliver(self._decoder, self._intake, self._pace, self._stop)
        except SedError as error:
            self._intake.tell(str(error))
        finally:
            self._decoder.close()
            self._intake.end()


class UrlSource(ThreadedSource):
    """Delivers what a URL streams (RTSP, HTTP, Icecast, …), and reaches for it again when it ends.

    Raises
    ------
    RecordingError
        If it cannot be reached.
    MissingExtraError
        If PyAV is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._decoder = _reached(url)
        super().__init__(without_secrets(url), self._decoder)
        self._gone_at: float | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def _run(self) -> None:
        decoder: ContainerDecoder | None = self._decoder
        try:
            while decoder is not None:
                has_end = decoder.n_samples is not None
                trouble = self._hear(decoder)
                if trouble is not None and has_end:
                    self._intake.tell(str(trouble))
                decoder = None if has_end or self._stop.is_set() else self._again()
        finally:
            if self._gone_at is not None:
                self._intake.found(self._n_missing(), GONE)
            self._intake.end()

    def _hear(self, decoder: ContainerDecoder) -> RecordingError | None:
        """Deliver what comes until it ends; return why, if it broke off."""
        pace = Pace(HURRY * self.sample_rate, AHEAD_SECONDS)
        with closing(decoder):
            try:
                deliver(decoder, self._intake, pace, self._stop, self._note_back)
            except RecordingError as error:
                return error
        return None

    def _note_back(self) -> None:
        """Close the gap, if there is one, before the first block behind it."""
        if self._gone_at is not None:
            self._intake.found(self._n_missing(), GONE, f"{self.name}: is back")
            self._gone_at = None
            self._pause_seconds = FIRST_PAUSE_SECONDS

    def _again(self) -> ContainerDecoder | None:
        """Reach for the URL until it is there or nobody listens any more."""
        if self._gone_at is None:  # else it was there, and gone again before it said a word
            self._gone_at = time.monotonic()
            self._intake.lost(f"{self.name}: gone; trying to reach it again")
        while not self._stop.wait(self._pause_seconds):
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            with suppress(RecordingError):
                return _reached(self._url, self._decoder)
        return None

    def _n_missing(self) -> int:
        assert self._gone_at is not None
        return round((time.monotonic() - self._gone_at) * self.sample_rate)


class Pace:
    """Holds back who delivers samples faster than they would be spoken.

    Parameters
    ----------
    rate
        Samples per second.
    ahead_seconds
        What may be delivered before its time.
    """

    def __init__(self, rate: float, ahead_seconds: float = 0.0) -> None:
        self._rate = rate
        self._ahead_seconds = ahead_seconds
        self._began: float | None = None
        self._n_samples = 0

    def wait(self, n_samples: int, stop: threading.Event) -> None:
        """Wait until so many more samples may be delivered, or `stop` is set."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        self._n_samples += n_samples
        due = self._began + self._n_samples / self._rate - self._ahead_seconds
        if due > now:
            stop.wait(due - now)
        elif self._ahead_seconds:  # a live source that paused does not make up for it by hurrying
            self._began = max(self._began, now - self._n_samples / self._rate)


def deliver(
    decoder: Decoder,
    intake: CaptureBuffer,
    pace: Pace | None,
    stop: threading.Event,
    before_each: Callable[[], None] = lambda: None,
) -> None:
    """Push what a decoder gives into an intake, in blocks as a sound device would, until `stop`."""
    most = max(1, decoder.sample_rate // 20)
    for block in decoder.blocks():
        for first in range(0, len(block), most):
            piece = block[first : first + most]
            if pace is None:
                intake.wait_for_room(len(piece), stop)
            else:
                pace.wait(len(piece), stop)
            if stop.is_set():
                return
            before_each()
            intake.push(piece)


def without_secrets(url: str) -> str:
    """Return a URL without user, password and query, fit for a log."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _reached(url: str, like: ContainerDecoder | None = None) -> ContainerDecoder:
    return ContainerDecoder(
        url, name=without_secrets(url), timeout_seconds=NETWORK_SECONDS, like=like
    )
