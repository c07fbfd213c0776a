"""Turn samples into batches of model inputs: resample, log-mel, slice, batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.audio.resample import Resampler
from sed.errors import UsageError
from sed.timeline import seconds_from_samples
from sed.types import Floats
from streaming.engines.base import Engine
from streaming.pipeline.feature_stream import FeatureStream
from streaming.pipeline.modes import InferenceMode
from streaming.pipeline.windows import Batch, Window


class FrontEnd:
    """Takes any amount of samples at a time; returns the batches that they complete.

    ::

        samples ─ Resampler ─▶ FeatureStream ─ log-mel ─▶ slicer ─ windows ─▶ batches

    Parameters
    ----------
    engine
        Computes the log-mel columns.
    mode
        Says how columns become inputs of the model.
    sample_rate
        Of the samples that will be pushed, in Hz; the model's own if not given.
    is_live
        Whether columns that complete no window are returned at once, in a batch without windows.
    """

    def __init__(
        self,
        engine: Engine,
        mode: InferenceMode,
        *,
        sample_rate: int | None = None,
        is_live: bool = False,
    ) -> None:
        timeline = engine.spec.timeline
        self._engine = engine
        self._rate = timeline.sample_rate
        self._resampler = Resampler(sample_rate or self._rate, self._rate)
        # At most one batch, so that no window is delayed by columns of the next batch.
        self.chunk_columns = min(
            mode.slicer.step_columns * mode.batch_size,
            timeline.nearest_columns(engine.chunk_seconds),
        )
        self._features = self.feature_stream()
        self._slicer = mode.slicer
        self._batcher = _Batcher(mode.batch_size, is_live=is_live)

    def reset(self) -> None:
        """Start a new recording."""
        self._resampler.reset()
        self._features.reset()
        self._slicer.reset()
        self._batcher.reset()

    @property
    def n_samples(self) -> int:
        """Samples of the recording taken so far, at the model's rate."""
        return self._features.n_samples

    @property
    def processed_seconds(self) -> float:
        """Seconds of the recording taken so far."""
        return seconds_from_samples(self.n_samples, self._rate)

    def feature_stream(self) -> FeatureStream:
        """Return a stream that computes columns exactly as this one does, for `push_log_mel`."""
        return FeatureStream(self._engine, self.chunk_columns)

    def push(self, samples: NDArray[Any]) -> list[Batch]:
        """Take mono samples, shape (samples,); return the batches that they complete.

        Integers are scaled by their full scale.

        Raises
        ------
        UsageError
            If the samples are not mono, or neither integers nor floats.
        """
        return self._slice(self._features.push(self._resampler.push(mono_floats(samples))))

    def push_log_mel(self, log_mel: Floats) -> list[Batch]:
        """Take the next columns, shape (columns, mels), of a `feature_stream`, like `push`.

        Samples may follow: the next one is then sample number `n_samples` of the recording.
        """
        self._features.reset(self._features.n_columns + len(log_mel))
        return self._slice([log_mel])

    def flush(self) -> list[Batch]:
        """End the recording; return its last batches. The next sample starts another recording."""
        log_mel = self._features.push(self._resampler.flush()) + self._features.flush()
        windows = [window for part in log_mel for window in self._slicer.push(part)]
        n_samples = self.n_samples
        if n_samples:
            windows += self._slicer.flush()
        self._features.reset()
        return self._batcher.push(Batch(log_mel, windows, n_samples, is_last=True))

    def _slice(self, log_mel: list[Floats]) -> list[Batch]:
        windows = [window for part in log_mel for window in self._slicer.push(part)]
        return self._batcher.push(Batch(log_mel, windows, self.n_samples))


class _Batcher:
    """Takes any number of windows; returns batches of one size, except at the end.

    Parameters
    ----------
    batch_size
        Windows in a batch.
    is_live
        Whether columns that complete no window are returned at once, in a batch without windows.
    """

    def __init__(self, batch_size: int, *, is_live: bool = False) -> None:
        self.batch_size = batch_size
        self._is_live = is_live
        self.reset()

    def reset(self) -> None:
        """Drop everything."""
        self._log_mel: list[Floats] = []
        self._windows: list[Window] = []

    def push(self, batch: Batch) -> list[Batch]:
        """Take windows; return full batches, and everything left at the end of a recording."""
        self._log_mel += batch.log_mel
        self._windows += batch.windows
        batches = []
        while len(self._windows) > (size := self.batch_size) or (
            len(self._windows) == size and not batch.is_last
        ):
            batches.append(Batch(self._log_mel, self._windows[:size], batch.n_samples))
            self._log_mel, self._windows = [], self._windows[size:]
        if batch.is_last:
            batches.append(batch._replace(log_mel=self._log_mel, windows=self._windows))
            self.reset()
        elif self._is_live and self._log_mel:
            batches.append(batch._replace(log_mel=self._log_mel, windows=[]))
            self._log_mel = []
        return batches


def mono_floats(samples: NDArray[Any]) -> Floats:
    """Return mono samples as float32 in [-1, 1], shape (samples,).

    Raises
    ------
    UsageError
        If the samples are not mono, or neither integers nor floats.
    """
    samples = np.asarray(samples)
    if samples.dtype.kind in "iu" and samples.dtype.itemsize > 4:
        raise UsageError(
            f"expected integers of 8, 16 or 32 bits, got {samples.dtype}, whose full scale is not "
            "that of audio: convert them to int16, int32 or floats"
        )
    if samples.ndim != 1:
        raise UsageError(
            f"expected mono samples of shape (samples,), got shape {samples.shape}: "
            "take the mean over the axis of channels, samples.mean(axis=…), or choose one channel"
        )
    if samples.dtype == np.float32:
        return samples
    kind, n_bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind not in "iuf":
        raise UsageError(f"expected samples as integers or floats, got {samples.dtype}")
    if kind == "f":
        return samples.astype(np.float32)
    full_scale = 2.0 ** (n_bits - 1)
    middle = full_scale if kind == "u" else 0.0  # of unsigned samples, which 8-bit WAV has
    scaled: Floats = ((samples - middle) / full_scale).astype(np.float32)
    return scaled
