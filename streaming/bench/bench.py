"""How fast this machine is with a model, what holds it up, and what would help."""

from __future__ import annotations

import os
import tempfile
import time
import wave
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from sed.audio.decode import open_recording
from sed.errors import SedError, UsageError
from sed.models.devices import n_cores
from streaming.bench.stages import Stages, measure_stages
from streaming.engines.cache import Tell
from streaming.engines.select import ENGINES, benchmark_engine, open_engine
from streaming.offline.detect import batch_size_for, stream_detections
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint
    from streaming.engines.base import Engine

    Model = Engine | Checkpoint | str | os.PathLike[str] | None

MADE_RATE, MADE_SECONDS = 32_000, 600  # of the recording that is made where none is given
LONGEST_RUN_SECONDS = 10.0  # of the measurement from end to end
ENGINE_SECONDS = 1.0  # of the measurement of an engine
SLOW_TO_START = ("compile",)  # engines that are measured only where they are asked for

LARGE_SHARE = 0.3  # of the costs, for a stage to be worth a word
WORTH_IT = 1.1  # × faster, for a change to be worth a word
GOOD_EFFICIENCY = 0.75
SPARED_BY_FFMPEG = 0.3  # of the decoding of Ogg Vorbis
COMPRESSED = ("OGG", "MP3")  # how the formats begin that are slow to decode


@dataclass(frozen=True)
class EngineSpeed:
    """How fast an engine runs the network alone, on all cores."""

    name: str  # of ENGINES
    told: str  # what it is and where it runs; why it does not, where it does not
    times_real_time: float | None  # None: it is not there


@dataclass(frozen=True)
class Bench:
    """What was measured on this machine, with one model and one recording."""

    format: str  # of the recording
    sample_rate: int  # of the recording
    model_rate: int  # samples per second that the model hears
    window_seconds: float
    hop_seconds: float
    mode: str  # windowed or dense
    engine: str  # what ran the model from end to end
    n_cores: int
    stages: Stages
    engines: tuple[EngineSpeed, ...]
    processed_seconds: float  # of sound, from end to end
    wall_seconds: float  # that it took

    @property
    def times_real_time(self) -> float:
        """Seconds of sound heard in a second, from end to end."""
        return self.processed_seconds / self.wall_seconds

    @property
    def limit(self) -> float:
        """× real time, if everything overlapped perfectly."""
        return self.stages.limit(self.n_cores)

    @property
    def efficiency(self) -> float:
        """Share of the limit that was reached."""
        return self.times_real_time / self.limit


def bench(
    recording: str | os.PathLike[str] | None = None,
    model: Model = None,
    *,
    hop_seconds: float | None = None,
    mode: Literal["auto", "sliding_window", "fully_convolutional"] = "auto",
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    tell: Tell = lambda _: None,
) -> Bench:
    """Measure each stage, the limit that follows, every engine, and the whole from end to end.

    Takes less than a minute.

    Parameters
    ----------
    recording
        What to hear; ten minutes of noise that comes and goes, if not given.
    model
        A checkpoint, its path or an exported model; the default model if not given.
    hop
        Seconds from one window to the next; half a window if not given.
    mode
        See `DetectorConfig`.
    device, engine, precision, tell
        See `open_engine`.

    Raises
    ------
    UsageError
        If an option is not what it can be.
    CheckpointError
        If the model cannot be loaded.
    RecordingError
        If the recording cannot be read.
    """
    config = DetectorConfig(hop_seconds=hop_seconds, mode=mode, batch_size=batch_size_for([]))
    opened = open_engine(model, engine=engine, device=device, precision=precision, tell=tell)
    detector, spec = Detector(opened, config), opened.spec
    with _recording(recording) as path:
        stages = measure_stages(path, opened, config)
        with closing(open_recording(path)) as decoder:
            sound_format, sample_rate = decoder.format, decoder.sample_rate
        processed_seconds, wall_seconds = _end_to_end(detector, path)
    return Bench(
        sound_format,
        sample_rate,
        spec.timeline.sample_rate,
        spec.window_seconds,
        detector.clip_hop_seconds,
        detector.mode,
        str(opened),
        n_cores(),
        stages,
        tuple(_engine_speeds(model, engine, device, precision)),
        processed_seconds,
        wall_seconds,
    )


def advice(bench: Bench) -> list[str]:
    """Return what would make it faster, the most first.

    What a change brings is what the limit would gain if the stage took no time where it can be
    spared. Where nothing stands out, more cores are what is left.
    """
    found = sorted([*_of_engines(bench), *_of_stages(bench)], reverse=True)
    told = [f"{text} Up to {gain:.1f} × faster." for gain, text in found if gain >= WORTH_IT]
    if bench.stages.share("network") >= LARGE_SHARE:
        missing = [engine for engine in bench.engines if engine.times_real_time is None]
        told += [f"The engine {engine.name} was not tried: {engine.told}" for engine in missing]
    if bench.efficiency < GOOD_EFFICIENCY:
        told.append(
            f"Only {bench.efficiency:.0%} of the limit was reached: close what else keeps this "
            "machine busy, and measure again."
        )
    return told or ["Nothing stands out: more processor cores, or a GPU."]


def _of_engines(bench: Bench) -> Iterator[tuple[float, str]]:
    """Yield what another engine would gain, and its name."""
    speeds = {e.name: e.times_real_time for e in bench.engines if e.times_real_time is not None}
    used = [speeds[e.name] for e in bench.engines if e.told == bench.engine]
    for name, speed in speeds.items() if used else ():
        ratio = speed / used[0]
        yield (
            _gain(bench, network=bench.stages.network * (1 - 1 / ratio)),
            f"--engine {name} runs the network {ratio:.1f} × as fast as {bench.engine} does.",
        )


def _of_stages(bench: Bench) -> Iterator[tuple[float, str]]:
    """Yield what sparing a stage would gain, and how to."""
    stages, share = bench.stages, bench.stages.share
    kept = bench.hop_seconds / bench.window_seconds
    if bench.mode == "sliding_window":
        yield (
            _gain(bench, network=stages.network * (1 - kept)),
            f"--hop {bench.window_seconds:g} runs the network {1 / kept:.3g} × less often; "
            "windows that overlap, as now, find a little more.",
        )
    if bench.format.startswith(COMPRESSED):
        yield (
            _gain(bench, decode=stages.decode),
            f"Decoding {bench.format} takes {share('decode'):.0%}: record WAV or FLAC.",
        )
        if bench.format == "OGG VORBIS" and find_spec("av") is None:
            yield (
                _gain(bench, decode=stages.decode * SPARED_BY_FFMPEG),
                "FFmpeg decodes Ogg Vorbis faster: pip install 'sed-engine[av]'.",
            )
    if bench.sample_rate != bench.model_rate:
        yield (
            _gain(bench, resample=stages.resample),
            f"Resampling takes {share('resample'):.0%}: record at the {bench.model_rate:,} Hz "
            "that the model hears.",
        )
    if share("log_mel") >= LARGE_SHARE:
        yield (
            _gain(bench, log_mel=stages.log_mel),
            f"The front end takes {share('log_mel'):.0%}: train with fewer columns a second "
            "(log_mel.hop_length) or a lower sample rate.",
        )


def _gain(bench: Bench, **saved: float) -> float:
    """Return how much higher the limit is when so many seconds of a stage are saved."""
    less = {name: getattr(bench.stages, name) - seconds for name, seconds in saved.items()}
    return replace(bench.stages, **less).limit(bench.n_cores) / bench.limit


def _engine_speeds(model: Model, chosen: str, device: str, precision: str) -> Iterator[EngineSpeed]:
    """Yield how fast each engine runs the network on all cores, on windows without overlap."""
    for name in ENGINES:
        if name == "auto" or (name in SLOW_TO_START and name != chosen):
            continue
        try:
            engine = open_engine(model, engine=name, device=device, precision=precision)
        except (SedError, UsageError) as error:
            yield EngineSpeed(name, str(error), None)
            continue
        yield EngineSpeed(name, str(engine), benchmark_engine(engine, ENGINE_SECONDS))


def _end_to_end(detector: Detector, path: str) -> tuple[float, float]:
    """Return how many seconds of a recording were heard in how many seconds."""
    began = time.perf_counter()
    n_samples, wall_seconds = 0, 0.0
    with closing(stream_detections(detector, path)) as detections:
        for detection in detections:
            n_samples = detection.n_samples
            wall_seconds = time.perf_counter() - began
            if wall_seconds > LONGEST_RUN_SECONDS:
                break
    return n_samples / detector.timeline.sample_rate, wall_seconds


@contextmanager
def _recording(given: str | os.PathLike[str] | None) -> Iterator[str]:
    """Give the recording, or make one for as long as this lasts."""
    if given is not None:
        yield os.fspath(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "noise.wav")
        with wave.open(path, "wb") as file:
            file.setparams((1, 2, MADE_RATE, 0, "NONE", ""))
            for second in _noise(MADE_SECONDS):
                file.writeframes(second)
        yield path


def _noise(n_seconds: int) -> Iterator[bytes]:
    """Yield seconds of noise that comes and goes, 16 bits."""
    noise = np.random.default_rng(0).standard_normal(MADE_RATE)
    for i in range(n_seconds):
        yield (noise * 3_000 * np.sin(i / 3.0) ** 2).astype("<i2").tobytes()
