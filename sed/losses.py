"""Losses on both heads: what is in a frame, and what is in the clip.

All take logits and targets of the same shape, targets between 0 and 1, and return a scalar mean.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sed.model import SedOutput


def focal_loss(
    logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Binary cross-entropy that forgets what is already easy (Lin et al., 2017, arXiv:1708.02002).

    ``alpha`` weighs the positives, ``1 - alpha`` the negatives; soft targets weigh both in
    proportion, and their error |target - p| takes the place of 1 - p_t.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * (targets - logits.sigmoid()).abs().pow(gamma) * cross_entropy).mean()


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over classes for targets that are weights, shape (batch, classes).

    Targets are scaled to sum to one; a clip without any label counts nothing.
    """
    total = targets.sum(-1, keepdim=True)
    weights = targets / total.clamp_min(1e-6)
    return -(weights * F.log_softmax(logits, dim=-1)).sum(-1).mean()


def frame_maximum(output: SedOutput) -> Tensor:
    """Return the highest logit of each class over the frames, shape (batch, classes)."""
    return output.frame_logits.amax(dim=1)


def two_way_focal(output: SedOutput, targets: Tensor) -> Tensor:
    """Focal loss on the clip logits and on the frame maximum, half each."""
    clip, frame = output.clip_logits, frame_maximum(output)
    return 0.5 * (focal_loss(clip, targets) + focal_loss(frame, targets))


def two_way_bce(output: SedOutput, targets: Tensor) -> Tensor:
    """Binary cross-entropy on the clip logits and on the frame maximum, half each."""
    clip = F.binary_cross_entropy_with_logits(output.clip_logits, targets)
    frame = F.binary_cross_entropy_with_logits(frame_maximum(output), targets)
    return 0.5 * (clip + frame)


def exclusive(output: SedOutput, targets: Tensor) -> Tensor:
    """For clips that hold one class each: cross-entropy on the clip, BCE on the frame maximum.

    The BCE is summed over classes, so that both parts are of one size whatever the class list.
    """
    frame = F.binary_cross_entropy_with_logits(frame_maximum(output), targets, reduction="none")
    return soft_cross_entropy(output.clip_logits, targets) + frame.sum(-1).mean()


def frame_bce(output: SedOutput, frame_targets: Tensor) -> Tensor:
    """Binary cross-entropy of frame targets, (batch, frames, classes), summed over classes."""
    loss = F.binary_cross_entropy_with_logits(output.frame_logits, frame_targets, reduction="none")
    return loss.sum(-1).mean()


LOSSES = {"focal": two_way_focal, "bce": two_way_bce, "exclusive": exclusive}
