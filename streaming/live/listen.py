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
from streaming.live.sources import open_ear
from streaming.messages import Ended
from streaming.pipeline.config import DetectorConfig

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


def listen(
    device: str | Sequence[str] | None = None,
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    hop: float | None = LIVE.hop,
    threshold: float | None = None,
    on: float | None = None,
    off: float | None = None,
    min_length: float | None = None,
    merge_gap: float | None = None,
    look_ahead: float | None = LIVE.look_ahead,
    classes: tuple[str, ...] = (),
    top: int | None = None,
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
    hop, threshold, on, off, min_length, merge_gap, look_ahead, classes, top
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
        hop=hop,
        mode="windowed",
        threshold=threshold,
        on=on,
        off=off,
        min_length=min_length,
        merge_gap=merge_gap,
        look_ahead=look_ahead,
        classes=tuple(classes),
        top=top,
    )
    opened = open_engine(model, engine=engine, device=compute, precision=precision, n_streams=1)
    devices = [device] if device is None or isinstance(device, str) else device
    listener = Listener(
        [open_ear(source, channel=channel) for source in devices],
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
            if isinstance(message, Ended):
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
