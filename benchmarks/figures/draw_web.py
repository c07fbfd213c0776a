"""Draw `docs/web.png`: the page of `sed listen --web` on `examples/village.ogg`.

    python -m benchmarks.figures.draw_web

The recording goes through the default model at full speed, into a real page with a real database
and clips; the last part at real speed, so that the page shows how it moves. Load and latency are
constant, and the events of the day before are made up. Needs chromium.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import sed
from sed.events.tracker import Event
from streaming.live.listener import LIVE
from streaming.messages import (
    AudioBlock,
    Dispatcher,
    EventEnded,
    EventStarted,
    InputStatus,
    Message,
    Status,
)
from streaming.sinks.clips import ClipRecorder
from streaming.sinks.database import EventDatabase
from streaming.web.server import WebView

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "examples" / "village.ogg"
SOURCE = "USB microphone"
RATE = 48_000
BLOCK_SAMPLES = RATE // 20
STOP_SECONDS, REAL_SECONDS = 111.9, 4.0  # time of the screenshot; length played at real speed
LOAD, LATENCY_SECONDS = 0.05, 0.03


def messages(detector: sed.Detector, started: datetime) -> Iterator[Message]:
    """Yield the messages of a listener."""
    sound = np.concatenate(list(sed.read_blocks(RECORDING, RATE)))[: round(STOP_SECONDS * RATE)]
    n_events = 0
    for start in range(0, len(sound), BLOCK_SAMPLES):
        block = sound[start : start + BLOCK_SAMPLES]
        detection = detector.push(block)
        yield AudioBlock(
            SOURCE, start, block[:, None], RATE, detection.log_mel, detection.frame_probs
        )
        yield from (EventStarted(placed(event, started)) for event in detection.started)
        yield from (EventEnded(placed(event, started)) for event in detection.events)
        n_events += len(detection.events)
        if len(detection.log_mel):
            yield status(start + len(block), n_events)


def placed(event: Event, started: datetime) -> Event:
    """Return an event with its source and its time of day."""
    return dataclasses.replace(event, file=SOURCE, time=started + timedelta(seconds=event.onset))


def status(n_samples: int, n_events: int) -> Status:
    """Return the status of an input that lost nothing."""
    source = InputStatus(SOURCE, "listening", RATE, 1, n_samples, n_samples, 0, 0, 0, 0, 0)
    return Status(n_samples / RATE, LOAD, LATENCY_SECONDS, n_events, (source,))


def fill_database(path: Path) -> None:
    """Write made-up events of a village since yesterday into the database."""
    generator = np.random.default_rng(5)
    now = datetime.now().astimezone()
    habits = {"rooster": (6, 9), "dog": (7, 22), "church_bells": (8, 20), "chirping_birds": (5, 11),
              "car_horn": (8, 18), "crickets": (19, 27)}  # fmt: skip
    database = EventDatabase(path, model="yesterday")
    for hours_ago in range(23, 0, -1):
        hour = now - timedelta(hours=hours_ago)
        for label, (first, last) in habits.items():
            is_time = first <= hour.hour < last or first <= hour.hour + 24 < last
            for minute in generator.uniform(0, 55, generator.poisson(9 if is_time else 0.15)):
                onset = 60 * float(minute)
                moment = hour.replace(minute=0, second=0) + timedelta(seconds=onset)
                database.handle(EventEnded(Event(onset, onset + 2, label, 0.9, SOURCE, moment)))
    database.close()


def play(dispatcher: Dispatcher, detector: sed.Detector) -> None:
    """Pass the messages to the sinks, the last ones at real speed."""
    started = datetime.now().astimezone() - timedelta(seconds=STOP_SECONDS)
    real_time_from = STOP_SECONDS - REAL_SECONDS
    due = 0.0
    for message in messages(detector, started):
        if isinstance(message, AudioBlock) and (at := message.start / RATE) >= real_time_from:
            due = due or time.monotonic() - (at - real_time_from)
            time.sleep(max(0.0, due + at - real_time_from - time.monotonic()))
        dispatcher.handle(message)


def draw(out: Path, width: int, height: int, scheme: str) -> None:
    detector = sed.Detector(sed.load_model(), LIVE, sample_rate=RATE)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "events.db"
        fill_database(path)
        web = WebView(port=0, database_path=path, labels=detector.labels,
                      log_mel=detector.spec.log_mel)  # fmt: skip
        dispatcher = Dispatcher(
            [ClipRecorder(Path(folder) / "clips", delay_seconds=2.0), EventDatabase(path), web]
        )
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            device_scale_factor=1.5,
        )
        page.goto(web.url)
        play(dispatcher, detector)
        page.wait_for_timeout(300)
        page.screenshot(path=out)
        browser.close()
        dispatcher.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "web.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1390)
    parser.add_argument("--scheme", choices=("dark", "light"), default="dark")
    arguments = parser.parse_args()
    draw(arguments.output, arguments.width, arguments.height, arguments.scheme)


if __name__ == "__main__":
    main()
