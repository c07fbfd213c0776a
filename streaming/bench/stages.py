"""What each stage of the conveyor costs alone, and the limit that follows from it.

If everything overlapped perfectly, a core would always have something to do, and ``n`` cores would
hear ``n / (sum of the costs)`` seconds of sound in a second. Nothing that does the same work there
is faster; how near a whole run comes to it is its efficiency.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from sed.audio.blocks import to_mono
from sed.audio.decode import open_recording
from sed.audio.libsndfile import BLOCK_SAMPLES
from sed.audio.resample import Resampler
from sed.errors import RecordingError
from sed.events.tracker import Event
from sed.events.writers import CsvWriter
from sed.models.spec import ReceptiveField
from sed.types import Floats
from streaming.engines.base import Engine, EnginePool, FrameOutput
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector

Clock = Callable[[], float]

EXCERPT_SECONDS = 80.0  # of the recording: sixteen windows of five seconds
REPETITIONS = 5


@dataclass(frozen=True)
class Stages:
    """Seconds that a second of sound takes in each stage, alone and on one processor core.

    Where there is a GPU, the transfer, the front end and the network take its time instead.
    """

    decode: float
    resample: float  # the channels are mixed down, too
    log_mel: float
    network: float
    events: float  # windows are cut, frames stitched, events tracked
    write: float
    transfer: float | None = None  # of samples to the GPU; None: there is no GPU

    @property
    def of_cores(self) -> dict[str, float]:
        """The stages that take the time of processor cores."""
        costs: dict[str, float] = dataclasses.asdict(self)
        elsewhere = {"transfer"} | ({"log_mel", "network"} if self.on_gpu else set())
        return {name: cost for name, cost in costs.items() if name not in elsewhere}

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU runs the model."""
        return self.transfer is not None

    def share(self, stage: str) -> float:
        """Return the part of a stage in the time of what it runs on: the cores, or the GPU."""
        cost: float = getattr(self, stage)
        cores = self.of_cores
        return cost / (sum(cores.values()) if stage in cores else self.log_mel + self.network)

    def limit(self, n_cores: int) -> float:
        """Return the × real time of a perfect overlap on so many cores, and a GPU if there is one.

        On a GPU, that of the slowest: the stages on the cores, the transfer, the model.
        """
        limit = n_cores / sum(self.of_cores.values())
        if self.transfer is None:
            return limit
        return min(limit, 1 / self.transfer, 1 / (self.log_mel + self.network))


def measure_stages(
    path: str | os.PathLike[str],
    engine: Engine,
    config: DetectorConfig,
    *,
    channel: int | None = None,
    seconds: float = EXCERPT_SECONDS,
    repetitions: int = REPETITIONS,
) -> Stages:
    """Run each stage alone on the beginning of a recording; return the median of what it costs.

    The time is that of the processor, so it does not matter what else the machine does; on a GPU
    it is that of the clock.

    Parameters
    ----------
    path
        The recording; it is in the memory of the system when decoding is measured.
    engine, config
        What runs the model, in one of its streams, and how it is led over the recording.
    channel
        Counted from 1; the mean of all if not given.
    seconds
        How much of the recording to hear.
    repetitions
        How often each stage is run; they take turns.

    Raises
    ------
    RecordingError
        If the recording cannot be read, or is too short to hear anything in.
    """
    detector = Detector(engine, config)
    seconds = max(seconds, detector.batch_shape[0] * detector.hop_seconds)  # one batch, at least
    excerpt = _Excerpt(os.fspath(path), engine, config, channel, seconds)
    with EnginePool(engine, detector.batch_shape) as pool:
        pool.submit(excerpt.warmup).result()
        rounds = [pool.submit(excerpt.costs).result() for _ in range(repetitions)]
    return Stages(
        **{
            name: statistics.median(costs[name] for costs in rounds) / excerpt.n_seconds
            for name in rounds[0]
        }
    )


class _Excerpt:
    """The beginning of a recording, and what the stages make of it."""

    def __init__(
        self,
        path: str,
        engine: Engine,
        config: DetectorConfig,
        channel: int | None,
        seconds: float,
    ) -> None:
        self._path = path
        self._config = config
        self._channel = channel
        self._seconds = seconds
        self._rate = engine.spec.timeline.sample_rate
        self._tape = _Tape(engine)
        self._gpu = gpu_of(engine)

    def warmup(self) -> None:
        """Run all stages once, and keep what each of them is given."""
        with closing(open_recording(self._path)) as decoder:
            self._own_rate = decoder.sample_rate
            self._blocks = list(_first(decoder.blocks(), self._n_own_samples))
        self._samples = self._resampled()
        if len(self._samples) < self._tape.spec.timeline.hop_length:
            raise RecordingError(self._path, "is too short to measure with. Give a longer one.")
        self._events = self._heard(Detector(self._tape, self._config))

    @property
    def n_seconds(self) -> float:
        """How long it is."""
        return len(self._samples) / self._rate

    def costs(self) -> dict[str, float]:
        """Return the seconds that each stage takes, alone."""
        replay = Detector(_Replay(self._tape), self._config)
        of_the_model: Clock = time.perf_counter if self._gpu else time.process_time
        costs = {
            "decode": self._decoding(),
            "resample": _timed(self._resampled),
            "log_mel": _timed(self._tape.columns_again, of_the_model),
            "network": _timed(self._tape.hear_again, of_the_model),
            "events": _timed(lambda: self._heard(replay)),
            "write": _timed(self._write),
        }
        if self._gpu:
            costs["transfer"] = _timed(self._transfer, of_the_model)
        return costs

    @property
    def _n_own_samples(self) -> int:
        return int(self._seconds * self._own_rate)

    def _decoding(self) -> float:
        """Time it without the opening, which a recording has once and an excerpt as well."""
        with closing(open_recording(self._path)) as decoder:
            blocks = _first(decoder.blocks(), self._n_own_samples)
            return _timed(lambda: sum(len(block) for block in blocks))

    def _resampled(self) -> Floats:
        resampler = Resampler(self._own_rate, self._rate)
        pieces = [resampler.push(to_mono(block, self._channel)) for block in self._blocks]
        return np.concatenate([*pieces, resampler.flush()])

    def _heard(self, detector: Detector) -> list[Event]:
        events = []
        for piece in np.array_split(self._samples, max(1, len(self._samples) // BLOCK_SAMPLES)):
            events += detector.push(piece).events
        return events + detector.flush().events

    def _write(self) -> None:
        with open(os.devnull, "w", encoding="utf-8") as file:
            writer = CsvWriter(file)
            for event in self._events:
                writer.write(event)

    def _transfer(self) -> None:
        import torch

        torch.from_numpy(self._samples).to(self._gpu)
        torch.cuda.synchronize(self._gpu)


def gpu_of(engine: Engine) -> str | None:
    """Return the GPU that an engine runs on, as torch names it."""
    device = str(getattr(engine, "device", "cpu"))
    return device if device.startswith("cuda") else None


class _Tape(Engine):
    """An engine that keeps what it is asked and what it answers.

    How much is asked at once is the conveyor's decision, so each stage is run again on just that.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.spec = engine.spec
        self.n_streams, self.n_threads = engine.n_streams, engine.n_threads
        self.batch_size, self.chunk_seconds = engine.batch_size, engine.chunk_seconds
        self._samples: list[Floats] = []
        self._windows: list[Floats] = []
        self.columns_of_all: list[Floats] = []
        self.answers: list[FrameOutput] = []

    @property
    def receptive_field(self) -> ReceptiveField | None:
        return self._engine.receptive_field

    def extract_features(self, samples: Floats) -> Floats:
        self._samples.append(samples.copy())
        self.columns_of_all.append(self._engine.extract_features(samples))
        return self.columns_of_all[-1]

    def infer(self, log_mel: Floats) -> FrameOutput:
        self._windows.append(log_mel.copy())
        self.answers.append(self._engine.infer(log_mel))
        return self.answers[-1]

    def columns_again(self) -> None:
        for samples in self._samples:
            self._engine.extract_features(samples)

    def hear_again(self) -> None:
        for windows in self._windows:
            self._engine.infer(windows)


class _Replay(Engine):
    """An engine that knows the answers beforehand, so that all else can be timed."""

    def __init__(self, tape: _Tape) -> None:
        self.spec, self._context = tape.spec, tape.receptive_field
        self.n_streams, self.n_threads = tape.n_streams, tape.n_threads
        self.batch_size, self.chunk_seconds = tape.batch_size, tape.chunk_seconds
        self._columns = iter(tape.columns_of_all)
        self._answers = iter(tape.answers)

    @property
    def receptive_field(self) -> ReceptiveField | None:
        return self._context

    def extract_features(self, samples: Floats) -> Floats:
        return next(self._columns)

    def infer(self, log_mel: Floats) -> FrameOutput:
        return next(self._answers)


def _first(blocks: Iterator[Floats], n_samples: int) -> Iterator[Floats]:
    """Yield blocks until there are so many samples, the last one cut to that."""
    while n_samples > 0 and (block := next(blocks, None)) is not None:
        yield block[:n_samples]
        n_samples -= len(block)


def _timed(run: Callable[[], object], clock: Clock = time.process_time) -> float:
    began = clock()
    run()
    return clock() - began
