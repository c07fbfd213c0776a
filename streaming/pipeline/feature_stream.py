"""A stream of samples to columns."""

from __future__ import annotations

import numpy as np

from sed.types import Floats
from streaming.engines.base import Engine
from streaming.pipeline.ring_buffer import RingBuffer


class FeatureStream:
    """Takes samples as they come; gives columns, a whole stretch of them at a time.

    The rounding of a matrix product depends on its size, so the size must not depend on how the
    samples arrived.

    Parameters
    ----------
    engine
        Computes the columns.
    stretch
        Columns that are computed together.
    """

    def __init__(self, engine: Engine, stretch: int) -> None:
        self.stretch = stretch
        self.log_mel = engine.spec.log_mel
        self._columns = engine.columns
        self._samples = RingBuffer()
        self.reset()

    def reset(self, column: int = 0) -> None:
        """Forget everything: the next column is this one, the next sample the first it looks at."""
        start = column * self.log_mel.hop_length - self.log_mel.left_padding
        self.n_columns = column  # of the recording so far
        self.n_samples = max(0, start)  # of the recording so far, at the model's rate
        self._first = column  # begins where the ring does
        self._samples.reset()
        self._samples.push(np.zeros(max(0, -start), np.float32))

    def push(self, samples: Floats) -> list[Floats]:
        """Take samples, shape (n,), at the model's rate; return the stretches they complete."""
        self.n_samples += len(samples)
        self._samples.push(samples)
        stretches = []
        while self._samples.stop >= self._end(self.stretch):
            stretches.append(self._take(self.stretch))
        return stretches

    def flush(self) -> list[Floats]:
        """Return the columns that are left, the last of them filled up with silence."""
        n_left = -(-self.n_samples // self.log_mel.hop_length) - self.n_columns
        if n_left <= 0:
            return []
        n_missing = max(0, self._end(n_left) - self._samples.stop)
        self._samples.push(np.zeros(n_missing, np.float32))
        return [self._take(n_left)]

    @property
    def _start(self) -> int:
        return (self.n_columns - self._first) * self.log_mel.hop_length

    def _end(self, n_columns: int) -> int:
        """Return the position in the ring behind the next so many columns."""
        return self._start + (n_columns - 1) * self.log_mel.hop_length + (self.log_mel.win_length)

    def _take(self, n_columns: int) -> Floats:
        columns = self._columns(self._samples.view(self._start, self._end(n_columns)))
        self.n_columns += n_columns
        self._samples.drop(self._start)
        return columns
