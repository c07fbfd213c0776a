"""The interface of engines, which run a model: log-mel in, frame probabilities out, all NumPy."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from sed.models.spec import ModelSpec, ReceptiveField
from sed.types import Floats

if TYPE_CHECKING:
    pass

Shape = tuple[int, int, int]
P = ParamSpec("P")
T = TypeVar("T")

# Windows that the network computes together: few shapes occur, since each is compiled.
SUB_BATCH = 8


@dataclass(frozen=True)
class FrameOutput:
    """Frame-wise output of a model for a batch; see `sed.models.network.HeadOutput`.

    The first axis is the batch; the output for one window lacks it.
    """

    frame_probs: Floats  # (..., frames, classes)
    head_probs: Floats  # (..., frames, heads, classes)
    head_weights: Floats  # (..., frames, heads, classes), the attention

    def __len__(self) -> int:
        return len(self.frame_probs)

    def __getitem__(self, index: int | slice) -> FrameOutput:
        return FrameOutput(
            self.frame_probs[index], self.head_probs[index], self.head_weights[index]
        )

    def clip_probs(self) -> Floats:
        """Return the probability of each class in the whole of one window, shape (classes,)."""
        weighted = (self.head_weights * self.head_probs).sum(axis=0)
        probs: Floats = (weighted / self.head_weights.sum(axis=0)).mean(axis=0)
        return probs


def concat(outputs: Iterable[FrameOutput]) -> FrameOutput:
    """Return consecutive outputs as one, joined along their first axis."""
    rows = [(o.frame_probs, o.head_probs, o.head_weights) for o in outputs]
    return FrameOutput(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))


class Engine(ABC):
    """Runs a model. `str` of an engine names the runtime, the device and the precision."""

    spec: ModelSpec  # input and output of the model
    n_streams: int  # calls of `infer` that may run at once, each in its own thread
    n_threads: int  # cores for each of these calls, on a CPU
    batch_size: int = 16  # windows to compute together by default
    chunk_seconds: float = 5.0  # most seconds of log-mel columns to compute together

    @property
    @abstractmethod
    def receptive_field(self) -> ReceptiveField | None:
        """How far a frame of the network sees; None if it depends on the whole window."""

    @abstractmethod
    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel columns, shape (columns, mels), of samples, shape (samples,)."""

    @abstractmethod
    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the frame-wise output for a batch, shape (batch, columns, mels)."""

    def warmup(self, shape: Shape) -> None:  # noqa: B027  # optional
        """Compile for batches of a shape, (batch, columns, mels), before the first one arrives."""

    def init_thread(self) -> None:  # noqa: B027  # optional
        """Prepare a thread that will call `infer`."""

    def restore_threads(self) -> None:  # noqa: B027  # optional
        """Undo what `init_thread` has changed for the whole process."""


class EnginePool:
    """Threads that call an engine; `submit` blocks while the queue is full.

    So memory does not grow with the number of callers. As a context manager it closes itself.

    Parameters
    ----------
    engine
        Says how many threads may call it.
    shape
        Warm up for batches of this shape, (batch, columns, mels), while the first one is on its
        way.
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
        """Run a function that calls the engine in one of the threads, as soon as one is free.

        Raises
        ------
        RuntimeError
            If the pool is closed.
        """
        self._room.acquire()
        try:
            future = self._threads.submit(call, *args, **kwargs)
        except RuntimeError:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def cancel(self) -> None:
        """Accept no more calls, and drop the waiting ones."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Drop the waiting calls, and wait for the running ones."""
        self._threads.shutdown(cancel_futures=True)
        self._engine.restore_threads()


def sub_batches(log_mel: Floats) -> Iterator[Floats]:
    """Yield a batch, shape (batch, columns, mels), in parts of `SUB_BATCH` windows.

    The last part is padded with zeros, except that a single window stays alone.
    """
    for first in range(0, len(log_mel), SUB_BATCH):
        part = log_mel[first : first + SUB_BATCH]
        if 1 < len(part) < SUB_BATCH:
            rest = np.zeros((SUB_BATCH - len(part), *log_mel.shape[1:]), np.float32)
            part = np.concatenate([part, rest])
        yield part
