"""What the web view tells its viewers: messages as JSON, and a queue for each viewer.

::

    message ─▶ Feed ─ dictionaries ─▶ Viewers ─▶ Viewer ─ [{…}, {…}] ─▶ socket
                                         └─────▶ Viewer ─ [{…}, {…}] ─▶ socket

A viewer that comes is first told of the last minute; one that is slow misses the oldest of what
waits for it, and is told how much that was.
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
from streaming.sinks.history import StoredEvent

Json = dict[str, Any]

STRIPS_PER_SECOND = 25  # of a spectrogram, about: each is the loudest of a few columns
STEP_DB = 0.5  # of the 256 levels that a strip has
KEPT_SECONDS = 60.0  # of spectrogram, for viewers that come
N_TOP = 12  # classes told at a time
MOST_WAITING = 600  # things to tell that may wait for a viewer: half a minute of one input


class Feed:
    """Turns messages into what viewers are told, and knows what one that comes has to be told.

    Parameters
    ----------
    labels
        One per class, in the order of the probabilities.
    log_mel
        What the columns of the spectrogram are.
    model
        Its name.
    """

    def __init__(self, labels: Sequence[str], log_mel: LogMelConfig, model: str) -> None:
        column_seconds = log_mel.hop_length / log_mel.sample_rate
        self._strip_columns = max(1, round(1 / (STRIPS_PER_SECOND * column_seconds)))
        self._strip_seconds = self._strip_columns * column_seconds
        self._front_end = log_mel
        self._pictures: dict[str, _Picture] = {}
        self._lasting: dict[tuple[str, str, float], Json] = {}
        self._status: Json | None = None
        self._head: Json = {
            "type": "hello",
            "model": to_utf8(model),
            "labels": [to_utf8(label) for label in labels],
            "strip_seconds": self._strip_seconds,
            "step_db": STEP_DB,
            "band_hz": [round(hz, 1) for hz in mel_center_hz(log_mel).tolist()],
        }

    def snapshot(self) -> Json:
        """Return what a viewer is told first."""
        return self._head | {
            "sources": [picture.told() for picture in self._pictures.values()],
            "lasting": list(self._lasting.values()),
            "status": self._status,
        }

    def forget_lasting(self) -> None:
        """Know of no event that lasts: messages were missed, and it may be over."""
        self._lasting.clear()

    def encode(self, message: Message) -> Json | None:
        """Return what viewers are told of a message, if anything."""
        match message:
            case AudioBlock():
                return self._heard(message)
            case EventStarted(event):
                told = event_json(event)
                self._lasting[event.file, event.label, event.onset] = told
                return {"type": "began", "event": told}
            case EventEnded(event):
                self._lasting.pop((event.file, event.label, event.onset), None)
                return {"type": "ended", "event": event_json(event)}
            case Gap():
                if message.n_samples:
                    self._picture(message.source).skip(message.offset)
                return {"type": "gap"} | _plain(dataclasses.asdict(message))
            case Problem():
                time = datetime.now().astimezone()
                return {"type": "trouble", "text": to_utf8(message.text), "time": iso_time(time)}
            case Status():
                told = _plain(dataclasses.asdict(message))
                told["sources"] = [_plain(source) for source in told["sources"]]
                self._status = {"type": "status"} | told
                return self._status
        return None

    def _heard(self, heard: AudioBlock) -> Json:
        told: Json = {
            "type": "heard",
            "source": to_utf8(heard.source),
            "peak_db": round(amplitude_to_db(heard.peak), 1),
            "rms_db": round(amplitude_to_db(heard.rms), 1),
            "clips": heard.peak >= CLIPPED,
        }
        picture = self._picture(heard.source)
        if strips := picture.push(heard.log_mel):
            told |= {"end": picture.end, "strips": _base64(strips)}
        if len(heard.frame_probs):
            told["top"] = _top(heard.frame_probs)
        return told

    def _picture(self, source: str) -> _Picture:
        if source not in self._pictures:
            self._pictures[source] = _Picture(
                source, self._front_end, self._strip_columns, self._strip_seconds
            )
        return self._pictures[source]


class _Picture:
    """The last minute of the spectrogram of an input."""

    def __init__(
        self, source: str, log_mel: LogMelConfig, strip_columns: int, strip_seconds: float
    ) -> None:
        self._source = source
        self._front_end = log_mel
        self._strip_columns, self._strip_seconds = strip_columns, strip_seconds
        self._rest = np.empty((0, log_mel.n_mels), np.float32)  # less than a strip
        self._strips = b""
        self.end = 0.0  # seconds of the input, behind the last strip

    def push(self, columns: Floats) -> bytes:
        """Take the next columns; return the strips that they complete, a byte for each band.

        A byte counts steps above what the front end gives for silence, so that it always means the
        same.
        """
        columns = np.concatenate([self._rest, columns])
        n = len(columns) // self._strip_columns
        whole = columns[: n * self._strip_columns]
        grouped = whole.reshape(n, self._strip_columns, self._front_end.n_mels)
        self._rest = columns[n * self._strip_columns :]
        above = (grouped.max(axis=1) - self._front_end.silence_value) * (
            self._front_end.db_per_unit / STEP_DB
        )
        strips: bytes = np.nan_to_num(np.clip(above, 0, 255)).astype(np.uint8).tobytes()
        self._strips += strips
        self.end += n * self._strip_seconds
        self._forget()
        return strips

    def skip(self, until: float) -> None:
        """Go on at a later second; what lies between is lost, and silent in the picture."""
        n = min(round((until - self.end) / self._strip_seconds), self._n_kept)
        self._rest = self._rest[:0]
        self._strips += bytes(max(0, n) * self._front_end.n_mels)
        self.end = until
        self._forget()

    def told(self) -> Json:
        """Return what a viewer that comes is told."""
        return {
            "source": to_utf8(self._source),
            "end": self.end,
            "strips": _base64(self._strips),
        }

    @property
    def _n_kept(self) -> int:
        return round(KEPT_SECONDS / self._strip_seconds)

    def _forget(self) -> None:
        self._strips = self._strips[-self._n_kept * self._front_end.n_mels :]


class Viewer:
    """What waits for one viewer."""

    def __init__(self, first: str) -> None:
        self._waiting = deque([first])
        self._n_missed = 0
        self._is_there = asyncio.Event()
        self._is_there.set()

    def put(self, text: str) -> None:
        """Have something told; if too much waits already, the oldest is missed."""
        if len(self._waiting) == MOST_WAITING:
            self.miss(1)
            self._waiting.popleft()
        self._waiting.append(text)
        self._is_there.set()

    def miss(self, n: int) -> None:
        """Note that so much was not told."""
        self._n_missed += n

    async def next(self) -> str:
        """Return all that waits, as a JSON array, as soon as there is something."""
        await self._is_there.wait()
        self._is_there.clear()
        texts = list(self._waiting)
        self._waiting.clear()
        if self._n_missed:
            texts.insert(0, json.dumps({"type": "missed", "n": self._n_missed}))
            self._n_missed = 0
        return f"[{','.join(texts)}]"


class Viewers:
    """All who watch."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._viewers: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._viewers)

    def connect(self) -> Viewer:
        """Return a viewer who has come, and is told everything from here on."""
        viewer = Viewer(json.dumps(self._feed.snapshot()))
        self._viewers.add(viewer)
        return viewer

    def disconnect(self, viewer: Viewer) -> None:
        """Let a viewer go."""
        self._viewers.discard(viewer)

    def put(self, told: Json) -> None:
        """Tell all."""
        if self._viewers:
            text = json.dumps(told)
            for viewer in self._viewers:
                viewer.put(text)

    def miss(self, n: int) -> None:
        """Note that so many messages came too fast to be told to anybody."""
        for viewer in self._viewers:
            viewer.miss(n)


def event_json(event: Event) -> Json:
    """Return an event as viewers are told of it."""
    return {
        "source": to_utf8(event.file),
        "label": to_utf8(event.label),
        "onset": event.onset,
        "offset": event.offset,
        "score": event.score,
        "time": iso_time(event.time) if event.time else None,
    }


def row_json(row: StoredEvent) -> Json:
    """Return a stored event as viewers are told of it; clips are known by ids, not by paths."""
    told = row._asdict()
    del told["clip_path"]
    return told | {"has_clip": row.clip_path is not None}


def _plain(values: Mapping[str, Any]) -> Json:
    """Return values with text that JSON can hold."""
    told = {}
    for name, value in values.items():
        if isinstance(value, str):
            value = to_utf8(value)
        told[name] = iso_time(value) if isinstance(value, datetime) else value
    return told


def _top(frame_probs: Floats) -> list[tuple[int, float]]:
    """Return the likeliest classes, each with its highest probability in some frames."""
    probs = np.nan_to_num(frame_probs.max(axis=0))
    likeliest = np.argsort(-probs, kind="stable")[:N_TOP].tolist()
    return [(c, round(float(probs[c]), 3)) for c in likeliest]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
