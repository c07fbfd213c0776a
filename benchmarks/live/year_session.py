"""Listen to a part of a simulated year, as the child process that `benchmarks.live.year` kills.

The listener, the detector, the database, the clips and the event file are those of `sed listen`.
Simulated are the microphone, the clocks and the network: a sample of the microphone holds the class
that sounds, the engine reads it, and a second of the year passes when its samples were processed.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import types
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sed.models.spec import ModelSpec, sample_blocks
from sed.types import Floats
from streaming.engines.base import Engine, FrameOutput, blocks_of_samples
from streaming.live.capture import CaptureBuffer
from streaming.live.clock import SystemClock
from streaming.live.listener import Listener
from streaming.messages import AudioBlock, ClipSaved, Dispatcher, EventEnded, Message
from streaming.pipeline.config import DetectorConfig
from streaming.sinks.clips import ClipRecorder, ClipsConfig
from streaming.sinks.database import EventDatabase
from streaming.sinks.event_file import EventFileSink
from streaming.sinks.storage import integrity
from streaming.sinks.storage.rotation import RotationConfig

RATE = 16  # samples per second
BLOCK_SECONDS = 300
DAY = 86_400
YEAR_START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
LABELS = ("blackbird", "robin", "wren", "dog", "car horn", "church bell", "owl", "siren")
CLIPS_MAX_MB = 1.0


def damaged_copies(folder: Path) -> list[Path]:
    """Return the databases that were set aside, the first one first."""
    found = (path for path in folder.glob("e.sqlite.damaged*") if not path.name.endswith("-wal"))
    return sorted(found, key=lambda path: int(path.name.removeprefix("e.sqlite.damaged") or 1))


class Clock:
    """The time of the simulation, in seconds since the start of the year, and the clock's error."""

    def __init__(self, start: float, error: float) -> None:
        self.true, self.error = start, error

    def now(self) -> float:
        """Return what the clock of the system shows, in seconds since 1970."""
        return YEAR_START + self.true + self.error

    def install(self) -> None:
        """Let this process see the time of the simulation."""
        integrity.time = types.SimpleNamespace(monotonic=time.monotonic)  # type: ignore[assignment]
        time.time = self.now
        time.monotonic = lambda: 1e6 + self.true
        time.clock_gettime = lambda _: 1e6 + self.true


class ScriptedEngine(Engine):
    """Reads the class that sounds from the samples."""

    n_streams = n_threads = 1
    receptive_field = None

    def __init__(self) -> None:
        log_mel = sample_blocks(RATE, RATE)
        self.spec = ModelSpec(LABELS, log_mel, 1, BLOCK_SECONDS, float(BLOCK_SECONDS))

    def extract_features(self, samples: Floats) -> Floats:
        """Return a column for each second."""
        return blocks_of_samples(samples, RATE)

    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return a high probability for the class in each second."""
        classes = np.rint(32 * log_mel.mean(axis=2)).astype(int) - 1
        probs = np.where(classes[..., None] == np.arange(len(LABELS)), 0.9, 0.02)
        probs = probs.astype(np.float32)
        heads = probs[:, :, None]
        return FrameOutput(probs, heads, np.ones_like(heads))


def script(seed: int, day: int, per_day: float) -> list[tuple[int, int, int]]:
    """Return onset, offset and class of the events of a day; most are in the morning."""
    generator = random.Random(f"{seed} {day}")
    season = 1.0 + 0.6 * np.cos(2 * np.pi * (day - 140) / 365)
    n_events = round(per_day * season * generator.uniform(0.6, 1.4))
    hours = [generator.gauss(6.5, 2.0) % 24 for _ in range(2 * n_events // 3)]
    hours += [generator.uniform(0, 24) for _ in range(n_events - len(hours))]
    events, free_from = [], 4
    for hour in sorted(hours):
        onset = max(free_from, int(3600 * hour))
        offset = onset + generator.randint(2, 8)
        if offset < DAY - 4:
            events.append((day * DAY + onset, day * DAY + offset, generator.randrange(len(LABELS))))
            free_from = offset + 4
    return events


class SimulatedMicrophone:
    """A source that delivers a block when it is asked for one."""

    sample_rate, n_channels, name = RATE, 1, "garden"

    def __init__(self, seed: int, per_day: float, first: int) -> None:
        self._seed, self._per_day, self._day, self._first = seed, per_day, -1, first
        self._events: list[tuple[int, int, int]] = []

    def start(self, buffer: CaptureBuffer) -> None:
        """Take the buffer, and deliver the first block."""
        self.buffer = buffer
        self.deliver(self._first, self._first + BLOCK_SECONDS)

    def stop(self) -> None:
        """End the buffer."""
        self.buffer.end()

    def deliver(self, start: int, stop: int) -> None:
        """Push the sound of some seconds of the year."""
        samples = np.zeros(((stop - start) * RATE, 1), np.float32)
        for day in range(start // DAY, (stop - 1) // DAY + 1):
            if day != self._day:
                self._day, self._events = day, script(self._seed, day, self._per_day)
            for onset, offset, label in self._events:
                first, last = max(onset, start) - start, min(offset, stop) - start
                samples[RATE * first : RATE * max(first, last)] = (label + 1) / 32
        self.buffer.push(samples)


class Reported:
    """Writes what was reported to a log that survives a kill; it is the last of all sinks."""

    def __init__(self, log: int, start: float, database: EventDatabase, folder: Path) -> None:
        self._log, self._start = log, start
        self._database, self._folder = database, folder
        self._session: object = None

    def handle(self, message: Message) -> Sequence[Message]:
        """Log an event, a clip, or the session that the database is in."""
        session = self._database._session_id
        if session != self._session:
            self._session = session
            n_damaged = len(damaged_copies(self._folder))
            self._write("S", n_damaged, session, self._start)
        match message:
            case EventEnded(event):
                self._write("E", round(self._start + event.onset), event.label)
            case ClipSaved(_, str(path)):
                self._write("C", path)
        return ()

    def close(self) -> Sequence[Message]:
        """Log the end."""
        self._write("X")
        return ()

    def _write(self, *words: object) -> None:
        os.write(self._log, (json.dumps(words) + "\n").encode())


def listen(
    folder: Path,
    start: int,
    stop: int,
    seed: int,
    per_day: float,
    steps: list[tuple[int, float]],
    losses: list[tuple[int, int]],
) -> Iterator[int]:
    """Listen from one second of the year to another; yield the second that is reached.

    Parameters
    ----------
    folder
        Of the database, the clips and the files.
    start, stop
        Seconds of the year.
    seed, per_day
        Of the events.
    steps
        Seconds of the year at which the clock is set, and its error from then on. The first one is
        that at the start.
    losses
        Seconds of the year at which the device is lost, and for how many.
    """
    clock = Clock(start, steps[0][1])
    clock.install()
    microphone = SimulatedMicrophone(seed, per_day, start)
    config = DetectorConfig(hop_seconds=float(BLOCK_SECONDS), mode="sliding_window")
    listener = Listener(
        [microphone], ScriptedEngine(), config, buffer_seconds=4 * BLOCK_SECONDS,
        clock=SystemClock(clock.now, lambda: 1e6 + clock.true),
    )  # fmt: skip
    database = EventDatabase(folder / "e.sqlite", model="scripted", now=clock.now)
    log = os.open(folder / "reported.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    dispatcher = Dispatcher(
        [
            ClipRecorder(
                folder / "clips", ClipsConfig(max_mb=CLIPS_MAX_MB),
                delay_seconds=listener.detector.delay_seconds,
                now=lambda: datetime.fromtimestamp(clock.now(), UTC),
            ),
            database,
            EventFileSink(folder / "e.jsonl", rotation=RotationConfig("1MB", keep=9_000)),
            Reported(log, start, database, folder),
        ]
    )  # fmt: skip
    position, clock.true = start + BLOCK_SECONDS, float(start + BLOCK_SECONDS)
    for message in listener.messages():
        dispatcher.handle(message)
        if not isinstance(message, AudioBlock) or microphone.buffer.has_items:
            continue
        yield position
        if position >= stop:
            listener.stop()
            continue
        for at, seconds in losses:
            if position <= at < position + BLOCK_SECONDS:
                microphone.buffer.disconnected("unplugged")
                microphone.buffer.reconnected(seconds * RATE, "unplugged", "back")
                position += seconds
        for at, error in steps[1:]:
            if position <= at < position + BLOCK_SECONDS:
                clock.error = error
        clock.true = float(position + BLOCK_SECONDS)
        microphone.deliver(position, position + BLOCK_SECONDS)
        position += BLOCK_SECONDS
    dispatcher.close()


def main() -> None:
    """Listen as the JSON of the first argument says; print the seconds that are reached."""
    values = json.loads(sys.argv[1])
    values["folder"] = Path(values["folder"])
    for second in listen(**values):
        print(second, flush=True)


if __name__ == "__main__":
    main()
