"""Fit a head for classes: on the mean and the maximum over the frames of each clip.

The rows of a class are its clips and all clips without it, each side weighing half. Both rows of a
clip have its label: the mean is what the whole clip is like, the maximum what its loudest parts
are, and the head is later applied to single frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sed.errors import UsageError
from sed.models.heads.added import (
    KINDS,
    AddedHead,
    AddedHeadConfig,
    LinearHead,
    NeighborHead,
    create_added_head,
)
from sed.text import near
from sed.types import Floats
from train.fit.estimators import fit_logistic

# Chosen on clips of ESC-50's folds 2 to 5, see benchmarks/quality/few_shot.py.
WEIGHT_DECAY = 1e-4  # of a linear head on features of unit length
MLP_WEIGHT_DECAY = 1e-4
MLP_HIDDEN = 64
MLP_STEPS = 150
N_NEIGHBORS = 3
MOST_EXAMPLES = 1_000  # that knn stores
INPUT_SCALE = 10.0  # of the features that a network with a hidden layer is trained on


@dataclass(frozen=True)
class Rows:
    """Clips as features of their frames, and which classes they are of.

    Attributes
    ----------
    frames
        Of each clip, (frames, n_features).
    targets
        (clips, classes): one where a clip is of a class, else zero.
    groups
        Of each clip; those of one group are never on both sides of a split.
    """

    frames: Sequence[Floats]
    targets: NDArray[np.float32]
    groups: Sequence[str]

    def take(self, chosen: NDArray[np.int64]) -> Rows:
        """Return the clips with these numbers."""
        return Rows(
            [self.frames[i] for i in chosen.tolist()],
            self.targets[chosen],
            [self.groups[i] for i in chosen.tolist()],
        )


def fit_head(kind: str, rows: Rows, *, seed: int = 0) -> AddedHead:
    """Return a head that is fitted to clips.

    Parameters
    ----------
    kind
        Of `sed.models.heads.added.KINDS`.
    rows
        The clips; each class needs one with it and one without.
    seed
        Of the initial weights of ``mlp``.

    Raises
    ------
    UsageError
        If the kind is unknown, or a class has no clip, or no clip without it.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown head {kind!r}. {near(kind, KINDS)}")
    if not ((rows.targets > 0).any(0) & (rows.targets == 0).any(0)).all():
        raise UsageError("each class needs a clip with it and a clip without it to be fitted")
    n_features, n_classes = rows.frames[0].shape[1], rows.targets.shape[1]
    mean = _mean_of_background(rows)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(seed)
        if kind == "knn":
            return _fit_neighbors(rows, mean)
        hidden = MLP_HIDDEN if kind == "mlp" else 0
        head = create_added_head(AddedHeadConfig(kind, n_classes, hidden), n_features)
        assert isinstance(head, LinearHead)
        head.mean.copy_(mean)
        x, targets = _pooled(head, rows)
        if kind == "linear":
            weight, bias = _logistic(x, targets)
        elif kind == "prototype":
            weight, bias = _prototypes(x, targets)
        else:
            _train_mlp(head, x, targets)
            return head.eval().requires_grad_(False)
        head.classes.weight.data, head.classes.bias.data = weight, bias
    return head.eval().requires_grad_(False)


@torch.inference_mode()
def predict_clips(head: AddedHead, frames: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return clip probabilities and the highest frame probabilities, each (clips, classes)."""
    clip_probs, highest = [], []
    for some in frames:
        output = head(torch.from_numpy(some)[None])
        clip_probs.append(output.clip_probs[0].numpy())
        highest.append(output.frame_probs[0].amax(0).numpy())
    return np.stack(clip_probs), np.stack(highest)


def _mean_of_background(rows: Rows) -> Tensor:
    """Return the mean over the frames of clips without a class, or of all if there are none."""
    without = ~(rows.targets > 0).any(1)
    chosen = without if without.any() else np.ones_like(without)
    sums = [rows.frames[i].sum(0, dtype=np.float64) for i in np.flatnonzero(chosen).tolist()]
    n_frames = sum(len(rows.frames[i]) for i in np.flatnonzero(chosen).tolist())
    return torch.from_numpy((np.sum(sums, axis=0) / n_frames).astype(np.float32))


def _pooled(head: AddedHead, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the means and the maxima of clips, (2 · clips, n_features), and their targets."""
    means, highest = [], []
    for frames in rows.frames:
        normalized = head.normalize(torch.from_numpy(frames))
        means.append(normalized.mean(0))
        highest.append(normalized.amax(0))
    targets = torch.from_numpy(rows.targets)
    return torch.stack(means + highest), torch.cat([targets, targets])


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy, summed over classes; positives and negatives weigh half each."""
    positive = targets > 0
    n_positive, n_all = positive.sum(0), len(targets)
    weights = torch.where(positive, 0.5 / n_positive, 0.5 / (n_all - n_positive))
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weights * loss).sum()


def _logistic(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights, (classes, n_features), and biases of a logistic regression."""
    weights, biases = fit_logistic(x.detach().double().numpy(), targets.numpy() > 0, WEIGHT_DECAY)
    return torch.from_numpy(weights).float(), torch.from_numpy(biases).float()


def _prototypes(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return scaled means of classes, (classes, n_features), and biases."""
    units = F.normalize(x, dim=1)
    prototypes = F.normalize(targets.T @ units, dim=1)
    scale, bias = _calibrated(units @ prototypes.T, targets)
    return scale[:, None] * prototypes, bias


def _calibrated(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and bias of each class that make logits of scores, each (classes,)."""
    fits = [_logistic(scores[:, c : c + 1], targets[:, c : c + 1]) for c in range(scores.shape[1])]
    return torch.cat([w[0] for w, _ in fits]).clamp(min=1.0), torch.cat([b for _, b in fits])


def _fit_neighbors(rows: Rows, mean: Tensor) -> AddedHead:
    """Return a head that stores examples: as many of each class as fit, and as many of the rest."""
    half = MOST_EXAMPLES // 2
    of_class = [np.flatnonzero(column > 0) for column in rows.targets.T]
    share = max(1, half // len(of_class))
    kept = np.unique(np.concatenate([_spread(clips, share) for clips in of_class]))
    rest = _spread(np.flatnonzero(~(rows.targets > 0).any(1)), half)
    chosen = rows.take(np.concatenate([kept, rest]))
    n_examples = 2 * len(chosen.frames)
    n_neighbors = int(min(N_NEIGHBORS, chosen.targets.sum(0).min(), n_examples))
    config = AddedHeadConfig("knn", rows.targets.shape[1], 0, n_examples, n_neighbors)
    head = create_added_head(config, len(mean))
    assert isinstance(head, NeighborHead)
    head.mean.copy_(mean)
    x, targets = _pooled(head, chosen)
    units = F.normalize(x, dim=1)
    head.examples.weight.data = units
    head.targets.copy_(targets.T)
    # Without itself: neither row of a clip is a neighbour of the other.
    own = torch.eye(len(chosen.frames), dtype=torch.bool).repeat(2, 2)
    cosines = torch.where(own, -1.0, units @ units.T)
    scale, bias = _calibrated(head.similarities(cosines), targets)
    head.scale.copy_(scale)
    head.bias.copy_(bias)
    return head.eval().requires_grad_(False)


def _spread(numbers: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most so many of the numbers, evenly spaced."""
    if len(numbers) <= most:
        return numbers
    chosen: NDArray[np.int64] = numbers[np.linspace(0, len(numbers) - 1, most).astype(int)]
    return chosen


def _train_mlp(head: LinearHead, x: Tensor, targets: Tensor) -> None:
    """Train a hidden layer with all rows at once."""
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    x = x.clone()
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=MLP_WEIGHT_DECAY)
    for _ in range(MLP_STEPS):
        optimizer.zero_grad()
        _loss(head.logits(INPUT_SCALE * x), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert head.hidden is not None
    head.hidden.weight.data *= INPUT_SCALE
