"""Detect the events of live sound from Python, as `sed listen` does on the command line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from sed.errors import SedError
from sed.events.post_processing import PostProcessing
from sed.events.tracker import Event
from streaming.engines.base import Engine
from streaming.engines.select import open_engine
from streaming.live.listener import BUFFER_SECONDS, LIVE, Listener, live_config
from streaming.live.sources import open_source
from streaming.messages import EventEnded
from streaming.pipeline.config import DetectorConfig

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


def listen(
    input: str | Sequence[str] | None = None,
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    channel: int | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    hop_seconds: float | None = None,
    threshold: float | None = None,
    class_thresholds: Mapping[str, float] | None = None,
    thresholds: PostProcessing | str | os.PathLike[str] | None = None,
    onset_threshold: float | None = None,
    offset_threshold: float | None = None,
    min_duration_seconds: float | None = None,
    min_gap_seconds: float | None = None,
    lookahead_seconds: float | None = LIVE.lookahead_seconds,
    classes: str | Sequence[str] = (),
    all_classes: bool = False,
    at_level: Literal["class", "kind"] = "class",
    unknown: bool = False,
    top_k: int | None = None,
    buffer_seconds: float = BUFFER_SECONDS,
    n_threads: int = 1,
) -> _LiveEvents:
    """Return an iterator over the events of live sound, each as soon as it is complete.

    It ends when the inputs end, with a `SedError` if one of them failed. If the caller takes longer
    than `buffer_seconds` from one event to the next, sound is dropped; ``.listener.status()``
    counts it. `Listener.messages` gives more than complete events: onsets as they happen, gaps, and
    problems.

    Parameters
    ----------
    input
        Name, part of a name or number of a sound device; a file, which is played at real speed;
        ``-`` for a WAV stream on standard input; a URL; or several of these. The default
        microphone if not given.
    model
        A checkpoint or its path; the default model if not given.
    channel
        Channel to analyse, counted from 1; the mean of all if not given.
    engine, device, precision
        What runs the model, on which processor and in which number format; see `open_engine`.
    hop_seconds
        Seconds from one window to the next; if None 0.5, and for a graph of others the hop that it
        was registered with.
    threshold, class_thresholds, thresholds, onset_threshold, offset_threshold, \
min_duration_seconds, min_gap_seconds, lookahead_seconds, classes, all_classes, at_level, \
unknown, top_k
        See `DetectorConfig`. A single class may be given as a string.
    buffer_seconds
        Seconds of sound that may wait for the model.
    n_threads
        CPU cores for the model.

    Raises
    ------
    UsageError
        If a parameter has a value that it cannot have.
    SedError
        If the model cannot be loaded, or an input cannot be opened. The iterator raises it after
        the last event if an input could not be read to its end.
    """
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode="sliding_window",
        threshold=threshold,
        class_thresholds=class_thresholds or (),
        thresholds=thresholds,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=(classes,) if isinstance(classes, str) else tuple(classes),
        all_classes=all_classes,
        at_level=at_level,
        unknown=unknown,
        top_k=top_k,
    )
    opened = open_engine(
        model,
        engine=engine,
        device=device,
        precision=precision,
        n_streams=1,
        n_threads=n_threads,
    )
    inputs = [input] if input is None or isinstance(input, str) else input
    listener = Listener(
        [open_source(name, channel=channel) for name in inputs],
        opened,
        live_config(config, opened.spec),
        channel=channel,
        buffer_seconds=buffer_seconds,
    )
    return _LiveEvents(listener)


class _LiveEvents(Iterator[Event]):
    """The complete events of a listener, in the order in which they end.

    Parameters
    ----------
    listener
        Starts when the first event is requested.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._messages = listener.messages()
        self._is_reported = False  # that inputs have failed

    def __next__(self) -> Event:
        for message in self._messages:
            if isinstance(message, EventEnded):
                return message.event
        if self.listener.failures and not self._is_reported:
            self._is_reported = True
            raise SedError("; ".join(self.listener.failures))
        raise StopIteration

    def close(self) -> None:
        """Stop listening; may be called from any thread."""
        self.listener.stop()
        with suppress(ValueError):  # another thread is waiting for an event, and stops by itself
            self._messages.close()


async def listen_async(
    input: str | Sequence[str] | None = None,
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    channel: int | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    hop_seconds: float | None = None,
    threshold: float | None = None,
    class_thresholds: Mapping[str, float] | None = None,
    thresholds: PostProcessing | str | os.PathLike[str] | None = None,
    onset_threshold: float | None = None,
    offset_threshold: float | None = None,
    min_duration_seconds: float | None = None,
    min_gap_seconds: float | None = None,
    lookahead_seconds: float | None = LIVE.lookahead_seconds,
    classes: str | Sequence[str] = (),
    all_classes: bool = False,
    at_level: Literal["class", "kind"] = "class",
    unknown: bool = False,
    top_k: int | None = None,
    buffer_seconds: float = BUFFER_SECONDS,
    n_threads: int = 1,
) -> AsyncGenerator[Event]:
    """Yield the events of live sound as an asynchronous generator.

    The model runs in threads of its own. Parameters and errors are those of `listen`.
    """
    events = await asyncio.to_thread(
        listen,
        input,
        model,
        channel=channel,
        engine=engine,
        device=device,
        precision=precision,
        hop_seconds=hop_seconds,
        threshold=threshold,
        class_thresholds=class_thresholds,
        thresholds=thresholds,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=classes,
        all_classes=all_classes,
        at_level=at_level,
        unknown=unknown,
        top_k=top_k,
        buffer_seconds=buffer_seconds,
        n_threads=n_threads,
    )
    try:
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event
    finally:
        await asyncio.to_thread(events.close)
