"""What runs a model: columns in, what each frame is out. Numpy arrays on both sides."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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

SUB_BATCH = 8  # windows that go through together; few shapes occur, since each is compiled


@dataclass(frozen=True)
class FrameOutput:
    """What the heads of a model say about frames; see `sed.models.network.HeadOutput`.

    The first axis is the batch; an answer to one window has none.
    """

    frame_probs: Floats  # (..., frames, classes)
    head_probs: Floats  # (..., frames, heads, classes)
    head_weights: Floats  # (..., frames, heads, classes)

    def __len__(self) -> int:
        return len(self.frame_probs)

    def __getitem__(self, of: int | slice) -> FrameOutput:
        return FrameOutput(self.frame_probs[of], self.head_probs[of], self.head_weights[of])

    def clip_probs(self) -> Floats:
        """Return the probability of each class in all of one window, shape (classes,)."""
        weighted = (self.head_weights * self.head_probs).sum(axis=0)
        probs: Floats = (weighted / self.head_weights.sum(axis=0)).mean(axis=0)
        return probs


def concat(answers: Iterable[FrameOutput]) -> FrameOutput:
    """Return what answers say one after the other, along their first axis."""
    rows = [(a.frame_probs, a.head_probs, a.head_weights) for a in answers]
    return FrameOutput(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))


class Engine(ABC):
    """A model, ready to be asked. `str` of it says what runs it, where and in which precision."""

    spec: ModelSpec  # what the model hears and says
    n_streams: int  # calls of `hear` that may run at once, each in a thread of its own
    n_threads: int  # cores for each of them, on a CPU
    batch_size: int = 16  # windows that go through it together where nobody says how many
    chunk_seconds: float = 5.0  # columns of so much sound, at most, are computed together

    @property
    @abstractmethod
    def context(self) -> ReceptiveField | None:
        """How far a frame of the network looks; None if it knows of the whole window."""

    @abstractmethod
    def columns(self, samples: Floats) -> Floats:
        """Return the log-mel columns, shape (columns, mels), of samples, shape (samples,)."""

    @abstractmethod
    def hear(self, columns: Floats) -> FrameOutput:
        """Return what the model says of each frame of a batch, shape (batch, columns, mels)."""

    def prepare(self, shape: Shape) -> None:  # noqa: B027  # not all need it
        """Get ready for batches of a shape, (batch, columns, mels), before the first one comes."""

    def init_thread(self) -> None:  # noqa: B027  # not all need it
        """Prepare a thread that is going to call `hear`."""

    def restore_threads(self) -> None:  # noqa: B027  # not all need it
        """Undo what preparing threads has done to the process."""


class EnginePool:
    """Threads that call an engine, and no more calls waiting for them than keep them busy.

    Whoever asks while there is no room waits, so memory does not grow with those who ask.

    Parameters
    ----------
    engine
        What is called; it says by how many threads.
    """

    def __init__(self, engine: Engine) -> None:
        self._threads = ThreadPoolExecutor(engine.n_streams, "engine", engine.init_thread)
        self._room = threading.BoundedSemaphore(2 * engine.n_streams)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a thread call what calls the engine, as soon as there is room."""
        self._room.acquire()
        try:
            answer = self._threads.submit(call, *args, **kwargs)
        except RuntimeError:  # it is closed
            self._room.release()
            raise
        answer.add_done_callback(lambda _: self._room.release())
        return answer

    def cancel(self) -> None:
        """Take no more calls, and drop those that wait."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Drop the calls that wait, and wait for those that run."""
        self._threads.shutdown(cancel_futures=True)


@contextmanager
def pool_of(engine: Engine, shape: Shape | None = None) -> Iterator[EnginePool]:
    """Give threads that call an engine, as many as may at once.

    They prepare it for batches of a shape, (batch, columns, mels), while the first is on its way.
    """
    pool = EnginePool(engine)
    try:
        if shape is not None:
            pool.submit(engine.prepare, shape)  # what is wrong with it is told by who calls it
        yield pool
    finally:
        pool.close()
        engine.restore_threads()


def sub_batches(columns: Floats) -> Iterator[Floats]:
    """Yield a batch in eights, the last filled up with zeros; but one that is left goes alone."""
    for first in range(0, len(columns), SUB_BATCH):
        piece = columns[first : first + SUB_BATCH]
        if 1 < len(piece) < SUB_BATCH:
            rest = np.zeros((SUB_BATCH - len(piece), *columns.shape[1:]), np.float32)
            piece = np.concatenate([piece, rest])
        yield piece
