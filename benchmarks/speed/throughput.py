"""Measure the speed of `sed detect`: against its limit, and against what else could be run.

    python -m benchmarks.speed.throughput                      # everything: about an hour
    python -m benchmarks.speed.throughput --minutes 2 stages hops
    python -m benchmarks.speed.throughput rivals --birdnet-python PYTHON --birdnet-model TFLITE

The recordings are the example, repeated to an hour unless --minutes says otherwise. Each part saves
its results in docs/results/throughput.json, with the machine; `benchmarks.pages` writes the page.
Nothing that imports torch is imported before it is needed: files that a process has mapped stay in
the memory of the system, and a cold start would not be one.
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
from benchmarks.store import machine, read, save
from sed.audio.resample import Resampler

if TYPE_CHECKING:
    from streaming.bench.stages import Stages
    from streaming.engines.base import EnginePool

EXAMPLE = Path(__file__).parents[2] / "examples" / "village.ogg"
SED = Path(sys.executable).with_name("sed-engine")
RUNS = 3  # of every command, alternating, so that drift of the machine affects all alike
FORMATS, KILOHERTZ = ("wav", "flac", "ogg", "mp3"), (16, 32, 48)
HOPS = (5.0, 2.5, 1.0, 0.5)
LONG, FIRST = 24, 10  # factors of length, against the other recordings
MEMORY_MINUTES = 60  # of each recording whose samples are in memory

Results = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """Options of all parts."""

    folder: Path  # for recordings and models that the parts create
    minutes: float  # of the recordings
    birdnet_python: str | None  # an interpreter with BirdNET's library
    birdnet_model: str | None  # its model; the labels lie beside it

    def recording(self, suffix: str, kilohertz: int, times: int = 1) -> Path:
        """Return the example, repeated; the file is created when it is first needed."""
        path = self.folder / f"{times}x{kilohertz}.{suffix}"
        if not path.exists():
            write_example(path, 1000 * kilohertz, 60 * self.minutes * times)
        return path


class Run(NamedTuple):
    """Cost of a whole command."""

    speed: float  # × real time as the command reports it, without start-up and loading
    seconds: float  # likewise
    wall_seconds: float  # including both
    peak_mib: float
    engine: str
    mode: str  # of inference


def stages(setup: Setup) -> Results:
    """Measure the stages, the limit and the whole command."""
    paths = {"OGG 32 kHz": setup.recording("ogg", 32), "WAV 16 kHz": setup.recording("wav", 16)}
    return {"rows": against_limits(paths)}


def formats(setup: Setup) -> Results:
    """Measure every format at every sample rate."""
    paths = {
        f"{suffix.upper()} {kilohertz} kHz": setup.recording(suffix, kilohertz)
        for suffix in FORMATS
        for kilohertz in KILOHERTZ
    }
    return {"rows": against_limits(paths)}


def hops(setup: Setup) -> Results:
    """Measure the cost of overlapping windows."""
    path = setup.recording("ogg", 32)
    runs = in_turn({f"{hop:g}": (path, "--hop", f"{hop:g}") for hop in HOPS})
    reference = median(runs[f"{HOPS[0]:g}"]).seconds
    rows = []
    for hop, of_hop in runs.items():
        middle = median(of_hop)
        rows.append({"hop": float(hop), "ratio": middle.seconds / reference} | middle._asdict())
    return {"rows": rows}


def rivals(setup: Setup) -> Results:
    """Measure `sed detect` and the others alternating, on the same recording."""
    path = setup.recording("ogg", 32)
    found: list[Results] = []
    own = [detect(path, "--hop", "5")]
    for name in rival_programs.RIVALS:
        is_birdnet = name == "birdnet"
        try:
            rival = rival_programs.measure(
                name,
                path,
                python=setup.birdnet_python if is_birdnet else None,
                model=setup.birdnet_model if is_birdnet else None,
            )
        except rival_programs.NotMeasuredError as error:
            found.append({"name": name, "not_measured": str(error)})
            continue
        speed = rival.audio_seconds / rival.wall_seconds
        found.append({"name": name, "speed": speed} | rival._asdict())
        own.append(detect(path, "--hop", "5"))
    middle = median(own)
    for row in found:
        if "speed" in row:
            row["speedup"] = middle.speed / row["speed"]
    return {"sed_detect": middle._asdict(), "rows": found}


def long(setup: Setup) -> Results:
    """Measure a long recording against a shorter one."""
    short = median([detect(setup.recording("flac", 32), "--hop", "5") for _ in range(RUNS)])
    whole = detect(setup.recording("flac", 32, LONG), "--hop", "5")
    return {
        "times_as_long": LONG,
        "short": short._asdict(),
        "long": whole._asdict(),
        "ratio_of_time": whole.seconds / short.seconds,
        "ratio_of_memory": whole.peak_mib / short.peak_mib,
    }


def first(setup: Setup) -> Results:
    """Measure the time to the first event of a long recording, from the start of the process."""
    path = setup.recording("flac", 32, FIRST)
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        drop_from_page_cache([path, *program_files()])
        engine_not_chosen = first_event(path, cache)
        drop_from_page_cache([path, *program_files(), *cache.rglob("*")])
        cold = first_event(path, cache)
        warm = [first_event(path, cache) for _ in range(RUNS)]
    return {
        "times_as_long": FIRST,
        "engine_not_chosen": engine_not_chosen,
        "cold": cold,
        "warm": sorted(warm, key=lambda result: result["seconds"])[RUNS // 2],
    }


def b0(setup: Setup) -> Results:
    """Measure a network of BirdCLEF's size: tf_efficientnet_b0, 128 mels at 32 kHz."""
    path = setup.folder / "b0.safetensors"
    save_untrained_b0(path)
    return {"rows": against_limits({"OGG 32 kHz": setup.recording("ogg", 32)}, path)}


def gpu(setup: Setup) -> Results:
    """Measure a GPU: with samples in memory, and from a file against the limit."""
    import torch

    if not torch.cuda.is_available():
        return {"not_measured": "torch sees no GPU on this machine"}
    return from_memory("cuda") | {
        "rows": against_limits({"FLAC 32 kHz": setup.recording("flac", 32)})
    }


def from_memory(device: str) -> Results:
    """Measure recordings whose samples, at 32 kHz, are in memory, one per core at a time."""
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

    def process(detector: Detector, pool: EnginePool) -> None:
        decoder = InMemory(samples, 32_000, MEMORY_MINUTES * 60)
        for _ in stream_detections(detector, "memory", decoder=decoder, pool=pool):
            pass

    speeds = []
    with (
        EnginePool(engine, detectors[0].batch_shape) as pool,
        ThreadPoolExecutor(len(detectors)) as readers,
    ):
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            for future in [readers.submit(process, detector, pool) for detector in detectors]:
                future.result()
            n_seconds = len(detectors) * MEMORY_MINUTES * 60
            speeds.append(n_seconds / (time.perf_counter() - started))
    return {
        "in_memory": statistics.median(speeds[1:]),  # the first run warms up
        "minutes_in_memory": len(detectors) * MEMORY_MINUTES,
        "batch_size": engine.batch_size,
        "engine": str(engine),
    }


class InMemory:
    """A decoder of a recording whose repeated samples are in memory already."""

    n_channels, format = 1, "samples"

    def __init__(self, samples: NDArray[np.float32], sample_rate: int, n_seconds: int) -> None:
        self._samples = samples[:, None]
        self.sample_rate, self.n_samples = sample_rate, n_seconds * sample_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape (samples, channels)."""
        for first in range(0, self.n_samples, len(self._samples)):
            yield self._samples[: self.n_samples - first]

    def close(self) -> None:
        """Do nothing: nothing is open."""


PARTS: dict[str, Callable[[Setup], Results]] = {
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
    """Write the example repeatedly, until the file has a length in seconds."""
    samples, own_rate = soundfile.read(EXAMPLE, dtype="float32")
    resampler = Resampler(own_rate, rate)
    parts = [resampler.push(samples), resampler.flush()]
    missing = round(seconds * rate)
    subtype = {".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}.get(path.suffix, "PCM_16")
    constant = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}  # 160 kbit/s at 48 kHz
    encoding = constant if path.suffix == ".mp3" else {}
    with soundfile.SoundFile(path, "w", rate, 1, subtype=subtype, **encoding) as out:
        while missing:
            for part in parts:
                for i in range(0, min(len(part), missing), rate):
                    out.write(part[i : min(i + rate, missing)])
                missing -= min(len(part), missing)


def detect(path: Path, *options: str) -> Run:
    """Run `sed detect` in a process of its own."""
    status, wall_seconds, peak_mib, messages = peak.run(
        [SED, "detect", path, "--verbose", *options]
    )
    found = re.search(r"· ([\d,]+) × real time", messages)
    if status or not found:
        raise SystemExit(f"sed detect failed:\n{messages}")
    speed = float(found[1].replace(",", ""))
    engine = next(line for line in messages.splitlines() if re.search(r" on (cpu|cuda)", line))
    mode = re.search("sliding_window|fully_convolutional", messages)
    return Run(
        speed,
        soundfile.info(path).duration / speed,
        wall_seconds,
        peak_mib,
        engine.split(";")[0],
        mode[0] if mode else "",
    )


def in_turn(commands: dict[str, Sequence[Any]]) -> dict[str, list[Run]]:
    """Run each command `RUNS` times, alternating."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, (path, *options) in commands.items():
            runs[name].append(detect(path, *options))
    return runs


def median(runs: Sequence[Run]) -> Run:
    """Return the medians of some runs."""
    return Run(
        statistics.median(run.speed for run in runs),
        statistics.median(run.seconds for run in runs),
        statistics.median(run.wall_seconds for run in runs),
        statistics.median(run.peak_mib for run in runs),
        runs[0].engine,
        runs[0].mode,
    )


def against_limits(paths: dict[str, Path], model: Path | None = None) -> list[Results]:
    """Return the stages, the limit and the whole command of each recording."""
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


def against_limit(costs: Sequence[Stages], runs: Sequence[Run]) -> Results:
    """Return the medians of some runs, and of the limits that were measured with them."""
    from sed.models.devices import n_cores

    limits = [cost.throughput_limit(n_cores()) for cost in costs]
    speeds = [run.speed for run in runs]
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
    """Save an untrained checkpoint of the size of BirdCLEF's winners."""
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


def first_event(path: Path, cache: Path) -> Results:
    """Return the time to the first event, and how much was read from disk for it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [SED, "detect", path, "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"SED_CACHE": str(cache)},
    )
    assert process.stdout
    line = process.stdout.readline()
    seconds = time.perf_counter() - started
    process.kill()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not line:
        raise SystemExit("sed detect found no event")
    return {"seconds": seconds, "read_mib": usage.ru_inblock * 512 / 2**20}


def program_files() -> Iterable[Path]:
    """Yield the files of Python, its packages and this package."""
    for folder in {sys.prefix, sys.base_prefix}:
        yield from Path(folder, "lib").rglob("*")
    for package in ("sed", "streaming"):
        yield from (EXAMPLE.parents[1] / package).rglob("*")


def drop_from_page_cache(paths: Iterable[Path]) -> None:
    """Remove files from the memory of the system, as if it had just started."""
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
    parser.add_argument("--birdnet-python", help="an interpreter with birdnet installed")
    parser.add_argument("--birdnet-model", help="its .tflite file; the labels lie beside it")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as name:
        setup = Setup(Path(name), options.minutes, options.birdnet_python, options.birdnet_model)
        for part, measure in PARTS.items():
            if not options.parts or part in options.parts:
                save_part(part, {"minutes": setup.minutes} | measure(setup))


def save_part(part: str, results: Results) -> None:
    """Save the results of a part beside those of the others, with the machine."""
    others = {name: rest for name, rest in (read("throughput") or {}).items() if name != "machine"}
    save("throughput", others | {part: {"machine": machine()} | results})
    print(f"{part}: measured", flush=True)


if __name__ == "__main__":
    main()
