"""Pool frames into clips: attention heads, and their outputs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class SedOutput(NamedTuple):
    """Output of the model for a batch of windows."""

    frame_logits: Tensor  # (batch, frames, classes)
    clip_logits: Tensor  # (batch, classes): attention-weighted mean of the frame logits
    clip_probs: Tensor  # (batch, classes): attention-weighted mean of the frame probabilities
    attention: Tensor  # (batch, frames, classes), sums to one over frames

    @property
    def frame_probs(self) -> Tensor:
        """Probability of each class in each frame, shape (batch, frames, classes)."""
        return self.frame_logits.sigmoid()


class HeadOutput(NamedTuple):
    """Output of the heads for single frames, before attention pooling over a window.

    For a window of any length, ``clip_probs = mean over heads of
    Σ_t head_weights · head_probs / Σ_t head_weights``, the same as `SedOutput.clip_probs`.
    """

    frame_probs: Tensor  # (batch, frames, classes): sigmoid of the mean of the heads' logits
    head_probs: Tensor  # (batch, frames, heads, classes)
    head_weights: Tensor  # (batch, frames, heads, classes): attention before normalisation


class AttentionHead(nn.Module):
    """One attention head: frame logits, and their attention weights in the clip.

    Parameters
    ----------
    width
        Features per frame.
    n_classes
        Number of labels.
    prior
        Initial probability of a class in a frame (Lin et al., 2017, arXiv:1708.02002).
    """

    def __init__(self, width: int, n_classes: int, prior: float) -> None:
        super().__init__()
        self.classes = nn.Linear(width, n_classes)
        self.attention = nn.Linear(width, n_classes)
        for layer in (self.classes, self.attention):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Without this bias the first epochs of BCE training would only fit it.
        nn.init.constant_(self.classes.bias, math.log(prior / (1 - prior)))

    def forward(self, x: Tensor) -> SedOutput:
        """Return the output for features, (batch, frames, width)."""
        frame_logits, scores = self.logits_and_attention(x)
        attention = torch.softmax(scores, dim=1)
        return SedOutput(
            frame_logits,
            (attention * frame_logits).sum(1),
            (attention * frame_logits.sigmoid()).sum(1),
            attention,
        )

    def logits_and_attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return frame logits and logarithmic attention weights, each (batch, frames, classes)."""
        return self.classes(x), torch.tanh(self.attention(x))
