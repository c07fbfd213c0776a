"""Define how a graph of others runs: one window at a time.

Windows are not put together into batches: many graphs have a fixed axis for the batch, and a
processor runs a network on one window about as fast as on a part of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sed.errors import CheckpointError
from sed.text import message_of, printable
from sed.types import Floats
from streaming.export.onnx_file import GraphTensor


class GraphRuntime(ABC):
    """A loaded graph. `str` gives the library, the device and the precision."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]

    @abstractmethod
    def run(self, values: Floats, outputs: Sequence[str]) -> list[Floats]:
        """Return some outputs for the only input, as they come; several threads may call this.

        Raises
        ------
        CheckpointError
            If the graph does not run on the values.
        """


def threads_text(n_streams: int, n_threads: int) -> str:
    """Return the number of threads for the name of an engine."""
    n = n_streams * n_threads
    return f"{n} thread{'s' * (n != 1)}"


def does_not_run(path: Path, shape: Sequence[int], error: Exception) -> CheckpointError:
    """Return the error for a graph that fails on an input."""
    reason = message_of(error)
    return CheckpointError(
        f"{printable(path.name)}: does not run on an input of the shape {tuple(shape)} ({reason}). "
        "Check its sample rate and window."
    )


def float32(output: object) -> Floats:
    """Return an output as an array of its own, in fp32 if it holds floats."""
    values = np.array(output)
    return values.astype(np.float32) if values.dtype.kind == "f" else values
