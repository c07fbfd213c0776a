"""Measure the throughput of this machine with a model, and find out how to raise it."""

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
from streaming.engines.base import benchmark_engine
from streaming.engines.graph_model import engines_of_graph
from streaming.engines.select import ENGINES, open_engine
from streaming.offline.detect import batch_size_for, stream_detections
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint
    from streaming.engines.base import Engine

    _Model = Engine | Checkpoint | str | os.PathLike[str] | None

NOISE_RATE, NOISE_SECONDS = 32_000, 600  # of the recording that is made where none is given
MAX_RUN_SECONDS = 10.0  # of the measurement from end to end
ENGINE_SECONDS = 1.0  # of the measurement of an engine
SLOW_TO_START = ("compile",)  # engines that are measured only if they are requested

LARGE_SHARE = 0.3  # of the cost, for a stage to be mentioned
MIN_SPEEDUP = 1.1  # for a change to be mentioned
GOOD_EFFICIENCY = 0.75
FFMPEG_SAVES = 0.3  # of the time to decode Ogg Vorbis
COMPRESSED = ("OGG", "MP3")  # prefixes of the formats that are slow to decode


@dataclass(frozen=True)
class EngineSpeed:
    """Throughput of an engine that runs the network alone, on all cores."""

    name: str  # of ENGINES
    description: str  # runtime, device and precision; the error if the engine does not work
    speed: float | None  # seconds of sound per second; None if the engine does not work


@dataclass(frozen=True)
class Bench:
    """Measurements of this machine with one model and one recording."""

    format: str  # of the recording
    sample_rate: int  # of the recording, in Hz
    model_rate: int  # sample rate of the model, in Hz
    window_seconds: float
    hop_seconds: float
    mode: str  # sliding_window or fully_convolutional
    engine: str  # that ran the model from end to end
    n_cores: int
    stages: Stages
    engines: tuple[EngineSpeed, ...]
    processed_seconds: float  # of sound, from end to end
    wall_seconds: float  # that it took

    @property
    def speed(self) -> float:
        """Throughput from end to end: seconds of sound per second."""
        return self.processed_seconds / self.wall_seconds

    @property
    def throughput_limit(self) -> float:
        """Seconds of sound per second if all stages overlapped perfectly."""
        return self.stages.throughput_limit(self.n_cores)

    @property
    def efficiency(self) -> float:
        """Throughput from end to end as a share of the limit."""
        return self.speed / self.throughput_limit


def bench(
    recording: str | os.PathLike[str] | None = None,
    model: _Model = None,
    *,
    hop_seconds: float | None = None,
    mode: Literal["auto", "sliding_window", "fully_convolutional"] = "auto",
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
) -> Bench:
    """Measure each stage, the limit that follows, every engine, and the whole from end to end.

    Takes less than a minute.

    Parameters
    ----------
    recording
        A recording, of which the format and the sample rate matter; ten minutes of noise if not
        given.
    model
        A checkpoint, its path or an exported graph; the default model if not given.
    hop_seconds
        Seconds from one window to the next; half a window if not given.
    mode
        See `DetectorConfig`.
    device, engine, precision
        See `open_engine`.

    Raises
    ------
    UsageError
        If an option is unknown, or does not fit the others.
    CheckpointError
        If the model cannot be loaded.
    RecordingError
        If the recording cannot be read, or is too short.
    """
    config = DetectorConfig(hop_seconds=hop_seconds, mode=mode, batch_size=batch_size_for([]))
    opened = open_engine(model, engine=engine, device=device, precision=precision)
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
    """Return the changes that would raise the throughput, the most effective first.

    The gain of a change is that of the limit if the stage took no time, or as much less as the
    change saves. Where no change stands out, the advice is more hardware.
    """
    changes = sorted([*_engine_advice(bench), *_stage_advice(bench)], reverse=True)
    texts = [f"{text} Up to {gain:.1f} × faster." for gain, text in changes if gain >= MIN_SPEEDUP]
    if bench.stages.share("network") >= LARGE_SHARE:
        missing = [engine for engine in bench.engines if engine.speed is None]
        texts += [f"The engine {e.name} was not measured: {e.description}" for e in missing]
    if bench.efficiency < GOOD_EFFICIENCY:
        texts.append(
            f"Only {bench.efficiency:.0%} of the limit was reached: end other programs that keep "
            "this machine busy, and measure again."
        )
    return texts or ["Nothing stands out: more processor cores, or a GPU."]


def _engine_advice(bench: Bench) -> Iterator[tuple[float, str]]:
    """Yield the gain of each other engine, and the advice to use it."""
    speeds = {e.name: e.speed for e in bench.engines if e.speed is not None}
    used = [speeds[e.name] for e in bench.engines if e.description == bench.engine]
    for name, speed in speeds.items() if used else ():
        ratio = speed / used[0]
        yield (
            _gain(bench, network=bench.stages.network * (1 - 1 / ratio)),
            f"--engine {name} runs the network {ratio:.1f} × as fast as {bench.engine} does.",
        )


def _stage_advice(bench: Bench) -> Iterator[tuple[float, str]]:
    """Yield the gain of each change that makes a stage cheaper, and the advice to make it."""
    stages, share = bench.stages, bench.stages.share
    if bench.mode == "sliding_window":
        hop_share = bench.hop_seconds / bench.window_seconds
        yield (
            _gain(bench, network=stages.network * (1 - hop_share)),
            f"--hop {bench.window_seconds:g} runs the network {1 / hop_share:.3g} × less often; "
            "windows that overlap, as now, find a little more.",
        )
    if bench.format.startswith(COMPRESSED):
        yield (
            _gain(bench, decode=stages.decode),
            f"Decoding {bench.format} takes {share('decode'):.0%}: record WAV or FLAC.",
        )
        if bench.format == "OGG VORBIS" and find_spec("av") is None:
            yield (
                _gain(bench, decode=stages.decode * FFMPEG_SAVES),
                "FFmpeg decodes Ogg Vorbis faster: pip install 'sed-engine[av]'.",
            )
    if bench.sample_rate != bench.model_rate:
        yield (
            _gain(bench, resample=stages.resample),
            f"Resampling takes {share('resample'):.0%}: record at {bench.model_rate:,} Hz, the "
            "sample rate of the model.",
        )
    if share("log_mel") >= LARGE_SHARE:
        yield (
            _gain(bench, log_mel=stages.log_mel),
            f"The front end takes {share('log_mel'):.0%}: train with fewer columns per second "
            "(log_mel.hop_length) or a lower sample rate.",
        )


def _gain(bench: Bench, **saved: float) -> float:
    """Return how many times the limit rises if a stage takes fewer seconds per second of sound."""
    costs = {name: getattr(bench.stages, name) - seconds for name, seconds in saved.items()}
    limit = replace(bench.stages, **costs).throughput_limit(bench.n_cores)
    return limit / bench.throughput_limit


def _engine_speeds(
    model: _Model, requested: str, device: str, precision: str
) -> Iterator[EngineSpeed]:
    """Yield the throughput of each engine on all cores, in windows without overlap."""
    own = tuple(name for name in ENGINES if name not in ("auto", "tflite"))
    for name in engines_of_graph(model) or own:
        if name in SLOW_TO_START and name != requested:
            continue
        try:
            engine = open_engine(model, engine=name, device=device, precision=precision)
        except (SedError, UsageError) as error:
            yield EngineSpeed(name, str(error), None)
            continue
        yield EngineSpeed(name, str(engine), benchmark_engine(engine, ENGINE_SECONDS))


def _end_to_end(detector: Detector, path: str) -> tuple[float, float]:
    """Return the seconds of a recording that were processed, and the seconds that it took."""
    start = time.perf_counter()
    n_samples, wall_seconds = 0, 0.0
    with closing(stream_detections(detector, path)) as detections:
        for detection in detections:
            n_samples = detection.n_samples
            wall_seconds = time.perf_counter() - start
            if wall_seconds > MAX_RUN_SECONDS:
                break
    return n_samples / detector.timeline.sample_rate, wall_seconds


@contextmanager
def _recording(path: str | os.PathLike[str] | None) -> Iterator[str]:
    """Yield the path of a recording; without one, make one that exists within the context."""
    if path is not None:
        yield os.fspath(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = os.path.join(folder, "noise.wav")
        with wave.open(made, "wb") as file:
            file.setparams((1, 2, NOISE_RATE, 0, "NONE", ""))
            for second in _noise(NOISE_SECONDS):
                file.writeframes(second)
        yield made


def _noise(n_seconds: int) -> Iterator[bytes]:
    """Yield seconds of 16-bit noise whose level rises and falls."""
    noise = np.random.default_rng(0).standard_normal(NOISE_RATE)
    for i in range(n_seconds):
        yield (noise * 3_000 * np.sin(i / 3.0) ** 2).astype("<i2").tobytes()
