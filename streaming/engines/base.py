"""Define the interface of engines, which run a model on NumPy arrays.

::

    samples ─ Engine.extract_features ─▶ log_mel (columns, mels)
    log_mel (batch, columns, mels) ─ Engine.infer ─▶ FrameOutput (batch, frames, …)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np

from sed.errors import SedError
from sed.models.fork import refuse_forked
from sed.models.spec import ModelSpec, ReceptiveField
from sed.types import Floats

Shape = tuple[int, int, int]  # of a batch: windows, columns, mels
P = ParamSpec("P")
T = TypeVar("T")

# Windows that the network computes together. Batches are cut to this size because runtimes compile
# the network for each shape that occurs.
SUB_BATCH = 8
MEASURED_SECONDS = 0.5  # per engine, by `benchmark_engine`


@dataclass(frozen=True)
class FrameOutput:
    """Frame-wise output of a model for a batch; see `sed.models.network.HeadOutput`.

    The first axis is the batch. The output for one window, ``output[i]``, lacks it.
    """

    frame_probs: Floats  # (..., frames, classes)
    head_probs: Floats  # (..., frames, heads, classes)
    head_weights: Floats  # (..., frames, heads, classes), the attention
    embeddings: Floats | None = None  # (..., frames, features) of `Engine.layer`, if there is one

    def __len__(self) -> int:
        return len(self.frame_probs)

    def __getitem__(self, index: int | slice) -> FrameOutput:
        return FrameOutput(
            self.frame_probs[index],
            self.head_probs[index],
            self.head_weights[index],
            None if self.embeddings is None else self.embeddings[index],
        )

    def clip_probs(self) -> Floats:
        """Return the probability of each class in one window, shape (classes,).

        The output must be that of one window. The frames of a head h are averaged with its
        attention as weights, and the heads are averaged::

            clip_probs = mean_h ( Σ_t weights[t, h] · probs[t, h] / Σ_t weights[t, h] )
        """
        weighted = (self.head_weights * self.head_probs).sum(axis=0)
        probs: Floats = (weighted / self.head_weights.sum(axis=0)).mean(axis=0)
        return probs


def concat(outputs: Iterable[FrameOutput]) -> FrameOutput:
    """Return consecutive outputs as one, joined along their first axis.

    Raises
    ------
    ValueError
        If there are none.
    """
    parts = list(outputs)
    embeddings = [o.embeddings for o in parts if o.embeddings is not None]
    return FrameOutput(
        np.concatenate([o.frame_probs for o in parts]),
        np.concatenate([o.head_probs for o in parts]),
        np.concatenate([o.head_weights for o in parts]),
        np.concatenate(embeddings) if embeddings else None,
    )


class Engine(ABC):
    """Runs a model. `str` of an engine gives the runtime, the device and the precision.

    Raises
    ------
    UsageError
        If this process was forked from one that had loaded a model; `infer` raises it, too, in a
        process that was forked since.
    """

    spec: ModelSpec  # input and output of the model
    n_streams: int  # calls of `infer` that may run at once, each in its own thread
    n_threads: int  # cores for each of these calls, on a CPU
    batch_size: int = 16  # windows to compute together by default
    chunk_seconds: float = 5.0  # most seconds of log-mel columns to compute together
    layer: str | None = None  # whose output `infer` gives as embeddings; none if None
    n_features: int = 0  # width of the embeddings

    def __new__(cls, *_: object, **__: object) -> Self:
        """Return a new engine, before any runtime is asked for threads."""
        refuse_forked()
        return super().__new__(cls)

    @property
    @abstractmethod
    def receptive_field(self) -> ReceptiveField | None:
        """Receptive field of a frame of the network; None if it is the whole window."""

    @abstractmethod
    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel spectrogram, shape (columns, mels), of samples, shape (samples,).

        Samples are at the model's sample rate, full scale is ±1. Nothing is padded, so that
        consecutive parts of a stream give consecutive columns.
        """

    @abstractmethod
    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the frame-wise output for a batch of log-mels, shape (batch, columns, mels)."""

    def warmup(self, shape: Shape) -> None:  # noqa: B027  # optional
        """Compile for batches of a shape, (batch, columns, mels); other shapes work too."""

    def init_thread(self) -> None:  # noqa: B027  # optional
        """Prepare a thread that will call `infer`."""

    def restore_threads(self) -> None:  # noqa: B027  # optional
        """Undo what `init_thread` changed in the process."""


def blocks_of_samples(samples: Floats, block: int) -> Floats:
    """Return samples, shape (samples,), as columns, shape (columns, samples of a block).

    The features of models that take samples. A copy, since the samples may lie in a buffer that the
    next ones overwrite.
    """
    n_columns = len(samples) // block
    return samples[: n_columns * block].reshape(n_columns, block).copy()


class EnginePool:
    """Threads that call an engine, `Engine.n_streams` of them.

    `submit` blocks while the queue is full, so memory does not grow with the number of callers.
    Leaving the context closes the pool.

    Parameters
    ----------
    engine
        The engine.
    shape
        Shape of the batches to come, (batch, columns, mels). The engine is warmed up for it in the
        background.
    """

    def __init__(self, engine: Engine, shape: Shape | None = None) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(engine.n_streams, "engine", engine.init_thread)
        self._room = threading.BoundedSemaphore(2 * engine.n_streams)
        if shape is not None:
            # An error of the warm-up shows up again in the first call.
            self.submit(engine.warmup, shape)

    def __enter__(self) -> EnginePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function that calls the engine in a thread; block while the queue is full.

        Raises
        ------
        RuntimeError
            If the pool is closed.
        """
        # The threads of the pool are missing in a child, too.
        refuse_forked()
        self._room.acquire()
        try:
            future = self._threads.submit(call, *args, **kwargs)
        except RuntimeError:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def cancel(self) -> None:
        """Drop the queued calls, without waiting for the running ones."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Drop the queued calls, and wait for the running ones."""
        self._threads.shutdown(cancel_futures=True)
        self._engine.restore_threads()


def benchmark_engine(engine: Engine, seconds: float = MEASURED_SECONDS) -> float:
    """Return the speed of an engine: seconds of sound per second, windows without overlap.

    Parameters
    ----------
    engine
        Measured with noise, in batches of its own `batch_size`, on all its streams.
    seconds
        How long to measure; the best round of a few batches counts.
    """
    spec = engine.spec
    n_windows = engine.batch_size
    shape = (n_windows, spec.window_columns, spec.log_mel.n_mels)
    batch = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    n_batches = 2 * engine.n_streams
    with EnginePool(engine, shape) as pool:
        best, end = 0.0, time.perf_counter() + seconds
        wait([pool.submit(engine.infer, batch) for _ in range(engine.n_streams)])
        while time.perf_counter() < end or not best:
            start = time.perf_counter()
            for output in [pool.submit(engine.infer, batch) for _ in range(n_batches)]:
                output.result()
            processed_seconds = n_batches * n_windows * spec.window_seconds
            best = max(best, processed_seconds / (time.perf_counter() - start))
    return best


def benchmark_in_child(path: str | os.PathLike[str] | None, **options: Any) -> float:
    """Return the speed of an engine as `benchmark_engine` does, in a process of its own.

    What an engine has loaded stays in memory: torch alone takes more than all of `sed listen`.

    Parameters
    ----------
    path
        The model.
    options
        As for `streaming.engines.select.open_engine`.

    Raises
    ------
    SedError
        If the engine does not work.
    """
    command = [sys.executable, "-c", _BENCHMARK, json.dumps([os.fspath(path or ""), options])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    try:
        return float(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        lines = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        raise SedError(lines[-1]) from None


_BENCHMARK = """
import json, sys
from streaming.engines.base import benchmark_engine
from streaming.engines.select import open_engine
path, options = json.loads(sys.argv[1])
print(benchmark_engine(open_engine(path, **options)))
"""


def sub_batches(log_mel: Floats) -> Iterator[Floats]:
    """Split a batch, shape (batch, columns, mels), into sub-batches of `SUB_BATCH` windows.

    A sub-batch with fewer windows is padded with zeros, so that only two sizes occur: `SUB_BATCH`
    and 1.
    """
    for first in range(0, len(log_mel), SUB_BATCH):
        part = log_mel[first : first + SUB_BATCH]
        if 1 < len(part) < SUB_BATCH:
            rest = np.zeros((SUB_BATCH - len(part), *log_mel.shape[1:]), np.float32)
            part = np.concatenate([part, rest])
        yield part
