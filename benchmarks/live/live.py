"""Measure `sed listen`, and save the results in docs/results/.

    python -m benchmarks.live.live equality latency lookahead overload cost endurance day

Each part can be run alone; those with a microphone need what `virtual_microphone` names. The sound
is the example, repeated. `python -m benchmarks.pages` then writes the page.
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
from benchmarks.quality import accuracy
from benchmarks.store import save
from sed.events.median_filter import MedianFilter
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
Results = dict[str, Any]


def equality(minutes: float = 10.0) -> Results:
    """Play a recording into a microphone; compare live events with those of the saved sound."""
    with VirtualMicrophone() as microphone, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_example(folder / "played.wav", 60 * minutes)
        with listening(
            microphone, "--output", folder / "live.jsonl", "--save-audio", folder / "saved"
        ):
            microphone.play(folder / "played.wav")
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


def latency(minutes: float = 10.0) -> Results:
    """Measure the time from the sample that crosses a threshold to the printed line.

    The file arrives as a device would deliver it, in blocks of a twentieth of a second.
    """
    torch.set_num_threads(1)
    checkpoint = sed.load_model()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "played.wav"
        write_example(path, 60 * minutes)
        source = FileSource("example", sed.open_recording(path))
        listener = Listener([source], checkpoint)
        printed_events, lines = [], TextSink(output := _TimedOutput())
        started = time.monotonic()
        frames: list[NDArray[np.float32]] = []
        newest = 0.0
        for message in listener.messages():
            lines.handle(message)
            if isinstance(message, AudioBlock):
                newest = (message.start + len(message.block)) / message.sample_rate
                frames.append(message.frame_probs)
            if isinstance(message, EventStarted | EventEnded):
                printed_events.append((message, output.at - started, newest))
    crossing_of = _crossings(np.concatenate(frames), listener)
    ahead = listener.detector.lookahead_seconds
    at = {"onset": [], "end": []}
    parts: dict[str, list[float]] = {"waiting for sound": [], "model and printing": []}
    gap = checkpoint.post_processing.min_gap_seconds
    for message, printed, newest in printed_events:
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
        "overlap_add_seconds": LIVE.lookahead_seconds,
        "frame_seconds": listener.detector.timeline.frame_seconds,
    }


def lookahead() -> Results:
    """Detect the events of random scenes with ever less look-ahead."""
    checkpoint, found = sed.load_model(), []
    for seconds in (None, 2.0, 1.0, 0.5, 0.25, 0.0):
        config = sed.DetectorConfig(hop_seconds=HOP, lookahead_seconds=seconds)
        score, minutes = accuracy.scenes_score(checkpoint, config)
        found.append(
            {
                "lookahead_seconds": seconds,
                "recall": score.recall,
                "false_per_minute": score.n_false / minutes,
                "f1": score.f1,
            }
        )
    return {"events": score.n_true, "found": found}


class _TimedOutput:
    """A stream that keeps the time of the last write."""

    at = 0.0

    def write(self, text: str) -> int:
        self.at = time.monotonic()
        return len(text)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


def _crossings(frame_probs: NDArray[np.float32], listener: Listener) -> Callable[[Any], float]:
    """Return a function from an event to the time at which it reaches its threshold."""
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


def overload(seconds: float = 60.0) -> Results:
    """Slow the model to half the speed it needs, listen to a microphone, and count samples."""
    with VirtualMicrophone() as microphone, tempfile.TemporaryDirectory() as name:
        os.environ.update(microphone.environment)
        write_example(Path(name) / "played.wav", seconds + 30)
        player = subprocess.Popen(
            ["paplay", "-d", "room", Path(name) / "played.wav"], env=microphone.environment
        )
        torch.set_num_threads(1)
        checkpoint = sed.load_model()
        engine = _SlowEngine(checkpoint, seconds=2 * HOP)
        source = _CountingMicrophone()
        listener = Listener([source], engine)
        started, recovered_after, dropped = time.monotonic(), None, 0
        fast_at = 0.0
        for message in listener.messages():
            now = time.monotonic()
            if isinstance(message, Gap):
                dropped += message.n_samples
            if engine.seconds and now - started > seconds:
                engine.seconds, fast_at = 0.0, now
            waiting = listener.status().sources[0].n_waiting
            if fast_at and recovered_after is None and waiting < HOP * source.sample_rate:
                recovered_after = now - fast_at
            if fast_at and now - fast_at > 5.0:
                listener.stop()
        player.terminate()
        player.wait()
    (status,) = listener.status().sources
    return {
        "slowed_seconds": seconds,
        "delivered": source.n_counted,
        "processed": status.n_processed,
        "dropped": status.n_dropped,
        "dropped_in_gaps": dropped,
        "gaps": status.n_gaps,
        "overflows": status.n_overflows,
        "difference": source.n_counted - status.n_processed - status.n_dropped,
        "recovered_after_seconds": recovered_after,
        "hop_seconds": HOP,
    }


class _SlowEngine(TorchEngine):
    """An engine that waits before each batch."""

    def __init__(self, model: Any, seconds: float) -> None:
        super().__init__(model)
        self.seconds = seconds

    def infer(self, log_mel: NDArray[np.float32]) -> FrameOutput:
        time.sleep(self.seconds)
        return super().infer(log_mel)


class _CountingMicrophone(Microphone):
    """A microphone that counts what PortAudio delivers, independent of the account under test."""

    n_counted = 0

    def _deliver(self, block: Any, n_samples: int, has_overflowed: bool) -> None:
        self.n_counted += n_samples
        super()._deliver(block, n_samples, has_overflowed)


def cost(seconds: float = 60.0) -> Results:
    """Measure the share of a core that `sed listen` takes once it runs."""
    shares: Results = {}
    with VirtualMicrophone() as microphone, tempfile.TemporaryDirectory() as name:
        played = Path(name) / "played.wav"
        write_example(played, 4 * seconds)
        three = Path(name) / "three.safetensors"
        checkpoint = sed.load_model()
        checkpoint.window_seconds = 3.0
        sed.save_checkpoint(checkpoint, three)
        commands = {
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
        for name_of_run, options in commands.items():
            player = subprocess.Popen(["paplay", "-d", "room", played], env=microphone.environment)
            view = options == ("view",)
            with listening(microphone, *(() if view else options), view=view) as process:
                time.sleep(5.0)  # until the first windows are processed
                before, at = cpu_seconds(process.pid), time.monotonic()
                time.sleep(seconds)
                used = cpu_seconds(process.pid) - before
                shares[name_of_run] = used / (time.monotonic() - at)
            player.terminate()
            player.wait()
    return {"seconds": seconds, "shares": shares}


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


def write_example(path: Path, seconds: float) -> None:
    """Write the example repeatedly, until the file has a length in seconds."""
    samples, rate = soundfile.read(EXAMPLE, dtype="float32")
    missing = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1) as out:
        while missing > 0:
            out.write(samples[:missing])
            missing -= len(samples)


class listening:
    """Run `sed listen` on a virtual microphone for the length of a with block.

    With `view` it draws on a terminal of 100 × 30, otherwise it writes lines. Its last line is in
    `summary` afterwards.
    """

    def __init__(self, microphone: VirtualMicrophone, *options: object, view: bool = False) -> None:
        self._command = [SED, "listen", *map(str, options)]
        self._environment = microphone.environment | {
            "COLUMNS": "100",
            "LINES": "30",
            "TERM": "xterm",
        }
        self._view = view
        self.summary = ""

    def __enter__(self) -> listening:
        """Start the process, and wait until it reads from the microphone."""
        if self._view:
            self._terminal, out = os.openpty()
            threading.Thread(target=self._read_terminal, daemon=True).start()
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
        self.summary = self._read().strip().splitlines()[-1]
        self._errors.close()

    def _read_terminal(self) -> None:
        """Read what is drawn, as a terminal would."""
        with suppress(OSError):  # The other end was closed.
            while os.read(self._terminal, 1 << 16):
                pass

    def _read(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run([SED, *map(str, arguments)], check=True, capture_output=True, text=True)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def n_files(pid: int) -> int:
    """Return the number of open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


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


def _spread(values: Sequence[float]) -> Results:
    return {
        "median": statistics.median(values),
        "p95": float(np.percentile(values, 95)),
        "max": max(values),
    }


PARTS: dict[str, Callable[[], Results]] = {
    "equality": equality,
    "latency": latency,
    "lookahead": lookahead,
    "overload": overload,
    "cost": cost,
    "endurance": endurance,
    "day": day,
}


def main() -> None:
    """Measure the parts given as arguments."""
    for name in sys.argv[1:]:
        needs_microphone = name not in ("latency", "lookahead", "day")
        if needs_microphone and (missing := what_is_missing()):
            raise SystemExit(f"{name} needs a virtual microphone: install {missing}")
        results = PARTS[name]()
        save(f"live-{name}", results)
        print(name, json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
