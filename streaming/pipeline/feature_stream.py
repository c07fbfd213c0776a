"""Compute log-mel columns over a stream of samples."""

from __future__ import annotations

import numpy as np

from sed.types import Floats
from streaming.engines.base import Engine
from streaming.pipeline.ring_buffer import RingBuffer


class FeatureStream:
    """Takes any amount of samples; returns log-mel columns, a whole chunk at a time.

    The rounding of a matrix product depends on its size, so the size of a chunk must not depend on
    how the samples arrived.

    Parameters
    ----------
    engine
        Computes the columns.
    chunk_columns
        Columns that are computed together.
    """

    def __init__(self, engine: Engine, chunk_columns: int) -> None:
        self.chunk_columns = chunk_columns
        self.config = engine.spec.log_mel
        self._extract = engine.extract_features
        self._samples = RingBuffer()
        self.reset()

    def reset(self, column: int = 0) -> None:
        """Start at a column: the next sample pushed is the first sample of that column."""
        start = column * self.config.hop_length - self.config.left_padding
        self.n_columns = column  # of the recording so far
        self.n_samples = max(0, start)  # of the recording so far, at the model's rate
        self._first = column  # the column whose samples start at position 0 of the buffer
        self._samples.reset()
        self._samples.push(np.zeros(max(0, -start), np.float32))

    def push(self, samples: Floats) -> list[Floats]:
        """Take samples, shape (samples,), at the model's rate; return the chunks they complete.

        Each has shape (columns, mels).
        """
        self.n_samples += len(samples)
        self._samples.push(samples)
        chunks = []
        while self._samples.stop >= self._end(self.chunk_columns):
            chunks.append(self._take(self.chunk_columns))
        return chunks

    def flush(self) -> list[Floats]:
        """Return the remaining columns; the last one is padded with zeros."""
        n_left = -(-self.n_samples // self.config.hop_length) - self.n_columns
        if n_left <= 0:
            return []
        n_missing = max(0, self._end(n_left) - self._samples.stop)
        self._samples.push(np.zeros(n_missing, np.float32))
        return [self._take(n_left)]

    @property
    def _start(self) -> int:
        return (self.n_columns - self._first) * self.config.hop_length

    def _end(self, n_columns: int) -> int:
        """Return the buffer position after the samples of the next `n_columns` columns."""
        return self._start + (n_columns - 1) * self.config.hop_length + (self.config.win_length)

    def _take(self, n_columns: int) -> Floats:
        log_mel = self._extract(self._samples.view(self._start, self._end(n_columns)))
        self.n_columns += n_columns
        self._samples.drop(self._start)
        return log_mel
