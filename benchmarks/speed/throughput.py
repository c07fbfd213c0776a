"""How fast `sed detect` is: against its limit, and against what users would run instead.

    python -m benchmarks.speed.throughput                      # everything: about an hour
    python -m benchmarks.speed.throughput --minutes 2 stages hops
    python -m benchmarks.speed.throughput rivals --birdnet-python PYTHON --birdnet-model TFLITE

The recordings are the example, played on and on, an hour long if nothing else is said. Each part
writes its own figures into docs/results/throughput.json, with the machine; `throughput_page.py`
tells of them. Nothing that imports torch is imported before it is needed: what a process has mapped
stays in the memory of the system, and a cold start would not be one.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.speed import peak
from benchmarks.speed import rivals as rival_programs
from sed.audio.resample import Resampler

if TYPE_CHECKING:
    from streaming.bench.stages import Stages
    from streaming.engines.base import EnginePool

EXAMPLE = Path(__file__).parents[2] / "examples" / "village.ogg"
SED = Path(sys.executable).with_name("sed-engine")
RUNS = 3  # of every command, in turn, so that a machine whose speed drifts drifts for all
FORMATS, KILOHERTZ = ("wav", "flac", "ogg", "mp3"), (16, 32, 48)
HOPS = (5.0, 2.5, 1.0, 0.5)
LONG, FIRST = 24, 10  # times as long as the others
MEMORY_MINUTES = 60  # of each recording whose samples lie in memory

Figures = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """What the parts are told."""

    folder: Path  # for recordings and models that are made here
    minutes: float  # of the recordings
    birdnet_python: str | None  # an interpreter that has BirdNET's library
    birdnet_model: str | None  # its model, with the labels beside it

    def recording(self, suffix: str, kilohertz: int, times: int = 1) -> Path:
        """Return the example, again and again; it is made when it is first asked for."""
        path = self.folder / f"{times}x{kilohertz}.{suffix}"
        if not path.exists():
            write_example(path, 1000 * kilohertz, 60 * self.minutes * times)
        return path


class Run(NamedTuple):
    """What a whole command took."""

    times_real_time: float  # as it says itself: without its start and the loading of the model
    seconds: float  # likewise
    wall_seconds: float  # with them
    peak_mib: float
    engine: str
    mode: str  # windowed or dense, where the command says so


def stages(given: Given) -> Figures:
    """Measure the stages, the limit and the whole, where the bars are."""
    paths = {"OGG 32 kHz": given.recording("ogg", 32), "WAV 16 kHz": given.recording("wav", 16)}
    return {"rows": against_limits(paths)}


def formats(given: Given) -> Figures:
    """Measure every format at every rate."""
    paths = {
        f"{suffix.upper()} {kilohertz} kHz": given.recording(suffix, kilohertz)
        for suffix in FORMATS
        for kilohertz in KILOHERTZ
    }
    return {"rows": against_limits(paths)}


def hops(given: Given) -> Figures:
    """Measure what overlap costs."""
    path = given.recording("ogg", 32)
    runs = in_turn({f"{hop:g}": (path, "--hop", f"{hop:g}") for hop in HOPS})
    first = median(runs[f"{HOPS[0]:g}"]).seconds
    rows = []
    for hop, those in runs.items():
        middle = median(those)
        rows.append({"hop": float(hop), "ratio": middle.seconds / first} | middle._asdict())
    return {"rows": rows}


def rivals(given: Given) -> Figures:
    """Measure ours and the others in turn, on the same recording."""
    path = given.recording("ogg", 32)
    found: list[Figures] = []
    ours = [detect(path, "--hop", "5")]
    for name in rival_programs.RIVALS:
        is_birdnet = name == "birdnet"
        try:
            rival = rival_programs.measured(
                name,
                path,
                python=given.birdnet_python if is_birdnet else None,
                model=given.birdnet_model if is_birdnet else None,
            )
        except rival_programs.NotMeasuredError as error:
            found.append({"name": name, "not_measured": str(error)})
            continue
        speed = rival.audio_seconds / rival.wall_seconds
        found.append({"name": name, "times_real_time": speed} | rival._asdict())
        ours.append(detect(path, "--hop", "5"))
    middle = median(ours)
    for row in found:
        if "times_real_time" in row:
            row["ours_is_faster_by"] = middle.times_real_time / row["times_real_time"]
    return {"ours": middle._asdict(), "rows": found}


def long(given: Given) -> Figures:
    """Measure a recording that is long against one that is not."""
    short = median([detect(given.recording("flac", 32), "--hop", "5") for _ in range(RUNS)])
    whole = detect(given.recording("flac", 32, LONG), "--hop", "5")
    return {
        "times_as_long": LONG,
        "short": short._asdict(),
        "long": whole._asdict(),
        "ratio_of_time": whole.seconds / short.seconds,
        "ratio_of_memory": whole.peak_mib / short.peak_mib,
    }


def first(given: Given) -> Figures:
    """Measure how long the first event of a long recording takes, from the start of the program."""
    path = given.recording("flac", 32, FIRST)
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        forget([path, *files_of_the_program()])
        unprepared = first_event(path, cache)
        forget([path, *files_of_the_program(), *cache.rglob("*")])
        cold = first_event(path, cache)
        warm = [first_event(path, cache) for _ in range(RUNS)]
    return {
        "times_as_long": FIRST,
        "unprepared": unprepared,
        "cold": cold,
        "warm": sorted(warm, key=lambda one: one["seconds"])[RUNS // 2],
    }


def b0(given: Given) -> Figures:
    """Measure a network as large as those of BirdCLEF: tf_efficientnet_b0, 128 mels at 32 kHz."""
    path = given.folder / "b0.safetensors"
    save_untrained_b0(path)
    return {"rows": against_limits({"OGG 32 kHz": given.recording("ogg", 32)}, path)}


def gpu(given: Given) -> Figures:
    """Measure a GPU: from samples in memory, and from a file against the limit."""
    import torch

    if not torch.cuda.is_available():
        return {"not_measured": "torch sees no GPU on this machine"}
    return from_memory("cuda") | {
        "rows": against_limits({"FLAC 32 kHz": given.recording("flac", 32)})
    }


def from_memory(device: str) -> Figures:
    """Measure recordings whose samples, at 32 kHz, lie in memory: as many at once as cores."""
    from sed.audio.blocks import read_recording
    from sed.models.devices import n_cores
    from streaming.engines.base import EnginePool
    from streaming.engines.select import open_engine
    from streaming.offline.detect import stream_detections
    from streaming.pipeline.config import DetectorConfig
    from streaming.pipeline.detector import Detector

    engine = open_engine(device=device)
    config = DetectorConfig(hop_seconds=5.0, batch_size=None)
    detectors = [Detector(engine, config) for _ in range(n_cores())]
    samples = read_recording(EXAMPLE, 32_000)

    def hear(detector: Detector, pool: EnginePool) -> None:
        decoder = InMemory(samples, 32_000, MEMORY_MINUTES * 60)
        for _ in stream_detections(detector, "memory", decoder=decoder, pool=pool):
            pass

    speeds = []
    with (
        EnginePool(engine, detectors[0].batch_shape) as pool,
        ThreadPoolExecutor(len(detectors)) as readers,
    ):
        for _ in range(RUNS + 1):
            began = time.perf_counter()
            for heard in [readers.submit(hear, detector, pool) for detector in detectors]:
                heard.result()
            n_seconds = len(detectors) * MEMORY_MINUTES * 60
            speeds.append(n_seconds / (time.perf_counter() - began))
    return {
        "in_memory": statistics.median(speeds[1:]),  # the first run is for warming up
        "minutes_in_memory": len(detectors) * MEMORY_MINUTES,
        "batch_size": engine.batch_size,
        "engine": str(engine),
    }


class InMemory:
    """A recording that is decoded already: the same samples again and again."""

    n_channels, format = 1, "samples"

    def __init__(self, samples: NDArray[np.float32], sample_rate: int, n_seconds: int) -> None:
        self._samples = samples[:, None]
        self.sample_rate, self.n_samples = sample_rate, n_seconds * sample_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape (samples, channels)."""
        for first in range(0, self.n_samples, len(self._samples)):
            yield self._samples[: self.n_samples - first]

    def close(self) -> None:
        """Nothing is open."""


PARTS: dict[str, Callable[[Given], Figures]] = {
    "first": first,  # before anything that imports torch
    "stages": stages,
    "formats": formats,
    "hops": hops,
    "rivals": rivals,
    "long": long,
    "b0": b0,
    "gpu": gpu,
}


def write_example(path: Path, rate: int, seconds: float) -> None:
    """Write the example again and again until so many seconds are full."""
    samples, own_rate = soundfile.read(EXAMPLE, dtype="float32")
    resampler = Resampler(own_rate, rate)
    pieces = [resampler.push(samples), resampler.flush()]
    missing = round(seconds * rate)
    subtype = {".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}.get(path.suffix, "PCM_16")
    constant = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}  # 160 kbit/s at 48 kHz
    encoding = constant if path.suffix == ".mp3" else {}
    with soundfile.SoundFile(path, "w", rate, 1, subtype=subtype, **encoding) as out:
        while missing:
            for piece in pieces:
                for i in range(0, min(len(piece), missing), rate):
                    out.write(piece[i : min(i + rate, missing)])
                missing -= min(len(piece), missing)


def detect(path: Path, *options: str) -> Run:
    """Run `sed detect` in a process of its own."""
    status, wall_seconds, peak_mib, told = peak.run([SED, "detect", path, *options])
    found = re.search(r"· ([\d,]+) × real time", told)
    if status or not found:
        raise SystemExit(f"sed detect failed:\n{told}")
    speed = float(found[1].replace(",", ""))
    engine = next(line for line in told.splitlines() if re.search(r" on (cpu|cuda)", line))
    mode = re.search("windowed|dense", told)
    return Run(
        speed,
        soundfile.info(path).duration / speed,
        wall_seconds,
        peak_mib,
        engine.split(";")[0],
        mode[0] if mode else "",
    )


def in_turn(commands: dict[str, Sequence[Any]]) -> dict[str, list[Run]]:
    """Run each command `RUNS` times, all of them in turn."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, (path, *options) in commands.items():
            runs[name].append(detect(path, *options))
    return runs


def median(runs: Sequence[Run]) -> Run:
    """Return the medians of what runs took."""
    return Run(
        statistics.median(run.times_real_time for run in runs),
        statistics.median(run.seconds for run in runs),
        statistics.median(run.wall_seconds for run in runs),
        statistics.median(run.peak_mib for run in runs),
        runs[0].engine,
        runs[0].mode,
    )


def against_limits(paths: dict[str, Path], model: Path | None = None) -> list[Figures]:
    """Return, for each recording, the stages, the limit, the whole and its share of the limit."""
    from streaming.bench.stages import measure_stages
    from streaming.engines.select import open_engine
    from streaming.pipeline.config import DetectorConfig

    options = ("--hop", "5") if model is None else ("--hop", "5", "--model", str(model))
    engine = open_engine(model)
    config = DetectorConfig(hop_seconds=5.0, batch_size=None)
    costs: dict[str, list[Stages]] = {name: [] for name in paths}
    runs: dict[str, list[Run]] = {name: [] for name in paths}
    for _ in range(RUNS):
        for name, path in paths.items():
            costs[name].append(measure_stages(path, engine, config))
            runs[name].append(detect(path, *options))
    return [{"name": name} | against_limit(costs[name], runs[name]) for name in paths]


def against_limit(costs: Sequence[Stages], runs: Sequence[Run]) -> Figures:
    """Return the medians of what runs took, and of the limits that were measured beside them."""
    from sed.models.devices import n_cores

    limits = [cost.limit(n_cores()) for cost in costs]
    speeds = [run.times_real_time for run in runs]
    all_costs = [dataclasses.asdict(cost) for cost in costs]
    return {
        "stages": {
            name: None if cost is None else statistics.median(costs[name] for costs in all_costs)
            for name, cost in all_costs[0].items()
        },
        "n_cores": n_cores(),
        "limit": statistics.median(limits),
        "efficiency": statistics.median(a / b for a, b in zip(speeds, limits, strict=True)),
        "lowest": min(speeds),
        "highest": max(speeds),
    } | median(runs)._asdict()


def save_untrained_b0(path: Path) -> None:
    """Write a checkpoint of the size that BirdCLEF's winners had, which has learnt nothing."""
    import torch

    from sed.features.log_mel import LogMelConfig
    from sed.models.checkpoint import Checkpoint, save_checkpoint
    from sed.models.network import ModelConfig, SedModel

    log_mel = LogMelConfig(
        sample_rate=32_000,
        win_length=1_024,
        hop_length=500,
        n_fft=1_024,
        n_mels=128,
        f_min=50.0,
        f_max=16_000.0,
        mel_scale="slaney",
        filter_interpolation="hz",
        power=2,
        log="db",
        amin=1e-10,
        mean=-40.0,
        std=20.0,
    )
    torch.manual_seed(0)
    labels = tuple(f"species {i}" for i in range(rival_programs.N_CLASSES))
    model = SedModel(ModelConfig("tf_efficientnet_b0"), log_mel, len(labels)).eval()
    save_checkpoint(Checkpoint(model, labels), path)


def first_event(path: Path, cache: Path) -> Figures:
    """Return how long the first event took to come, and how much was read from the disk for it."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [SED, "detect", path, "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"SED_CACHE": str(cache)},
    )
    assert process.stdout
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    process.kill()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not line:
        raise SystemExit("sed detect told of no event")
    return {"seconds": seconds, "read_mib": usage.ru_inblock * 512 / 2**20}


def files_of_the_program() -> Iterable[Path]:
    """Yield the files of Python, its packages and ours."""
    for folder in {sys.prefix, sys.base_prefix}:
        yield from Path(folder, "lib").rglob("*")
    yield from (EXAMPLE.parents[1] / "sed").rglob("*")


def forget(paths: Iterable[Path]) -> None:
    """Have the system forget what it keeps of files in memory, as if it had just started."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast `sed detect` is.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=60.0, help="of each recording")
    parser.add_argument("--birdnet-python", help="an interpreter that has birdnet installed")
    parser.add_argument("--birdnet-model", help="its .tflite; the labels lie beside it")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as name:
        given = Given(Path(name), options.minutes, options.birdnet_python, options.birdnet_model)
        for part, measure in PARTS.items():
            if not options.parts or part in options.parts:
                keep(part, {"minutes": given.minutes} | measure(given))


def keep(part: str, figures: Figures) -> None:
    """Put the figures of a part among those of the others, with the machine."""
    from results import machine, read, save

    others = {name: rest for name, rest in (read("throughput") or {}).items() if name != "machine"}
    save("throughput", others | {part: {"machine": machine()} | figures})
    print(f"{part}: measured", flush=True)


if __name__ == "__main__":
    main()
