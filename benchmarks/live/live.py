"""How `sed listen` keeps its promises: writes figures to docs/results/ for `live_page.py`.

    python -m benchmarks.live.live equality latency look-ahead overload cost endurance day

Each part can be run alone; those that hear through a microphone need what `virtual_microphone`
names. The sound is the example, played on and on.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

import sed
from benchmarks.live.virtual_microphone import VirtualMicrophone, what_is_missing
from benchmarks.quality import accuracy, results
from sed.events.tracker import MedianFilter
from streaming.engines.base import FrameOutput
from streaming.engines.pytorch import TorchEngine
from streaming.live.listener import LIVE, Listener
from streaming.live.microphone import Microphone
from streaming.live.sources import FileSource
from streaming.messages import AudioBlock, EventEnded, EventStarted, Gap
from streaming.sinks.text import TextSink

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "village.ogg"
SED = str(Path(sys.executable).with_name("sed-engine"))
HOP = 0.5
Figures = dict[str, Any]


def equality(minutes: float = 10.0) -> Figures:
    """Play a recording into a microphone; compare the live events with those of what was saved."""
    with VirtualMicrophone() as room, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_example(folder / "played.wav", 60 * minutes)
        with listening(room, "--output", folder / "live.jsonl", "--save-audio", folder / "saved"):
            room.play(folder / "played.wav")
            time.sleep(3.0)
        (saved,) = (folder / "saved").iterdir()
        offline = run("detect", saved, "--hop", HOP, "--lookahead", 1.0, "--format", "jsonl")
        live = sed.read_events(folder / "live.jsonl", "jsonl")
        gaps = (folder / "live.jsonl").read_text().count('"gap"')
        seconds = soundfile.info(str(saved)).duration
    rows = [json.loads(line) for line in offline.stdout.splitlines()]
    expected = [(e["onset"], e["offset"], e["label"], e["score"]) for e in rows]
    found = [(e.onset, e.offset, e.label, round(e.score, 4)) for e in live]
    return {
        "seconds": seconds,
        "live": len(found),
        "offline": len(expected),
        "same_to_the_frame": [f[:3] for f in found] == [e[:3] for e in expected],
        "largest_difference_of_score": max(
            (abs(f[3] - e[3]) for f, e in zip(found, expected, strict=False)), default=0.0
        ),
        "gaps": gaps,
    }


def latency(minutes: float = 10.0) -> Figures:
    """Time from the sample that crosses a threshold to the printed line, and where it goes.

    The file arrives as a device would deliver it: each twentieth of a second when it is over.
    """
    torch.set_num_threads(1)
    checkpoint = sed.load_model()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "played.wav"
        write_example(path, 60 * minutes)
        ear = FileSource("example", sed.open_recording(path))
        listener = Listener([ear], checkpoint)
        told, lines = [], TextSink(with_timestamps := _Stamped())
        began = time.monotonic()
        frames: list[NDArray[np.float32]] = []
        newest = 0.0
        for message in listener.messages():
            lines.handle(message)
            if isinstance(message, AudioBlock):
                newest = (message.start + len(message.block)) / message.sample_rate
                frames.append(message.frame_probs)
            if isinstance(message, EventStarted | EventEnded):
                told.append((message, with_timestamps.at - began, newest))
    crossing_of = _crossings(np.concatenate(frames), listener)
    ahead = listener.detector.lookahead_seconds
    at = {"onset": [], "end": []}
    parts: dict[str, list[float]] = {"waiting for sound": [], "model and printing": []}
    gap = checkpoint.post_processing.min_gap_seconds
    for message, printed, newest in told:
        event = message.event
        if isinstance(message, EventEnded):
            at["end"].append(printed - event.offset)
            continue
        crossed = crossing_of(event)
        at["onset"].append(printed - crossed)
        parts["waiting for sound"].append(newest - crossed)
        parts["model and printing"].append(printed - newest)
    return {
        "events": len(at["onset"]),
        "lookahead_seconds": ahead,
        "min_gap_seconds": gap,
        "bar_seconds": HOP + 0.25 + ahead,
        "onset": _spread(at["onset"]),
        "end": _spread(at["end"]),
        "parts": {name: _spread(values) for name, values in parts.items()},
        "stitching_seconds": LIVE.lookahead_seconds,
        "frame_seconds": listener.detector.timeline.frame_seconds,
    }


def lookahead_seconds() -> Figures:
    """Find the events of random scenes, deciding ever earlier."""
    checkpoint, found = sed.load_model(), []
    for seconds in (None, 2.0, 1.0, 0.5, 0.25, 0.0):
        config = sed.DetectorConfig(hop_seconds=HOP, lookahead_seconds=seconds)
        score, minutes = accuracy.scenes_score(checkpoint, config)
        found.append(
            {
                "lookahead_seconds": seconds,
                "recall": score.recall,
                "false_a_minute": score.n_false / minutes,
                "f1": score.f1,
            }
        )
    return {"events": score.n_true, "found": found}


class _Stamped:
    """A stream that knows when it was last written to."""

    at = 0.0

    def write(self, text: str) -> int:
        self.at = time.monotonic()
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


def _crossings(frame_probs: NDArray[np.float32], listener: Listener) -> Callable[[Any], float]:
    """Return what tells when the frame began in which an event reached its threshold."""
    checkpoint = sed.load_model()
    tracker, timeline = checkpoint.post_processing, checkpoint.timeline
    lengths = np.broadcast_to(np.asarray(tracker.median_filter_frames), len(checkpoint.labels))
    median = MedianFilter(lengths)
    smooth = np.concatenate([median.push(frame_probs), median.flush()])
    on = np.broadcast_to(np.asarray(tracker.onset_threshold, np.float32), len(checkpoint.labels))

    def crossing(event: Any) -> float:
        c = checkpoint.labels.index(event.label)
        first = timeline.frames_from_seconds(event.onset)
        return timeline.frame_time(first + int(np.argmax(smooth[first:, c] >= on[c])))

    return crossing


def overload(seconds: float = 60.0) -> Figures:
    """Slow the model to half the speed it needs, hear through a microphone, and add up."""
    with VirtualMicrophone() as room, tempfile.TemporaryDirectory() as name:
        os.environ.update(room.environment)
        write_example(Path(name) / "played.wav", seconds + 30)
        player = subprocess.Popen(
            ["paplay", "-d", "room", Path(name) / "played.wav"], env=room.environment
        )
        torch.set_num_threads(1)
        checkpoint = sed.load_model()
        engine = _SlowEngine(checkpoint, seconds=2 * HOP)
        ear = _CountedMicrophone()
        listener = Listener([ear], engine)
        began, recovered_after, dropped = time.monotonic(), None, 0
        fast_at = 0.0
        for message in listener.messages():
            now = time.monotonic()
            if isinstance(message, Gap):
                dropped += message.n_samples
            if engine.seconds and now - began > seconds:
                engine.seconds, fast_at = 0.0, now
            waiting = listener.status().sources[0].n_waiting
            if fast_at and recovered_after is None and waiting < HOP * ear.sample_rate:
                recovered_after = now - fast_at
            if fast_at and now - fast_at > 5.0:
                listener.stop()
        player.terminate()
        player.wait()
    (source,) = listener.status().sources
    return {
        "slowed_seconds": seconds,
        "delivered": ear.n_counted,
        "heard": source.n_processed,
        "dropped": source.n_dropped,
        "dropped_in_gaps": dropped,
        "gaps": source.n_gaps,
        "overflows": source.n_overflows,
        "difference": ear.n_counted - source.n_processed - source.n_dropped,
        "recovered_after_seconds": recovered_after,
        "hop_seconds": HOP,
    }


class _SlowEngine(TorchEngine):
    """Takes its time."""

    def __init__(self, model: Any, seconds: float) -> None:
        super().__init__(model)
        self.seconds = seconds

    def infer(self, log_mel: NDArray[np.float32]) -> FrameOutput:
        time.sleep(self.seconds)
        return super().infer(log_mel)


class _CountedMicrophone(Microphone):
    """Counts what PortAudio delivers, apart from the account that is to be checked."""

    n_counted = 0

    def _deliver(self, block: Any, n_samples: int, has_overflowed: bool) -> None:
        self.n_counted += n_samples
        super()._deliver(block, n_samples, has_overflowed)


def cost(seconds: float = 60.0) -> Figures:
    """Share of a core that `sed listen` takes, once it listens."""
    shares: Figures = {}
    with VirtualMicrophone() as room, tempfile.TemporaryDirectory() as name:
        played = Path(name) / "played.wav"
        write_example(played, 4 * seconds)
        three = Path(name) / "three.safetensors"
        checkpoint = sed.load_model()
        checkpoint.window_seconds = 3.0
        sed.save_checkpoint(checkpoint, three)
        rivals = {
            "microphone, hop 0.5 s, lines": (),
            "microphone, hop 0.5 s, view of 100 × 30": ("view",),
            "microphone, hop 0.5 s, page, database and clips": (
                *("--web", "127.0.0.1:0", "--db", Path(name) / "e.sqlite"),
                *("--clips", Path(name) / "clips"),
            ),
            "microphone, hop 2.5 s, lines": ("--hop", 2.5),
            "microphone, the same network in windows of 3 s without overlap, lines": (
                *("--model", three, "--hop", 3, "--lookahead", 0),
            ),
        }
        for about, options in rivals.items():
            player = subprocess.Popen(["paplay", "-d", "room", played], env=room.environment)
            view = options == ("view",)
            with listening(room, *(() if view else options), view=view) as process:
                time.sleep(5.0)  # until the first windows are through
                before, at = cpu_seconds(process.pid), time.monotonic()
                time.sleep(seconds)
                used = cpu_seconds(process.pid) - before
                shares[about] = used / (time.monotonic() - at)
            player.terminate()
            player.wait()
    return {"seconds": seconds, "shares": shares}


def endurance(minutes: float = 30.0) -> Figures:
    """Listen to a microphone for long, and look at memory and open files every ten seconds."""
    with VirtualMicrophone() as room, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_example(folder / "played.wav", 60 * minutes + 60)
        options = ("--db", folder / "e.sqlite", "--clips", folder / "clips",
                   "--clips-megabytes", 20, "--web", "127.0.0.1:0")  # fmt: skip
        player = subprocess.Popen(
            ["paplay", "-d", "room", folder / "played.wav"], env=room.environment
        )
        looks = []
        with listening(room, *options) as process:
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                time.sleep(10.0)
                looks.append((memory_mib(process.pid), n_files(process.pid)))
        player.terminate()
        player.wait()
        account = process.told
    return {"minutes": minutes, "account": account} | _flatness(looks)


def day(hours: float = 24.0) -> Figures:
    """Push a day of 44.1 kHz sound through the listener as fast as it goes.

    The example, filled up to 200 s, lies alike on hops and frames each time it comes round, so that
    its events must too, to the last frame.
    """
    torch.set_num_threads(1)
    period, rate = 200, 44_100
    once = np.zeros(period * rate, np.float32)
    sound = sed.read_recording(EXAMPLE, rate)
    once[: len(sound)] = sound
    rounds = round(hours * 3600 / period)
    ear = FileSource("example", _Again(once, rate, rounds), speed=None)
    listener = Listener([ear], sed.load_model(), buffer_seconds=30.0)
    began = time.monotonic()
    looks, events = [], []
    next_look = 0.0
    for message in listener.messages():
        if isinstance(message, EventEnded):
            events.append(message.event)
        if isinstance(message, AudioBlock) and message.start / rate >= next_look:
            next_look += 3600 / 4
            looks.append((memory_mib(os.getpid()), n_files(os.getpid())))
    by_round: dict[int, list[tuple[float, float, str]]] = {}
    for event in events:
        i = int(event.onset // period)
        span = round(event.onset - i * period, 6), round(event.offset - i * period, 6)
        by_round.setdefault(i, []).append((*span, event.label))
    (source,) = listener.status().sources
    return {
        "hours": hours,
        "rate": rate,
        "times_real_time": hours * 3600 / (time.monotonic() - began),
        "events": len(events),
        "rounds": rounds,
        # The first begins, and the last ends, without the others' sound beside it.
        "rounds_with_the_same_events": sum(by_round.get(i) == by_round[1] for i in range(rounds)),
        "largest_drift_seconds": max(
            abs(a[0] - b[0])
            for i in range(1, rounds)
            for a, b in zip(by_round.get(i, []), by_round[1], strict=False)
        ),
        "samples_unaccounted": source.n_delivered - source.n_processed - source.n_dropped,
    } | _flatness(looks)


class _Again:
    """A decoder of one sound, again and again."""

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
        """Nothing is open."""


def write_example(path: Path, seconds: float) -> None:
    """Write the example again and again until so many seconds are full."""
    samples, rate = soundfile.read(EXAMPLE, dtype="float32")
    missing = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1) as out:
        while missing > 0:
            out.write(samples[:missing])
            missing -= len(samples)


class listening:
    """Runs `sed listen` on a virtual microphone; ready within the block, told of all behind it.

    With `view` it draws on a terminal of 100 × 30, else it writes lines.
    """

    def __init__(self, room: VirtualMicrophone, *options: object, view: bool = False) -> None:
        self._command = [SED, "listen", *map(str, options)]
        self._environment = room.environment | {"COLUMNS": "100", "LINES": "30", "TERM": "xterm"}
        self._view = view
        self.told = ""

    def __enter__(self) -> listening:
        """Start, and wait until it listens."""
        if self._view:
            self._terminal, out = os.openpty()
            threading.Thread(target=self._look, daemon=True).start()
        else:
            out = subprocess.DEVNULL
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=out, stderr=self._errors
        )
        self.pid = self._process.pid
        while "listening to" not in self._read():
            if self._process.poll() is not None:
                raise SystemExit(self._read())
            time.sleep(0.2)
        time.sleep(3.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)
        self.told = self._read().strip().splitlines()[-1]
        self._errors.close()

    def _look(self) -> None:
        """Take what is drawn, as a terminal would."""
        with suppress(OSError):  # the other end is closed
            while os.read(self._terminal, 1 << 16):
                pass

    def _read(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of ours."""
    return subprocess.run([SED, *map(str, arguments)], check=True, capture_output=True, text=True)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Return the memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def n_files(pid: int) -> int:
    """Return how many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _flatness(looks: Sequence[tuple[float, int]]) -> Figures:
    """Return how much memory and files changed behind the first sixth of the looks."""
    later = looks[max(1, len(looks) // 6) :]
    memory, files = [look[0] for look in later], [look[1] for look in later]
    middle = statistics.median(memory)
    return {
        "looks": len(later),
        "memory_mib": middle,
        "memory_mib_of_ten_parts": [
            round(look[0], 1) for look in looks[:: max(1, len(looks) // 10)]
        ],
        "memory_lowest": min(memory) / middle,
        "memory_highest": max(memory) / middle,
        "files_first": files[0],
        "files_last": files[-1],
        "files_most": max(files),
    }


def _spread(values: Sequence[float]) -> Figures:
    return {
        "median": statistics.median(values),
        "p95": float(np.percentile(values, 95)),
        "most": max(values),
    }


PARTS: dict[str, Callable[[], Figures]] = {
    "equality": equality,
    "latency": latency,
    "look-ahead": lookahead_seconds,
    "overload": overload,
    "cost": cost,
    "endurance": endurance,
    "day": day,
}


def main() -> None:
    """Measure what is asked for."""
    for name in sys.argv[1:]:
        needs_microphone = name not in ("latency", "look-ahead", "day")
        if needs_microphone and (missing := what_is_missing()):
            raise SystemExit(f"{name} needs a virtual microphone: install {missing}")
        figures = PARTS[name]()
        results.save(f"live-{name}", figures)
        print(name, json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
