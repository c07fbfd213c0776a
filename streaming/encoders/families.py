"""Fit families of encoders to windows of samples and to frames.

::

    samples (batch, samples) ─ Family.inputs ─▶ tensors ─ network ─▶ (batch, tokens, features)
                             ─ Family.frames ─▶ (batch, frames, features)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sed.errors import CheckpointError, UsageError
from sed.models.spec import ModelSpec
from sed.text import message_of, printable
from sed.types import Floats
from streaming.encoders.base import (
    WINDOW_SECONDS,
    blocks_of_window,
    encoder_spec,
    sounding_lengths,
)
from streaming.encoders.hub import SUPPORTED, Pretrained, default_extractor

SAMPLE_RATE = 16_000  # of encoders whose files do not name one
AST = "audio-spectrogram-transformer"
EVEN_TOKENS = ("whisper",)  # families whose tokens divide the window evenly


class Family(ABC):
    """How a family of encoders takes windows of samples and gives frames."""

    spec: ModelSpec

    @abstractmethod
    def inputs(self, samples: Floats) -> dict[str, Tensor]:
        """Return the inputs of the network for windows, shape (batch, samples)."""

    @abstractmethod
    def frames(self, tokens: Tensor) -> Tensor:
        """Return frames, shape (batch, frames, features), from tokens (batch, tokens, features)."""


class WaveformFamily(Family):
    """Encoders whose first layers are convolutions of samples: wav2vec 2.0 and its relatives.

    A frame stands for the samples of one stride of the convolutions, 320 in the published models
    (20 ms). It is computed from 400, so the window gets half the difference on both sides as
    padding; then n samples give n / 320 frames.

    Samples of a window are brought to zero mean and unit variance where the feature extractor says
    so, and the attention leaves out padding where it says so.

    Parameters
    ----------
    pretrained
        The encoder.
    window_seconds
        Length of a window, rounded to whole frames.

    See Also
    --------
    Baevski et al., wav2vec 2.0, 2020 (https://arxiv.org/abs/2006.11477).
    """

    def __init__(self, pretrained: Pretrained, window_seconds: float | None = None) -> None:
        config, extractor = pretrained.config, pretrained.extractor
        self._sample_rate = int(getattr(extractor, "sampling_rate", SAMPLE_RATE))
        self._normalizes = bool(getattr(extractor, "do_normalize", True))
        self._masks = bool(getattr(extractor, "return_attention_mask", False))
        self._stride = math.prod(config.conv_stride)
        self._receptive_field = 1
        for kernel, stride in zip(
            reversed(config.conv_kernel), reversed(config.conv_stride), strict=True
        ):
            self._receptive_field = (self._receptive_field - 1) * stride + kernel
        n_frames = blocks_of_window(window_seconds, self._sample_rate, self._stride)
        # SEW computes several frames together, and drops those that are left over.
        n_together = int(getattr(config, "squeeze_factor", 1))
        n_frames = max(1, n_frames // n_together) * n_together
        self.spec = encoder_spec(self._sample_rate, self._stride, 1, n_frames, n_frames)

    def inputs(self, samples: Floats) -> dict[str, Tensor]:
        """Return normalised samples, padded, and a mask where windows end in padding."""
        lengths = sounding_lengths(samples, self._stride)
        rows = np.zeros_like(samples)
        for row, window, n in zip(rows, samples, lengths, strict=True):
            row[:n] = _normalized(window[:n]) if self._normalizes else window[:n]
        missing = self._receptive_field - self._stride
        left = max(0, missing // 2)
        values = torch.from_numpy(np.pad(rows, ((0, 0), (left, max(0, missing - left)))))
        if not self._masks or min(lengths) == samples.shape[1]:
            return {"input_values": values}
        ends = torch.tensor(lengths)[:, None] + max(0, missing)
        return {
            "input_values": values,
            "attention_mask": (torch.arange(values.shape[1]) < ends).long(),
        }

    def frames(self, tokens: Tensor) -> Tensor:
        """Return the tokens: each is a frame, or several in the hidden layers of SEW."""
        n_frames = self.spec.n_frames
        return tokens.repeat_interleave(n_frames // tokens.shape[1], dim=1)


class PatchFamily(Family):
    """AST, whose tokens are patches of a spectrogram of fixed length, 10.24 s.

    The spectrogram is that of the encoder's own feature extractor, of Kaldi, 100 columns a second.
    The patches of a moment are averaged over frequency; the two tokens in front, which stand for no
    moment, are left out. A frame starts where its patch does, 10 columns after the one before.

    Parameters
    ----------
    pretrained
        The encoder.
    window_seconds
        Refused: the position embeddings fix the window.

    Raises
    ------
    UsageError
        If a window is given.

    See Also
    --------
    Gong et al., AST, 2021 (https://arxiv.org/abs/2104.01778).
    """

    N_SPECIAL = 2  # tokens in front: classification, distillation

    def __init__(self, pretrained: Pretrained, window_seconds: float | None = None) -> None:
        _refuse_window(pretrained, window_seconds)
        config = pretrained.config
        self._extractor = pretrained.extractor or default_extractor(config)
        sample_rate = int(self._extractor.sampling_rate)
        self._block = sample_rate // 100
        self._n_bands = 1 + (config.num_mel_bins - config.patch_size) // config.frequency_stride
        n_frames = 1 + (config.max_length - config.patch_size) // config.time_stride
        self.spec = encoder_spec(
            sample_rate, self._block, config.time_stride, n_frames, config.max_length
        )

    def inputs(self, samples: Floats) -> dict[str, Tensor]:
        """Return spectrograms, shape (batch, columns, mels)."""
        return _extracted(self._extractor, samples, self._block)

    def frames(self, tokens: Tensor) -> Tensor:
        """Return the mean over frequency of the patches."""
        patches = tokens[:, self.N_SPECIAL :]
        grid = len(patches), self._n_bands, self.spec.n_frames, patches.shape[2]
        return patches.reshape(grid).mean(dim=1)


class WindowFamily(Family):
    """Other encoders that have a feature extractor of sound.

    What their tokens stand for in time is not known in general, so a window becomes one frame, the
    mean of its tokens. The tokens of Whisper divide its window evenly, and each is a frame.

    Parameters
    ----------
    pretrained
        The encoder, with its feature extractor.
    window_seconds
        Length of a window, where the feature extractor does not fix it.

    Raises
    ------
    UsageError
        If a window is given that is fixed.
    CheckpointError
        If the encoder does not take what its feature extractor gives.
    """

    def __init__(self, pretrained: Pretrained, window_seconds: float | None = None) -> None:
        extractor = self._extractor = pretrained.extractor
        assert extractor is not None
        fixed = getattr(extractor, "chunk_length", None) or getattr(extractor, "max_length_s", None)
        if fixed:
            _refuse_window(pretrained, window_seconds)
        sample_rate = int(extractor.sampling_rate)
        n_samples = round((fixed or window_seconds or WINDOW_SECONDS) * sample_rate)
        n_frames = self._n_tokens(pretrained, n_samples)
        if pretrained.config.model_type not in EVEN_TOKENS or n_samples % n_frames:
            n_frames = 1
        # A tenth of a window can be the hop, where there is one frame.
        n_blocks = n_frames if n_frames > 1 else math.gcd(10, n_samples)
        self._block = n_samples // n_blocks
        self.spec = encoder_spec(sample_rate, self._block, n_blocks // n_frames, n_frames, n_blocks)

    def inputs(self, samples: Floats) -> dict[str, Tensor]:
        """Return what the feature extractor makes of the windows."""
        return _extracted(self._extractor, samples, self._block)

    def frames(self, tokens: Tensor) -> Tensor:
        """Return the tokens, or their mean as the only frame."""
        return tokens if self.spec.n_frames > 1 else tokens.mean(dim=1, keepdim=True)

    def _n_tokens(self, pretrained: Pretrained, n_samples: int) -> int:
        noise = np.random.default_rng(0).standard_normal((1, n_samples)).astype(np.float32)
        try:
            with torch.inference_mode():
                output = pretrained.model(**_extracted(self._extractor, noise, n_samples))
            return int(output.last_hidden_state.shape[1])
        except Exception as error:
            reason = message_of(error)
            raise CheckpointError(
                f"{printable(str(pretrained.name))}: a model of the type "
                f"{pretrained.config.model_type} does not work as an encoder ({reason}). "
                f"Supported are {SUPPORTED}."
            ) from error


def choose_family(pretrained: Pretrained, window_seconds: float | None = None) -> Family:
    """Return the family of an encoder.

    Parameters
    ----------
    pretrained
        The encoder.
    window_seconds
        Length of a window, where the encoder takes any.

    Raises
    ------
    UsageError
        If a window is given and the encoder fixes it.
    CheckpointError
        If the encoder does not take what its feature extractor gives.
    """
    if hasattr(pretrained.config, "conv_stride"):
        return WaveformFamily(pretrained, window_seconds)
    if pretrained.config.model_type == AST:
        return PatchFamily(pretrained, window_seconds)
    return WindowFamily(pretrained, window_seconds)


def _normalized(samples: Floats) -> Floats:
    """Return samples with zero mean and unit variance, as the feature extractors compute them."""
    normalized: Floats = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return normalized


def _extracted(extractor: Any, samples: Floats, block: int) -> dict[str, Tensor]:
    """Return what a feature extractor makes of windows, without the zeros that pad them."""
    lengths = sounding_lengths(samples, block)
    # An FFT of most extractors takes 25 ms.
    least = min(samples.shape[1], extractor.sampling_rate // 10)
    windows = [window[: max(n, least)] for window, n in zip(samples, lengths, strict=True)]
    inputs = extractor(windows, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return dict(inputs)


def _refuse_window(pretrained: Pretrained, window_seconds: float | None) -> None:
    if window_seconds is not None:
        raise UsageError(
            f"{printable(str(pretrained.name))}: this encoder has a window of its own: leave out "
            "the window"
        )
