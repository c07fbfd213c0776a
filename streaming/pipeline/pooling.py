r"""Pool the embeddings of frames into one vector for a window, an event or a clip.

For the embeddings x[t] of n frames and their attention a[t]::

    mean       Σ_t x[t] / n
    max        max_t x[t]
    std        sqrt(Σ_t (x[t] - mean)² / n)
    attention  Σ_t a[t] · x[t] / Σ_t a[t]

Several statistics are concatenated, as in the statistics pooling of x-vectors (Snyder et al., 2018,
doi:10.1109/ICASSP.2018.8461375). The sums run along, so a clip of any length takes the same memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.text import near
from sed.types import Floats
from streaming.pipeline.decoder import FrameEmbeddings

STATISTICS = ("mean", "max", "std", "attention")


def check_statistics(names: Sequence[str]) -> None:
    """Make sure that there are such statistics, each once.

    Raises
    ------
    UsageError
        If there are none, or one is unknown or given twice.
    """
    for name in names:
        if name not in STATISTICS:
            raise UsageError(f"unknown statistic {name!r} to pool by. {near(name, STATISTICS)}")
    if not names or len({*names}) < len(names):
        raise UsageError(
            f"expected different statistics to pool by, of {', '.join(STATISTICS)}; got "
            f"{', '.join(names) or 'none'}"
        )


class Pool:
    """Pools consecutive frames, any number at a time.

    Parameters
    ----------
    statistics
        Of `STATISTICS`.
    """

    def __init__(self, statistics: Sequence[str]) -> None:
        check_statistics(statistics)
        self._statistics = tuple(statistics)
        self.n_frames = 0
        # Sums of float32 over hours of frames would lose digits.
        zero = np.zeros((), np.float64)
        self._sum: NDArray[np.float64] = zero
        self._squares: NDArray[np.float64] = zero
        self._weighted: NDArray[np.float64] = zero
        self._weight = 0.0
        self._max: Floats | None = None

    def push(self, frames: FrameEmbeddings) -> None:
        """Take the next frames."""
        vectors = frames.vectors
        if not len(vectors):
            return
        self.n_frames += len(vectors)
        if "mean" in self._statistics or "std" in self._statistics:
            self._sum = self._sum + vectors.sum(axis=0, dtype=np.float64)
        if "std" in self._statistics:
            self._squares = self._squares + np.square(vectors, dtype=np.float64).sum(axis=0)
        if "max" in self._statistics:
            highest = vectors.max(axis=0)
            self._max = highest if self._max is None else np.maximum(self._max, highest)
        if "attention" in self._statistics:
            self._weighted = self._weighted + frames.attention @ vectors.astype(np.float64)
            self._weight += float(frames.attention.sum())

    def result(self) -> Floats:
        """Return the vector of all frames so far, one or more: (statistics · features,)."""
        parts = [self._statistic(name) for name in self._statistics]
        vector: Floats = np.concatenate(parts).astype(np.float32)
        return vector

    def _statistic(self, name: str) -> NDArray[np.float64] | Floats:
        if name == "max":
            assert self._max is not None
            return self._max
        if name == "attention":
            return np.asarray(self._weighted / self._weight)
        mean = np.asarray(self._sum / self.n_frames)
        if name == "mean":
            return mean
        return np.sqrt(np.maximum(self._squares / self.n_frames - mean**2, 0.0))
