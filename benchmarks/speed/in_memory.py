"""Measure a GPU, with samples that are in memory and from a file."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.command import RUNS
from benchmarks.speed.limits import against_limits
from benchmarks.speed.recordings import EXAMPLE, Setup
from benchmarks.store import Results

if TYPE_CHECKING:
    from streaming.engines.base import EnginePool

MEMORY_MINUTES = 60  # of each recording whose samples are in memory


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
