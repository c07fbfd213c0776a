"""Build messages, serve a page, and view it as a program does."""

import json
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import httpx
import numpy as np
import soundfile
from websockets.sync.client import connect

from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from streaming.messages import AudioBlock, Dispatcher, InputStatus, Status
from streaming.sinks.database import EventDatabase
from streaming.web.server import WebView

START = datetime(2026, 11, 21, 13, 15, tzinfo=timezone(timedelta(hours=1)))
LOG_MEL = LogMelConfig()
LABELS = ("dog", "siren", "wind")
RATE = 16_000
ROUTES = ["/", "/page.css", "/page.js", "/icon.svg", "/events", "/history", "/clips/1", "/metrics",
          "/health", "/nothing"]  # fmt: skip


def event(onset, label="dog", source="mic", time=None):
    return Event(onset, onset + 1.5, label, 0.8, source, time or START + timedelta(seconds=onset))


def audio_block(start=0, seconds=0.5, source="mic", seed=0):
    """Return a block of noise, with random columns and frames of matching length."""
    generator = np.random.default_rng(seed)
    block = 0.1 * generator.standard_normal((round(seconds * RATE), 1)).astype(np.float32)
    columns = generator.normal(-2, 2, (round(100 * seconds), 64)).astype(np.float32)
    probs = generator.uniform(0, 1, (2, len(LABELS))).astype(np.float32)
    return AudioBlock(source, start, block, RATE, columns, probs)


def status(state="listening", **counts):
    values = {"n_delivered": 100, "n_processed": 90, "n_dropped": 7, "n_waiting": 3, "n_missing": 0,
              "n_overflows": 2, "n_gaps": 1} | counts  # fmt: skip
    return Status(12.5, 0.25, 0.4, 3, (InputStatus("mic", state, RATE, 1, **values),))


@contextmanager
def viewed(path, **options):
    """Yield a page, and a dispatcher to its database and to the page."""
    database = EventDatabase(path)
    web = WebView(
        options.pop("host", "127.0.0.1"), 0, database_path=path, labels=LABELS,
        log_mel=LOG_MEL, **options,
    )  # fmt: skip
    dispatcher = Dispatcher([database, web])
    try:
        yield web, dispatcher
    finally:
        dispatcher.close()


def live(web, **options):
    return connect(web.url.replace("http", "ws") + "live", proxy=None, **options)


CLIENT = httpx.Client(
    trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
)


def get(web, path, **options):
    return CLIENT.get(web.url + path.removeprefix("/"), **options)


def receive(viewer, kind):
    """Return the messages of a viewer up to the first of a type."""
    seen = []
    until = time.monotonic() + 10
    while not any(each["type"] == kind for each in seen):
        seen += json.loads(viewer.recv(timeout=until - time.monotonic()))
    return seen


def last(viewer, kind):
    return next(each for each in receive(viewer, kind) if each["type"] == kind)


def save_clip(folder, seconds=1.0):
    """Write a FLAC file of noise and return its path."""
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(folder / "dog.flac", sound, RATE)
    return folder / "dog.flac"
