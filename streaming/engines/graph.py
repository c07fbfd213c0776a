"""What engines that run exported graphs have in common. No torch here: it takes seconds to load."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from sed.errors import CheckpointError
from sed.features.log_mel import NumpyLogMel
from sed.models.spec import ModelSpec, ReceptiveField
from sed.types import Floats
from streaming.engines.base import Engine, FrameOutput, concat, sub_batches


class GraphEngine(Engine):
    """A graph behind its columns; the front end runs here.

    Parameters
    ----------
    about
        The description that was exported with the graph.
    n_streams
        Calls of `hear` that may run at once.
    n_threads
        Cores for each of them.

    Raises
    ------
    CheckpointError
        If the description is not one that this version reads.
    """

    def __init__(self, about: Mapping[str, Any], n_streams: int, n_threads: int) -> None:
        try:
            self.spec = ModelSpec.from_dict(about["spec"])
            context = about["context"]
            self._context = None if context is None else ReceptiveField(*context)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the graph is described in a way that this version does not read ({error}). "
                "Export it again."
            ) from error
        self.n_streams = n_streams
        self.n_threads = n_threads
        self._front_end = NumpyLogMel(self.spec.log_mel)

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """How far a frame of the network looks; None if it knows of the whole window."""
        return self._context

    @property
    def _threads(self) -> str:
        n = self.n_streams * self.n_threads
        return f"{n} thread{'s' * (n != 1)}"

    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel columns, shape (columns, mels), of samples, shape (samples,)."""
        return self._front_end(samples)

    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return what the model says of each frame of a batch, shape (batch, columns, mels)."""
        answers = [self._infer(piece) for piece in sub_batches(log_mel)]
        return concat(answers)[: len(log_mel)]

    @abstractmethod
    def _infer(self, columns: Floats) -> FrameOutput:
        """Return what the graph says of a piece."""
