"""Losses on both heads: what is in a frame, and what is in the clip.

All take logits and targets of the same shape, targets between 0 and 1, and return one loss for
each clip of the batch, shape (batch,): whoever trains weighs the clips and takes the mean. The
weights of classes, shape (classes,), are ones where they are not given.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sed.models.head import SedOutput


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Binary cross-entropy that forgets what is already easy (Lin et al., 2017, arXiv:1708.02002).

    ``alpha`` weighs the positives, ``1 - alpha`` the negatives; soft targets weigh both in
    proportion, and their error |target - p| takes the place of 1 - p_t. Mean over classes.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    loss = balance * (targets - logits.sigmoid()).abs().pow(gamma) * cross_entropy
    return _weighted(loss, weights).mean(-1)


def bce(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, mean over classes."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _weighted(loss, weights).mean(-1)


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over classes for targets that are weights.

    Targets that sum to more than one are scaled to sum to one. Less counts less: a clip without
    any label nothing, one that is labelled with doubts that much.
    """
    shares = targets / targets.sum(-1, keepdim=True).clamp_min(1.0)
    return -_weighted(shares * F.log_softmax(logits, dim=-1), weights).sum(-1)


def frame_maximum(output: SedOutput) -> Tensor:
    """Return the highest logit of each class over the frames, shape (batch, classes)."""
    return output.frame_logits.amax(dim=1)


class ClipLoss(Protocol):
    """What training lowers: a loss for each clip, shape (batch,)."""

    def __call__(
        self,
        output: SedOutput,
        targets: Tensor,
        weights: Tensor | None = None,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> Tensor:
        """Return the loss of each clip; alpha and gamma are those of the focal loss."""


def two_way_focal(
    output: SedOutput,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Focal loss on the clip logits and on the frame maximum, half each."""
    parts = (
        focal_loss(logits, targets, weights, alpha=alpha, gamma=gamma)
        for logits in (output.clip_logits, frame_maximum(output))
    )
    return torch.stack(list(parts)).mean(0)


def two_way_bce(
    output: SedOutput, targets: Tensor, weights: Tensor | None = None, **_: float
) -> Tensor:
    """Binary cross-entropy on the clip logits and on the frame maximum, half each."""
    clip = bce(output.clip_logits, targets, weights)
    return 0.5 * (clip + bce(frame_maximum(output), targets, weights))


def cross_entropy(
    output: SedOutput, targets: Tensor, weights: Tensor | None = None, **_: float
) -> Tensor:
    """Cross-entropy on the clip logits alone: for clips that hold one class each."""
    return soft_cross_entropy(output.clip_logits, targets, weights)


def clip_ce_frame_bce(
    output: SedOutput, targets: Tensor, weights: Tensor | None = None, **_: float
) -> Tensor:
    """For clips that hold one class each: cross-entropy on the clip, BCE on the frame maximum.

    The BCE is summed over classes, so that both parts are of one size whatever the class list.
    """
    frame = bce(frame_maximum(output), targets, weights) * targets.shape[-1]
    return soft_cross_entropy(output.clip_logits, targets, weights) + frame


def frame_bce(output: SedOutput, frame_targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of frame targets, (batch, frames, classes), summed over classes."""
    loss = F.binary_cross_entropy_with_logits(output.frame_logits, frame_targets, reduction="none")
    return _weighted(loss, weights).sum(-1).mean(-1)


def _weighted(loss: Tensor, weights: Tensor | None) -> Tensor:
    return loss if weights is None else loss * weights


LOSSES: dict[str, ClipLoss] = {
    "focal": two_way_focal,
    "bce": two_way_bce,
    "cross-entropy": cross_entropy,
    "clip_ce_frame_bce": clip_ce_frame_bce,
}
