"""Compute losses of the clip output and of the frame output.

Logits and targets have the same shape, targets are in [0, 1], and each function returns one loss
per clip, shape (batch,). The caller weights the clips and takes the mean. `weights` are of the
classes, shape (classes,), by default ones. A target that is unknown is NaN and has no loss.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sed.models.heads.attention import SedOutput

# Of classes that take no part in a softmax: finite, so that no gradient is undefined.
EXCLUDED_LOGIT = -1e4


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Focal loss: binary cross-entropy that down-weights easy examples, mean over classes.

    ``(alpha·y + (1-alpha)·(1-y)) · |y - p|^gamma · BCE``, which for targets y of 0 and 1 is the
    loss of Lin et al., 2017, arXiv:1708.02002.

    Parameters
    ----------
    logits, targets
        Shape (batch, classes).
    weights
        Of the classes, shape (classes,).
    alpha
        Weight of positives; negatives have ``1 - alpha``.
    gamma
        Focusing exponent.
    """
    known, targets = _known(targets)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    loss = balance * (targets - logits.sigmoid()).abs().pow(gamma) * cross_entropy
    return _weighted(loss * known, weights).mean(-1)


def bce(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, mean over classes.

    Parameters
    ----------
    logits, targets
        Shape (batch, classes).
    weights
        Of the classes, shape (classes,).
    """
    known, targets = _known(targets)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _weighted(loss * known, weights).mean(-1)


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over classes for soft targets, (batch, classes).

    Targets that sum to more than one are scaled to sum to one. A smaller sum gives a smaller
    loss: zero for a clip without labels. Classes whose target is unknown do not compete.

    Parameters
    ----------
    logits, targets
        Shape (batch, classes).
    weights
        Of the classes, shape (classes,).
    """
    logits = logits.masked_fill(targets.isnan(), EXCLUDED_LOGIT)
    _, targets = _known(targets)
    shares = targets / targets.sum(-1, keepdim=True).clamp_min(1.0)
    return -_weighted(shares * F.log_softmax(logits, dim=-1), weights).sum(-1)


def frame_maximum(output: SedOutput) -> Tensor:
    """Return the highest logit of each class over the frames, shape (batch, classes)."""
    return output.frame_logits.amax(dim=1)


class ClipLoss(Protocol):
    """A loss of model output and targets, (batch, classes): one value per clip, (batch,)."""

    def __call__(
        self,
        output: SedOutput,
        targets: Tensor,
        weights: Tensor | None = None,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> Tensor:
        """Return the loss of each clip; `alpha` and `gamma` are those of `focal_loss`."""


def two_way_focal(
    output: SedOutput,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Mean of the focal losses of clip logits and frame maximum.

    Parameters
    ----------
    output
        Output of the model for a batch of clips.
    targets
        Shape (batch, classes), in [0, 1].
    weights
        Of the classes, shape (classes,).
    alpha, gamma
        As of `focal_loss`.
    """
    parts = (
        focal_loss(logits, targets, weights, alpha=alpha, gamma=gamma)
        for logits in (output.clip_logits, frame_maximum(output))
    )
    return torch.stack(list(parts)).mean(0)


def two_way_bce(
    output: SedOutput,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Mean of the binary cross-entropies of clip logits and frame maximum.

    Parameters
    ----------
    output
        Output of the model for a batch of clips.
    targets
        Shape (batch, classes), in [0, 1].
    weights
        Of the classes, shape (classes,).
    alpha, gamma
        Unused: parameters of the focal loss.
    """
    clip = bce(output.clip_logits, targets, weights)
    return 0.5 * (clip + bce(frame_maximum(output), targets, weights))


def cross_entropy(
    output: SedOutput,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Cross-entropy of the clip logits, for clips of exactly one class.

    Parameters
    ----------
    output
        Output of the model for a batch of clips.
    targets
        Shape (batch, classes), in [0, 1].
    weights
        Of the classes, shape (classes,).
    alpha, gamma
        Unused: parameters of the focal loss.
    """
    return soft_cross_entropy(output.clip_logits, targets, weights)


def clip_ce_frame_bce(
    output: SedOutput,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Cross-entropy of the clip logits plus BCE of the frame maximum, for clips of one class.

    The BCE is summed over classes, so that the ratio of both parts does not depend on their number.

    Parameters
    ----------
    output
        Output of the model for a batch of clips.
    targets
        Shape (batch, classes), in [0, 1].
    weights
        Of the classes, shape (classes,).
    alpha, gamma
        Unused: parameters of the focal loss.
    """
    frame = bce(frame_maximum(output), targets, weights) * targets.shape[-1]
    return soft_cross_entropy(output.clip_logits, targets, weights) + frame


def frame_bce(output: SedOutput, frame_targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of the frames: summed over classes, mean over frames.

    Parameters
    ----------
    output
        Output of the model for a batch of clips.
    frame_targets
        Shape (batch, frames, classes), in [0, 1].
    weights
        Of the classes, shape (classes,).
    """
    known, targets = _known(frame_targets)
    loss = F.binary_cross_entropy_with_logits(output.frame_logits, targets, reduction="none")
    return _weighted(loss * known, weights).sum(-1).mean(-1)


def _known(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 where a target is known and 0 elsewhere, and the targets with 0 elsewhere."""
    unknown = targets.isnan()
    return (~unknown).to(targets.dtype), targets.masked_fill(unknown, 0.0)


def _weighted(loss: Tensor, weights: Tensor | None) -> Tensor:
    return loss if weights is None else loss * weights


LOSSES: dict[str, ClipLoss] = {
    "focal": two_way_focal,
    "bce": two_way_bce,
    "cross-entropy": cross_entropy,
    "clip_ce_frame_bce": clip_ce_frame_bce,
}
