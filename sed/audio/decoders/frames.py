"""Convert frames of PyAV to arrays of one sample rate and layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from sed.types import Floats

MAX_PLANES = 2  # of a frame that is taken as it is; PyAV crashes on planar sound of 8 channels


class FrameConverter:
    """Converts the frames of a decoder, whose form may change.

    Parameters
    ----------
    av
        The module PyAV.
    layout
        Of the result, such as "stereo".
    sample_rate, n_channels
        Of the result.
    """

    def __init__(self, av: Any, layout: str, sample_rate: int, n_channels: int) -> None:
        self.layout = layout
        self._av = av
        self._sample_rate, self._n_channels = sample_rate, n_channels
        self._resampler: Any = None
        self._form: tuple[object, ...] | None = None  # of the last frame
        self._is_planar = False  # whether frames are taken as they are

    def convert(self, frame: Any) -> Floats:
        """Return a frame as samples (samples, channels), of the rate and channels of this."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        parts = []
        if form != self._form:
            # Internet radio changes its format between programmes, and a resampler accepts only
            # one. Interleaved, because PyAV crashes on planar sound of 8 channels.
            parts, self._form = [self.rest()], form
            self._resampler = self._av.AudioResampler("flt", self.layout, self._sample_rate)
            own = ("fltp", self.layout, self._sample_rate)
            self._is_planar = form == own and self._n_channels <= MAX_PLANES
        if self._is_planar and not parts:
            # What most codecs yield needs no resampler, which takes as long as the codec.
            planes = [np.frombuffer(p, np.float32, frame.samples) for p in frame.planes]
            return planes[0][:, None] if len(planes) == 1 else np.stack(planes, axis=1)
        parts += [self._samples(part) for part in self._resampler.resample(frame)]
        block = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return block

    def rest(self) -> Floats:
        """Return the samples that a change of the sample rate holds back."""
        parts = [np.empty((0, self._n_channels), np.float32)]
        if self._form is not None and self._form[2] != self._sample_rate:
            parts += [self._samples(part) for part in self._resampler.resample(None)]
        return np.concatenate(parts)

    def _samples(self, frame: Any) -> Floats:
        block: Floats = frame.to_ndarray().astype(np.float32, copy=False)
        return block.reshape(-1, self._n_channels)
