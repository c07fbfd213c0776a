"""Measure memory and open files over a long time."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import sed
from benchmarks.live.listening import EXAMPLE, listening, memory_mib, n_files, write_example
from benchmarks.live.virtual_microphone import VirtualMicrophone
from benchmarks.store import Results
from streaming.live.listener import Listener
from streaming.live.sources import FileSource
from streaming.messages import AudioBlock, EventEnded


def endurance(minutes: float = 30.0) -> Results:
    """Run `sed listen` for a long time; measure memory and open files every ten seconds."""
    with VirtualMicrophone() as microphone, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_example(folder / "played.wav", 60 * minutes + 60)
        options = ("--db", folder / "e.sqlite", "--clips", folder / "clips",
                   "--clips-max-mb", 20, "--web", "127.0.0.1:0")  # fmt: skip
        player = subprocess.Popen(
            ["paplay", "-d", "room", folder / "played.wav"], env=microphone.environment
        )
        measurements = []
        with listening(microphone, *options) as process:
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                time.sleep(10.0)
                measurements.append((memory_mib(process.pid), n_files(process.pid)))
        player.terminate()
        player.wait()
        account = process.summary
    return {"minutes": minutes, "account": account} | _flatness(measurements)


def day(hours: float = 24.0) -> Results:
    """Push a day of 44.1 kHz sound through the listener at full speed.

    The example, padded to 200 s, is a whole number of hops and frames, so that the events of each
    repetition must be the same, to the frame.
    """
    torch.set_num_threads(1)
    period, rate = 200, 44_100
    once = np.zeros(period * rate, np.float32)
    sound = sed.read_recording(EXAMPLE, rate)
    once[: len(sound)] = sound
    rounds = round(hours * 3600 / period)
    source = FileSource("example", _Repeated(once, rate, rounds), speed=None)
    listener = Listener([source], sed.load_model(), buffer_seconds=30.0)
    started = time.monotonic()
    measurements, events = [], []
    next_measurement = 0.0
    for message in listener.messages():
        if isinstance(message, EventEnded):
            events.append(message.event)
        if isinstance(message, AudioBlock) and message.start / rate >= next_measurement:
            next_measurement += 3600 / 4
            measurements.append((memory_mib(os.getpid()), n_files(os.getpid())))
    by_round: dict[int, list[tuple[float, float, str]]] = {}
    for event in events:
        i = int(event.onset // period)
        span = round(event.onset - i * period, 6), round(event.offset - i * period, 6)
        by_round.setdefault(i, []).append((*span, event.label))
    (status,) = listener.status().sources
    return {
        "hours": hours,
        "rate": rate,
        "speed": hours * 3600 / (time.monotonic() - started),
        "events": len(events),
        "rounds": rounds,
        # The first and the last one have no other repetition on one side.
        "rounds_with_the_same_events": sum(by_round.get(i) == by_round[1] for i in range(rounds)),
        "largest_drift_seconds": max(
            abs(a[0] - b[0])
            for i in range(1, rounds)
            for a, b in zip(by_round.get(i, []), by_round[1], strict=False)
        ),
        "samples_unaccounted": status.n_delivered - status.n_processed - status.n_dropped,
    } | _flatness(measurements)


class _Repeated:
    """A decoder that repeats one sound."""

    n_channels = 1
    format = "memory"

    def __init__(self, once: NDArray[np.float32], sample_rate: int, rounds: int) -> None:
        self._once, self._rounds = once, rounds
        self.sample_rate = sample_rate
        self.n_samples = rounds * len(once)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of a second."""
        for _ in range(self._rounds):
            for first in range(0, len(self._once), self.sample_rate):
                yield self._once[first : first + self.sample_rate, None]

    def close(self) -> None:
        """Do nothing: nothing is open."""


def _flatness(measurements: Sequence[tuple[float, int]]) -> Results:
    """Return how memory and open files varied after the first sixth of the measurements."""
    later = measurements[max(1, len(measurements) // 6) :]
    memory, files = [m[0] for m in later], [m[1] for m in later]
    middle = statistics.median(memory)
    return {
        "n_measurements": len(later),
        "memory_mib": middle,
        "memory_mib_of_ten_parts": [
            round(m[0], 1) for m in measurements[:: max(1, len(measurements) // 10)]
        ],
        "memory_lowest": min(memory) / middle,
        "memory_highest": max(memory) / middle,
        "files_first": files[0],
        "files_last": files[-1],
        "files_max": max(files),
    }
