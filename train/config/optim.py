"""Settings of training: `[optim]`, `[loss]` and `[checkpoint]` in a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sed.models.backbone import Arguments
from sed.models.losses import LOSSES
from sed.text import near
from train.config.checks import check_choice, check_shares

# Metrics of the validation clips: the columns of history.csv, and what the best epoch may be
# chosen by; with the names that plots give them.
METRIC_NAMES = {
    "padded_cmap_5": "padded cmAP (5)",
    "padded_cmap_3": "padded cmAP (3)",
    "map": "mAP",
    "accuracy": "accuracy",
    "map_at_3": "MAP@3",
    "auc": "macro AUC",
    "event_f1": "event F1",
    "segment_f1": "segment F1",
    "intersection_f1": "intersection F1",
    "psds1": "PSDS 1",
    "psds2": "PSDS 2",
}
# Those of clips whose labels have times; not a number for others.
EVENT_METRICS = ("event_f1", "segment_f1", "intersection_f1", "psds1", "psds2")


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are updated.

    Attributes
    ----------
    epochs
        Passes over the training clips.
    batch_size
        Clips per step and process.
    grad_accum_steps
        Number of steps whose gradients are summed before the weights are updated.
    sampling
        How an epoch is drawn: all clips, classes equally often, or rare classes more often.
    optimizer
        Name of an optimizer of timm or torch.
    learning_rate
        Highest learning rate of the head.
    backbone_lr_scale
        Learning rate of the backbone divided by that of the head.
    layer_decay
        Learning rate of each layer divided by that of the next one.
    frozen_stages
        Number of stages of the backbone, from its input, that are not trained.
    pointwise
        Train the backbone's pointwise convolutions, which hold most of its weights, or keep their
        initial weights (frozen): filters over time and frequency adapt, and what they find stays.
    weight_decay
        Weight decay; biases and norms have none.
    schedule
        Schedule of the learning rate: one-cycle, cosine, constant, plateau, or one of torch or
        timm.
    schedule_args
        Arguments of a schedule of torch or timm.
    warmup_ratio
        Share of the steps in which the learning rate rises.
    grad_clip_norm
        Gradients are scaled down to this norm.
    ema_decay
        Decay of the average of the weights, which is validated and kept; 0 is no average.
    batch_norm
        Train the batch norms, or keep their initial statistics (frozen).
    precision
        Number format of the network; auto is bf16 where that is fast.
    compile
        Compile the network with torch.compile.
    n_workers
        Number of processes that decode; 0 decodes in the training process.
    """

    epochs: int = 30
    batch_size: int = 32
    grad_accum_steps: int = 1
    sampling: Literal["all", "balanced", "weighted"] = "all"
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    backbone_lr_scale: float = 1.0
    layer_decay: float = 1.0
    frozen_stages: int = 0
    pointwise: Literal["train", "frozen"] = "train"
    weight_decay: float = 1e-2
    schedule: str = "one-cycle"
    schedule_args: Arguments = field(default_factory=dict)
    warmup_ratio: float = 0.1
    grad_clip_norm: float = 5.0
    ema_decay: float = 0.0
    batch_norm: Literal["train", "frozen"] = "train"
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    compile: bool = False
    n_workers: int = 1

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_choice("sampling", self.sampling, ("all", "balanced", "weighted"))
        check_choice("batch_norm", self.batch_norm, ("train", "frozen"))
        check_choice("pointwise", self.pointwise, ("train", "frozen"))
        check_choice("precision", self.precision, ("auto", "bf16", "fp16", "fp32"))
        check_shares(self, "warmup_ratio", "layer_decay")
        if self.epochs < 1 or self.batch_size < 1 or self.grad_accum_steps < 1:
            raise ValueError("expected epochs, batch_size and grad_accum_steps of 1 or more")
        if self.learning_rate <= 0 or self.grad_clip_norm <= 0 or self.n_workers < 0:
            raise ValueError(
                "expected learning_rate and grad_clip_norm above 0, n_workers of 0 or more"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"expected ema_decay from 0 to below 1, got {self.ema_decay}")
        if self.frozen_stages < 0:
            raise ValueError(f"expected frozen_stages of 0 or more, got {self.frozen_stages}")


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Attributes
    ----------
    name
        Loss function; clip_ce_frame_bce is for one class per clip.
    focal_alpha
        Weight of positive targets of the focal loss; negative ones have 1 minus this.
    focal_gamma
        Focusing exponent of the focal loss; above 0, easy examples weigh less.
    label_smoothing
        Share of the targets spread over all classes.
    class_weights
        Weights of the classes: equal, or by the inverse of their counts (balanced).
    frame_loss_weight
        Weight of the loss of frames, whose targets are strong labels, or where a clip is loud.
    distill_embeddings
        NPZ file of a teacher's embeddings, with filename and embedding; none if empty.
    distill_weight
        Weight of the distance to the teacher's embeddings.
    distill_yamnet
        Weights of YAMNet, which is distilled into a model with its features and classes; see
        `train.distill`. None if empty.
    distill_features_only
        Match YAMNet's features and nothing else: what a model starts with. Labels change a network
        whose frames are not yet those of its teacher too much.
    distill_mn04
        Weights of EfficientAT's mn04, a second teacher beside YAMNet; none if empty.
    """

    name: str = "focal"
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    frame_loss_weight: float = 0.0
    distill_embeddings: str = ""
    distill_weight: float = 0.5
    distill_yamnet: str = ""
    distill_features_only: bool = False
    distill_mn04: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown loss and impossible weights."""
        if self.name not in LOSSES:
            raise ValueError(f"unknown loss {self.name!r}. {near(self.name, LOSSES)}")
        check_choice("class_weights", self.class_weights, ("none", "balanced"))
        check_shares(self, "label_smoothing", "focal_alpha")
        if self.distill_features_only and not self.distill_yamnet:
            raise ValueError("distill_features_only needs a teacher: set distill_yamnet")


@dataclass(frozen=True)
class CheckpointConfig:
    """What training starts from, which epoch is kept, and when the state is saved.

    Attributes
    ----------
    init_weights
        Initial weights: none, default, general or everyday (the backbone of that model), timm (of
        its hub), the name of a model of one's own, or a file.
    init_share
        Share of the initial weights in the model that is validated and kept; the rest are the
        trained ones. It keeps more of what the initial weights know (Wortsman et al., 2022,
        arXiv:2109.01903).
    monitor
        Metric by which the best epoch is chosen.
    patience
        Number of epochs without improvement after which training stops; 0 is never.
    save_every_steps
        Save the state each time this many steps of an epoch are done; 0 saves at its end only.
    """

    init_weights: str = "none"
    init_share: float = 0.0
    monitor: str = "padded_cmap_5"
    patience: int = 0
    save_every_steps: int = 0

    def __post_init__(self) -> None:
        """Refuse an unknown metric and impossible counts."""
        check_shares(self, "init_share")
        check_choice("monitor", self.monitor, tuple(METRIC_NAMES))
        if min(self.patience, self.save_every_steps) < 0:
            raise ValueError("expected patience and save_every_steps of 0 or more")
