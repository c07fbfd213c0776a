"""Settings of training: `[optim]`, `[loss]` and `[checkpoint]` in a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sed.models.losses import LOSSES
from sed.models.network import Arguments
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
}


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are updated."""

    epochs: int = 30  # passes over the training clips
    batch_size: int = 32  # clips per step and process
    grad_accum_steps: int = 1  # steps whose gradients are summed before the weights are updated
    sampling: Literal["all", "balanced", "weighted"] = "all"  # see train.loop.sampler
    optimizer: str = "adamw"  # any of timm's or torch's, by name
    learning_rate: float = 1e-3  # highest rate, of the head
    backbone_lr_scale: float = 1.0  # rate of the backbone over that of the head
    layer_decay: float = 1.0  # rate of each layer over that of the next one
    frozen_stages: int = 0  # stages of the backbone, from its input, that are not trained
    weight_decay: float = 1e-2  # of weights; biases and norms have none
    schedule: str = "one-cycle"  # one-cycle, cosine, constant, plateau, or one of torch's or timm's
    schedule_args: Arguments = field(default_factory=dict)  # passed to schedules of the libraries
    warmup_ratio: float = 0.1  # share of the steps in which the rate rises
    grad_clip_norm: float = 5.0  # gradients are scaled down to this norm
    ema_decay: float = 0.0  # of the average of the weights that is validated and kept; 0: none
    batch_norm: Literal["train", "frozen"] = "train"  # frozen: keep the initial statistics
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"  # auto: bf16 where it is fast
    compile: bool = False  # torch.compile the network
    n_workers: int = 1  # processes that decode; 0 decodes in the training process

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_choice("sampling", self.sampling, ("all", "balanced", "weighted"))
        check_choice("batch_norm", self.batch_norm, ("train", "frozen"))
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
    """What is minimised."""

    name: str = "focal"  # focal, bce, cross-entropy, or clip_ce_frame_bce for one class per clip
    focal_alpha: float = 0.25  # weight of positive targets, against 1 - this
    focal_gamma: float = 2.0  # focusing exponent: above 0, easy examples weigh less
    label_smoothing: float = 0.0  # share of the targets spread over all classes
    class_weights: Literal["none", "balanced"] = "none"  # balanced: by the inverse of the counts
    frame_loss_weight: float = 0.0  # of frame targets: strong labels, or where a clip is loud
    distill_embeddings: str = ""  # NPZ of a teacher's embeddings: filename, embedding
    distill_weight: float = 0.5  # of the distance to them

    def __post_init__(self) -> None:
        """Refuse an unknown loss and impossible weights."""
        if self.name not in LOSSES:
            raise ValueError(f"unknown loss {self.name!r}. {near(self.name, LOSSES)}")
        check_choice("class_weights", self.class_weights, ("none", "balanced"))
        check_shares(self, "label_smoothing", "focal_alpha")


@dataclass(frozen=True)
class CheckpointConfig:
    """What training starts from, which epoch is kept, and when the state is saved."""

    init_weights: str = "none"  # none, default (the shipped model's), timm (its hub), or a file
    monitor: str = "padded_cmap_5"  # metric of the best epoch, see METRIC_NAMES
    patience: int = 0  # epochs without improvement after which training stops; 0: never
    save_every_steps: int = 0  # save the state this often within an epoch; 0: at its end only

    def __post_init__(self) -> None:
        """Refuse an unknown metric and impossible counts."""
        check_choice("monitor", self.monitor, tuple(METRIC_NAMES))
        if min(self.patience, self.save_every_steps) < 0:
            raise ValueError("expected patience and save_every_steps of 0 or more")
