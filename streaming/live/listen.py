"""Live sound to its events: what `sed listen` does, for Python."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sed.events.tracker import Event
from streaming.engines.base import Engine
from streaming.engines.select import open_engine
from streaming.live.listener import BUFFER_SECONDS, LIVE, Listener
from streaming.live.sources import open_source
from streaming.messages import EventEnded
from streaming.pipeline.config import DetectorConfig

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


def listen(
    device: str | Sequence[str] | None = None,
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    hop_seconds: float | None = LIVE.hop_seconds,
    threshold: float | None = None,
    onset_threshold: float | None = None,
    offset_threshold: float | None = None,
    min_duration_seconds: float | None = None,
    min_gap_seconds: float | None = None,
    lookahead_seconds: float | None = LIVE.lookahead_seconds,
    classes: tuple[str, ...] = (),
    top_k: int | None = None,
    channel: int | None = None,
    buffer: float = BUFFER_SECONDS,
    engine: str = "auto",
    compute: str = "auto",
    precision: str = "auto",
) -> LiveEvents:
    """Yield the events of live sound, each when it is complete, for as long as the sound lasts.

    Whoever takes longer than the buffer between two events loses sound, which is counted in
    ``.listener.status()``. What is told before an event is complete, and each gap, has
    `Listener.messages`.

    Parameters
    ----------
    device
        Name, part of a name or index of a sound device; a file, which is heard at real speed; ``-``
        for a WAV stream on standard input; a URL; or several of these. The default device if not
        given.
    model
        A checkpoint or its path; the default model if not given.
    hop, threshold, on, off, min_duration_seconds, min_gap_seconds, lookahead_seconds, classes, top
        See `DetectorConfig`; None is what it says there.
    channel
        Counted from 1; the mean of all if not given.
    buffer
        Seconds of sound that may wait for the model.
    engine, compute, precision
        What runs the model, on which device and in which precision; see `open_engine`.

    Raises
    ------
    UsageError
        If an option is not what it can be.
    SedError
        If the model cannot be loaded, or no input can be opened.
    """
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode="sliding_window",
        threshold=threshold,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=tuple(classes),
        top_k=top_k,
    )
    opened = open_engine(model, engine=engine, device=compute, precision=precision, n_streams=1)
    devices = [device] if device is None or isinstance(device, str) else device
    listener = Listener(
        [open_source(source, channel=channel) for source in devices],
        opened,
        config,
        channel=channel,
        buffer_seconds=buffer,
    )
    return LiveEvents(listener)


class LiveEvents(Iterator[Event]):
    """The events that a listener hears, one after the other.

    Parameters
    ----------
    listener
        Starts to listen when the first event is asked for.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._messages = listener.messages()

    def __next__(self) -> Event:
        for message in self._messages:
            if isinstance(message, EventEnded):
                return message.event
        raise StopIteration

    def close(self) -> None:
        """Stop to listen."""
        self.listener.stop()
        with suppress(ValueError):  # another thread is waiting for an event, and stops by itself
            self._messages.close()


async def listen_async(
    device: str | Sequence[str] | None = None,
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    **options: Any,
) -> AsyncIterator[Event]:
    """Yield the events of live sound while others run too; see `listen` for what it takes."""
    events = await asyncio.to_thread(listen, device, model, **options)
    try:
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event
    finally:
        await asyncio.to_thread(events.close)
