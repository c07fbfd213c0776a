"""Heads that are fitted to a trained network's features, and add classes to it.

Such a head gives a logit per frame, and pools frames with their probabilities as weights ("linear
softmax", Wang, Li & Metze, 2019, arXiv:1810.09050)::

    clip_probs[c] = Σ_t frame_probs[t, c]² / Σ_t frame_probs[t, c]

The outputs of the classes that the network was trained for do not depend on added heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.models.heads.attention import SedOutput

Kind = Literal["linear", "prototype", "knn", "mlp"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Added to weights and squared lengths, so that silence is not divided by zero.
SMALLEST_WEIGHT = 1e-4
SMALLEST_SQUARE = 1e-12


@dataclass(frozen=True)
class AddedHeadConfig:
    """Architecture of an added head.

    Attributes
    ----------
    kind
        ``linear``, ``mlp`` (one hidden layer), ``prototype`` (scaled cosine similarity to the mean
        of each class) or ``knn`` (to the nearest stored examples).
    n_classes
        Number of classes.
    hidden
        Width of the hidden layer of ``mlp``.
    n_examples
        Number of examples that ``knn`` stores.
    n_neighbors
        Number of nearest examples that ``knn`` takes the mean of, those of a class and all others
        apart.
    """

    kind: Kind = "linear"
    n_classes: int = 1
    hidden: int = 0
    n_examples: int = 0
    n_neighbors: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot be built."""
        if self.kind not in KINDS:
            raise ValueError(f"expected a head of {', '.join(KINDS)}, got {self.kind!r}")
        if self.n_classes < 1:
            raise ValueError(f"expected n_classes >= 1 in an added head, got {self.n_classes}")
        if self.kind == "mlp" and self.hidden < 1:
            raise ValueError(f"expected hidden >= 1 in an mlp, got {self.hidden}")
        if self.kind == "knn" and not 1 <= self.n_neighbors <= self.n_examples:
            raise ValueError(
                "expected 1 <= n_neighbors <= n_examples in a knn head, got "
                f"{self.n_neighbors} and {self.n_examples}"
            )


class AddedHead(nn.Module, ABC):
    """A head on features, with a logit per frame and class.

    Features are taken relative to a mean, that of sound without the classes, and scaled to unit
    length, so that the level of a sound does not matter.

    Parameters
    ----------
    n_features
        Features per frame.
    """

    mean: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))

    def forward(self, features: Tensor) -> SedOutput:
        """Return the output for features, (batch, frames, n_features)."""
        frame_logits, probs, weights = self.logits_and_weights(features)
        attention = weights / weights.sum(dim=1, keepdim=True)
        return SedOutput(
            frame_logits,
            (attention * frame_logits).sum(1),
            (attention * probs).sum(1),
            attention,
        )

    def logits_and_weights(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, probabilities and pooling weights, each (batch, frames, classes)."""
        frame_logits = self.logits(self.normalize(features))
        probs = frame_logits.sigmoid()
        return frame_logits, probs, probs + SMALLEST_WEIGHT

    def normalize(self, features: Tensor) -> Tensor:
        """Return features relative to the mean, of unit length; shape (..., n_features)."""
        x = features - self.mean
        return x / (x.square().sum(dim=-1, keepdim=True) + SMALLEST_SQUARE).sqrt()

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Return (..., classes) for the output of `normalize`, (..., n_features)."""


class LinearHead(AddedHead):
    """A weighted sum of the features, or of a hidden layer (``mlp``).

    The weights of ``prototype`` are scaled means of classes: the logit is a scaled cosine
    similarity.

    Parameters
    ----------
    config
        Architecture.
    n_features
        Features per frame.
    """

    def __init__(self, config: AddedHeadConfig, n_features: int) -> None:
        super().__init__(n_features)
        self.hidden = nn.Linear(n_features, config.hidden) if config.kind == "mlp" else None
        self.classes = nn.Linear(config.hidden if self.hidden else n_features, config.n_classes)

    def logits(self, x: Tensor) -> Tensor:
        """Return (..., classes) for the output of `normalize`, (..., n_features)."""
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        logits: Tensor = self.classes(x)
        return logits


class NeighborHead(AddedHead):
    """Mean cosine to the nearest examples of a class, less that to the nearest other examples.

    Parameters
    ----------
    config
        Architecture.
    n_features
        Features per frame.
    """

    targets: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, config: AddedHeadConfig, n_features: int) -> None:
        super().__init__(n_features)
        self.n_neighbors = config.n_neighbors
        self.examples = nn.Linear(n_features, config.n_examples, bias=False)  # of unit length
        self.register_buffer("scale", torch.ones(config.n_classes))
        self.register_buffer("bias", torch.zeros(config.n_classes))
        # (classes, examples): 1 where an example is of a class, 0 where it is not, and any other
        # value where that is unknown.
        self.register_buffer("targets", torch.zeros(config.n_classes, config.n_examples))

    def logits(self, x: Tensor) -> Tensor:
        """Return (..., classes) for the output of `normalize`, (..., n_features)."""
        return self.similarities(self.examples(x)) * self.scale + self.bias

    def similarities(self, cosines: Tensor) -> Tensor:
        """Return a similarity per class, (..., classes), for cosines to each example."""
        found = [self._nearest(cosines, own == 1) - self._nearest(cosines, own == 0)
                 for own in self.targets]  # fmt: skip
        return torch.stack(found, dim=-1)

    def _nearest(self, cosines: Tensor, chosen: Tensor) -> Tensor:
        """Return the mean of the highest cosines to the chosen examples, (...,)."""
        # The rest ranks behind the lowest possible cosine, and counts as that.
        others = cosines.new_full((), -1.0)
        ranked = torch.where(chosen, cosines, others).topk(self.n_neighbors, dim=-1).values
        return ranked.mean(dim=-1)


def create_added_head(config: AddedHeadConfig, n_features: int) -> AddedHead:
    """Return a head with initial weights for features of a width."""
    if config.kind == "knn":
        return NeighborHead(config, n_features)
    return LinearHead(config, n_features)
