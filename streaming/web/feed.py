"""Encode messages as JSON for the viewers of the web page, with a queue for each viewer.

::

    message ─▶ Feed ─ JSON objects ─▶ Viewers ─▶ Viewer ─ [{…}, {…}] ─▶ WebSocket
                                         └─────▶ Viewer ─ [{…}, {…}] ─▶ WebSocket

A new viewer first receives a snapshot with the spectrograms of the last minute. A slow viewer
misses the oldest objects in its queue, and receives their number.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig, amplitude_to_db, mel_center_hz
from sed.features.waterfall import Waterfall
from sed.text import iso_time, to_utf8
from sed.types import Floats
from streaming.messages import (
    CLIPPED,
    AudioBlock,
    EventEnded,
    EventStarted,
    Gap,
    Message,
    Problem,
    Status,
)
from streaming.sinks.payload import TIME_DECIMALS, event_payload
from streaming.sinks.record.history import StoredEvent

Json = dict[str, Any]

CELL_SECONDS = 0.04  # of a spectrogram; a cell is the maximum of a few columns
STEP_DB = 0.5  # of the 256 levels of a cell
SNAPSHOT_SECONDS = 60.0  # of spectrogram in a snapshot
TOP_K = 12  # likeliest classes in an object
MAX_QUEUED = 600  # objects that wait for a viewer: half a minute of one input


class Feed:
    """Encode messages, and keep the state that a new viewer needs.

    Parameters
    ----------
    labels
        One per class, in the order of the probabilities.
    log_mel
        Parameters of the log-mel columns.
    model
        Name of the model.
    """

    def __init__(self, labels: Sequence[str], log_mel: LogMelConfig, model: str) -> None:
        self._log_mel = log_mel
        self._waterfalls: dict[str, Waterfall] = {}  # by the name of the input
        self._active_events: dict[tuple[str, str, float], Json] = {}
        self._status: Json | None = None
        self._constants: Json = {
            "type": "snapshot",
            "model": to_utf8(model),
            "labels": [to_utf8(label) for label in labels],
            "cell_seconds": self._new_waterfall().cell_seconds,
            "step_db": STEP_DB,
            "band_hz": [round(hz, 1) for hz in mel_center_hz(log_mel).tolist()],
        }

    def snapshot(self) -> Json:
        """Return the first object for a new viewer."""
        return self._constants | {
            "spectrograms": [
                {
                    "source": to_utf8(source),
                    "end": waterfall.end_seconds,
                    "cells": self._quantize(waterfall.cells),
                }
                for source, waterfall in self._waterfalls.items()
            ],
            "active_events": list(self._active_events.values()),
            "status": self._status,
        }

    def forget_active_events(self) -> None:
        """Drop the events that last: messages were missed, and they may have ended."""
        self._active_events.clear()

    def encode(self, message: Message, *, is_watched: bool = True) -> Json | None:
        """Return a message as a JSON object, or None if viewers do not need it.

        Of sound that is not watched, only what a later snapshot needs is kept.
        """
        match message:
            case AudioBlock():
                if not is_watched:
                    self._waterfall(message.source).push(message.log_mel)
                    return None
                return self._encode_block(message)
            case EventStarted(event):
                encoded = _event_json(event)
                self._active_events[event.file, event.label, event.onset] = encoded
                return {"type": "event_started", "event": encoded}
            case EventEnded(event):
                self._active_events.pop((event.file, event.label, event.onset), None)
                return {"type": "event_ended", "event": _event_json(event)}
            case Gap():
                if message.n_samples:
                    self._waterfall(message.source).skip(message.offset)
                return {"type": "gap"} | _json_values(dataclasses.asdict(message))
            case Problem():
                now = iso_time(datetime.now().astimezone())
                return {"type": "problem", "text": to_utf8(message.text), "time": now}
            case Status():
                values = _json_values(dataclasses.asdict(message))
                values["sources"] = [_json_values(source) for source in values["sources"]]
                self._status = {"type": "status"} | values
                return self._status
        return None

    def _encode_block(self, block: AudioBlock) -> Json:
        encoded: Json = {
            "type": "audio_block",
            "source": to_utf8(block.source),
            "peak_db": round(amplitude_to_db(block.peak), 1),
            "rms_db": round(amplitude_to_db(block.rms), 1),
            "clipped": block.peak >= CLIPPED,
        }
        waterfall = self._waterfall(block.source)
        if len(cells := waterfall.push(block.log_mel)):
            encoded |= {"end": waterfall.end_seconds, "cells": self._quantize(cells)}
        if len(block.frame_probs):
            encoded["top"] = _top_classes(block.frame_probs)
        return encoded

    def _new_waterfall(self) -> Waterfall:
        return Waterfall(self._log_mel, cell_seconds=CELL_SECONDS, max_seconds=SNAPSHOT_SECONDS)

    def _waterfall(self, source: str) -> Waterfall:
        if source not in self._waterfalls:
            self._waterfalls[source] = self._new_waterfall()
        return self._waterfalls[source]

    def _quantize(self, cells: Floats) -> str:
        """Return cells, shape (cells, mels), as Base64 with one byte per cell and mel band.

        A byte is the level above that of digital silence in steps of `STEP_DB`, 0 if it is lost:
        ``clip((cell - silence) · dB per unit / STEP_DB, 0, 255)``.
        """
        levels = (cells - self._log_mel.silence_value) * (self._log_mel.db_per_unit / STEP_DB)
        data = np.nan_to_num(np.clip(levels, 0, 255)).astype(np.uint8).tobytes()
        return base64.b64encode(data).decode()


class Viewer:
    """The queue of one viewer.

    Parameters
    ----------
    first
        The first object, as JSON.
    """

    def __init__(self, first: str) -> None:
        self._queue = deque([first])
        self._n_missed = 0
        self._has_items = asyncio.Event()
        self._has_items.set()

    def put(self, text: str) -> None:
        """Append an object, as JSON; a full queue drops its oldest object."""
        if len(self._queue) == MAX_QUEUED:
            self.miss(1)
            self._queue.popleft()
        self._queue.append(text)
        self._has_items.set()

    def miss(self, n: int) -> None:
        """Count `n` objects that the viewer will not receive."""
        self._n_missed += n

    async def next(self) -> str:
        """Wait until the queue holds something; return all of it as a JSON array."""
        await self._has_items.wait()
        self._has_items.clear()
        texts = list(self._queue)
        self._queue.clear()
        if self._n_missed:
            texts.insert(0, json.dumps({"type": "missed", "n": self._n_missed}))
            self._n_missed = 0
        return f"[{','.join(texts)}]"


class Viewers:
    """The connected viewers.

    Parameters
    ----------
    feed
        Gives the snapshot for a new viewer.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._viewers: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._viewers)

    def connect(self) -> Viewer:
        """Add a viewer; its queue starts with a snapshot."""
        viewer = Viewer(json.dumps(self._feed.snapshot()))
        self._viewers.add(viewer)
        return viewer

    def disconnect(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self._viewers.discard(viewer)

    def put(self, encoded: Json) -> None:
        """Append an object to the queues of all viewers."""
        if self._viewers:
            text = json.dumps(encoded)
            for viewer in self._viewers:
                viewer.put(text)

    def miss(self, n: int) -> None:
        """Count `n` messages that no viewer will receive."""
        for viewer in self._viewers:
            viewer.miss(n)


def _event_json(event: Event) -> Json:
    """Return an event as a JSON object; times are seconds, `time` is ISO 8601 or None."""
    return {
        "source": to_utf8(event.file),
        "label": to_utf8(event.label),
        "onset": event.onset,
        "offset": event.offset,
        "score": event.score,
        "time": iso_time(event.time) or None,
    }


def row_json(row: StoredEvent) -> Json:
    """Return the payload of a stored event, with the address of its clip instead of its path."""
    event = Event(row.onset, row.offset, row.label, row.score, row.source)
    return event_payload(event) | {
        "time": row.time,
        "clip": None if row.clip_path is None else f"/clips/{row.id}",
        "id": row.id,
        "session_id": row.session_id,
        "unix_time": round(row.unix_time, TIME_DECIMALS),
        "verdict": row.verdict,
    }


def _json_values(values: Mapping[str, Any]) -> Json:
    """Return values with text and times that JSON can hold."""
    encoded = {}
    for name, value in values.items():
        if isinstance(value, str):
            value = to_utf8(value)
        encoded[name] = iso_time(value) if isinstance(value, datetime) else value
    return encoded


def _top_classes(frame_probs: Floats) -> list[tuple[int, float]]:
    """Return the likeliest classes, each with its highest probability in some frames."""
    probs = np.nan_to_num(frame_probs.max(axis=0))
    likeliest = np.argsort(-probs, kind="stable")[:TOP_K].tolist()
    return [(c, round(float(probs[c]), 3)) for c in likeliest]
