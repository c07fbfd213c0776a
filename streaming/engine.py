"""What runs a model: columns in, what each frame is out. Numpy arrays on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sed.spec import FrameContext, ModelSpec
from streaming.answers import Answer

if TYPE_CHECKING:
    from sed.checkpoint import Checkpoint

Floats = NDArray[np.float32]


class Engine(Protocol):
    """A model, ready to be asked. `str` of it says what runs it, where and in which precision."""

    spec: ModelSpec  # what the model hears and says
    n_streams: int  # calls of `hear` that may run at once, each in a thread of its own
    n_threads: int  # cores for each of them, on a CPU

    @property
    def context(self) -> FrameContext | None:
        """How far a frame of the network looks; None if it knows of the whole window."""

    def start_stream(self) -> None:
        """Prepare a thread that is going to call `hear`."""

    def end_streams(self) -> None:
        """Undo what preparing threads has done to the process."""

    def columns(self, samples: Floats) -> Floats:
        """Return the log-mel columns, shape (columns, mels), of samples, shape (samples,)."""

    def hear(self, columns: Floats) -> Answer:
        """Return what the model says of each frame of a batch, shape (batch, columns, mels)."""


def engine_of(model: Engine | Checkpoint) -> Engine:
    """Return the engine itself, or torch on the best device for a checkpoint."""
    if hasattr(model, "hear"):
        return cast(Engine, model)
    from streaming.torch_engine import TorchEngine

    return TorchEngine(model)


@contextmanager
def pool_of(engine: Engine) -> Iterator[ThreadPoolExecutor]:
    """Give threads that call an engine, as many as may at once."""
    try:
        with ThreadPoolExecutor(engine.n_streams, "engine", engine.start_stream) as pool:
            yield pool
    finally:
        engine.end_streams()
