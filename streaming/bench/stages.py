"""Measure the cost of each stage of the pipeline alone, and the limit that follows from it.

If all stages overlapped perfectly, every core would be busy all the time. With the cost c_i of a
stage in seconds per second of sound, n cores would then process::

    throughput limit = n / Σ c_i    seconds of sound per second

The efficiency of a run is its share of this limit.
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
from sed.audio.decoders.libsndfile import BLOCK_SAMPLES
from sed.audio.resample import Resampler
from sed.errors import RecordingError
from sed.events.tracker import Event
from sed.events.writing.writers import CsvWriter
from sed.models.spec import ReceptiveField
from sed.types import Floats
from streaming.engines.base import Engine, EnginePool, FrameOutput
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector

EXCERPT_SECONDS = 80.0  # of the recording: sixteen windows of five seconds
REPETITIONS = 5

_Clock = Callable[[], float]


@dataclass(frozen=True)
class Stages:
    """Cost of each stage alone: seconds on one processor core per second of sound.

    With a GPU, the transfer, the front end and the network take time on it instead.
    """

    decode: float
    resample: float  # with the mix of the channels
    log_mel: float
    network: float
    events: float  # windows, overlap-add, event tracking
    write: float
    transfer: float | None = None  # of samples to the GPU; None without one

    @property
    def cpu_stages(self) -> dict[str, float]:
        """Cost of the stages that run on processor cores, by name."""
        costs: dict[str, float] = dataclasses.asdict(self)
        on_gpu = {"transfer"} | ({"log_mel", "network"} if self.on_gpu else set())
        return {name: cost for name, cost in costs.items() if name not in on_gpu}

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU runs the model."""
        return self.transfer is not None

    def share(self, stage: str) -> float:
        """Return the share of a stage in the cost of all stages on the cores, or on the GPU."""
        cost: float = getattr(self, stage)
        on_cpu = self.cpu_stages
        return cost / (sum(on_cpu.values()) if stage in on_cpu else self.log_mel + self.network)

    def throughput_limit(self, n_cores: int) -> float:
        """Return the seconds of sound per second if all stages overlapped perfectly.

        With a GPU, this is the limit of the slowest of three: the stages on the cores, the
        transfer, the model.
        """
        limit = n_cores / sum(self.cpu_stages.values())
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
    """Run each stage alone on the start of a recording, and return the median of its cost.

    Costs are processor time, which other programs do not change; on a GPU, they are wall time.

    Parameters
    ----------
    path
        The recording; the system has cached it when decoding is measured.
    engine, config
        The engine, which runs in one stream, and the inference mode.
    channel
        Channel to process, counted from 1; the mean of all if not given.
    seconds
        Length of the excerpt; at least one batch is processed.
    repetitions
        How often each stage is run, in turns.

    Raises
    ------
    RecordingError
        If the recording cannot be read, or is too short.
    """
    detector = Detector(engine, config)
    seconds = max(seconds, detector.batch_shape[0] * detector.hop_seconds)
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
    """The start of a recording, and the output of each stage for it."""

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
        self._recorded = _RecordingEngine(engine)
        self._gpu = _gpu_of(engine)

    def warmup(self) -> None:
        """Run all stages once, and keep the input of each."""
        with closing(open_recording(self._path)) as decoder:
            self._file_rate = decoder.sample_rate
            self._blocks = list(_take(decoder.blocks(), self._n_file_samples))
        self._samples = self._resample()
        if len(self._samples) < self._recorded.spec.timeline.hop_length:
            raise RecordingError(self._path, "is too short to measure with. Give a longer one.")
        self._events = self._detect(Detector(self._recorded, self._config))

    @property
    def n_seconds(self) -> float:
        """Length of the excerpt at the rate of the model, in seconds."""
        return len(self._samples) / self._rate

    def costs(self) -> dict[str, float]:
        """Return the seconds that each stage takes alone."""
        replay = Detector(_ReplayEngine(self._recorded), self._config)
        model_clock: _Clock = time.perf_counter if self._gpu else time.process_time
        costs = {
            "decode": self._time_decoding(),
            "resample": _timed(self._resample),
            "log_mel": _timed(self._recorded.extract_again, model_clock),
            "network": _timed(self._recorded.infer_again, model_clock),
            "events": _timed(lambda: self._detect(replay)),
            "write": _timed(self._write),
        }
        if self._gpu:
            costs["transfer"] = _timed(self._transfer, model_clock)
        return costs

    @property
    def _n_file_samples(self) -> int:
        return int(self._seconds * self._file_rate)

    def _time_decoding(self) -> float:
        # The file is opened outside of the clock: a whole recording is opened only once, too.
        with closing(open_recording(self._path)) as decoder:
            blocks = _take(decoder.blocks(), self._n_file_samples)
            return _timed(lambda: sum(len(block) for block in blocks))

    def _resample(self) -> Floats:
        resampler = Resampler(self._file_rate, self._rate)
        blocks = [resampler.push(to_mono(block, self._channel)) for block in self._blocks]
        return np.concatenate([*blocks, resampler.flush()])

    def _detect(self, detector: Detector) -> list[Event]:
        events = []
        for block in np.array_split(self._samples, max(1, len(self._samples) // BLOCK_SAMPLES)):
            events += detector.push(block).events
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


def _gpu_of(engine: Engine) -> str | None:
    """Return torch's name of the GPU that an engine runs on, if it does."""
    device = str(getattr(engine, "device", "cpu"))
    return device if device.startswith("cuda") else None


class _RecordingEngine(Engine):
    """An engine that keeps its inputs and outputs, so that each stage can run again alone.

    The pipeline decides how much an engine gets at once, and this keeps the same batches.

    Parameters
    ----------
    engine
        The engine that computes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.spec = engine.spec
        self.n_streams, self.n_threads = engine.n_streams, engine.n_threads
        self.batch_size, self.chunk_seconds = engine.batch_size, engine.chunk_seconds
        self._samples: list[Floats] = []
        self._batches: list[Floats] = []
        self.log_mels: list[Floats] = []
        self.outputs: list[FrameOutput] = []

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """Receptive field of the engine."""
        return self._engine.receptive_field

    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel spectrogram, shape (columns, mels), of samples, shape (samples,)."""
        self._samples.append(samples.copy())
        self.log_mels.append(self._engine.extract_features(samples))
        return self.log_mels[-1]

    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the frame-wise output for a batch of log-mels, shape (batch, columns, mels)."""
        self._batches.append(log_mel.copy())
        self.outputs.append(self._engine.infer(log_mel))
        return self.outputs[-1]

    def extract_again(self) -> None:
        """Extract the features of all recorded samples again."""
        for samples in self._samples:
            self._engine.extract_features(samples)

    def infer_again(self) -> None:
        """Run the network on all recorded batches again."""
        for batch in self._batches:
            self._engine.infer(batch)


class _ReplayEngine(Engine):
    """An engine that returns recorded outputs in order, so that all other stages can be timed.

    Parameters
    ----------
    recorded
        The engine that recorded them, from the same samples.
    """

    def __init__(self, recorded: _RecordingEngine) -> None:
        self.spec, self._receptive_field = recorded.spec, recorded.receptive_field
        self.n_streams, self.n_threads = recorded.n_streams, recorded.n_threads
        self.batch_size, self.chunk_seconds = recorded.batch_size, recorded.chunk_seconds
        self._log_mels = iter(recorded.log_mels)
        self._outputs = iter(recorded.outputs)

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """Receptive field of the recorded engine."""
        return self._receptive_field

    def extract_features(self, samples: Floats) -> Floats:
        """Return the next recorded log-mel spectrogram, shape (columns, mels)."""
        return next(self._log_mels)

    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the next recorded output, for a batch of shape (batch, columns, mels)."""
        return next(self._outputs)


def _take(blocks: Iterator[Floats], n_samples: int) -> Iterator[Floats]:
    """Yield blocks with n_samples in all; the last one is cut."""
    while n_samples > 0 and (block := next(blocks, None)) is not None:
        yield block[:n_samples]
        n_samples -= len(block)


def _timed(run: Callable[[], object], clock: _Clock = time.process_time) -> float:
    start = clock()
    run()
    return clock() - start
