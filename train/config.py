"""What a training run is made of, and the recipes that change it.

A recipe is a TOML file that names only what it changes; its tables are the fields of
`TrainConfig`, and `extends` names another recipe to start from. An unknown key is an error.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sed.configs import config_from_dict
from sed.errors import UsageError, near, printable
from sed.events import TrackerConfig
from sed.features import LogMelConfig
from sed.losses import LOSSES
from sed.model import ModelConfig
from sed.timeline import Timeline

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataConfig:
    """Which clips are learnt from, and how they are cut."""

    window_seconds: float = 5.0  # length of the model's input
    n_folds: int = 5  # made where the table brings none, or where remake_folds asks for it
    remake_folds: bool = False  # make our own folds even where the table brings some
    hold_out: tuple[str, ...] = ()  # official folds that nothing is learnt or fitted from
    licences: tuple[str, ...] = ()  # learn only from clips under these; empty: from all


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to a clip before the model hears it. Validation gets none of it."""

    shift: Literal["turn", "slide", "none"] = "turn"  # see train.augment
    gain_db: float = 6.0  # gain drawn evenly between minus and plus this
    mixup_probability: float = 0.5  # share of batches whose clips are mixed in pairs
    mixup_alpha: float = 1.0  # of the beta distribution that the share of each is drawn from
    mixup_targets: Literal["convex", "or"] = "convex"  # mixed in those shares, or both as present
    noise_db: tuple[float, ...] = ()  # lowest and highest level of white noise, re full scale
    spec_augment_probability: float = 0.5  # share of batches with stripes of the picture blanked
    time_stripe_columns: int = 40  # widest stripe in time
    n_time_stripes: int = 2  # stripes in time
    mel_stripe_bands: int = 8  # widest stripe in frequency
    n_mel_stripes: int = 2  # stripes in frequency

    def __post_init__(self) -> None:
        """Refuse probabilities that are none."""
        for name in ("mixup_probability", "spec_augment_probability"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"expected {name} between 0 and 1, got {value}")
        if self.shift not in ("turn", "slide", "none"):
            raise ValueError(f"expected shift turn, slide or none, got {self.shift!r}")
        if self.mixup_targets not in ("convex", "or"):
            raise ValueError(f"expected mixup_targets convex or or, got {self.mixup_targets!r}")
        if self.noise_db and not (len(self.noise_db) == 2 and self.noise_db[0] <= self.noise_db[1]):
            raise ValueError(f"expected noise_db as [lowest, highest], got {self.noise_db}")
        if self.mixup_alpha <= 0 or self.gain_db < 0:
            raise ValueError("expected mixup_alpha > 0 and gain_db >= 0")


@dataclass(frozen=True)
class LearningConfig:
    """How the weights move."""

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3  # highest, of AdamW
    backbone_share: float = 1.0  # of the learning rate, for a backbone that knows something already
    weight_decay: float = 1e-2
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    warm_up: float = 0.1  # share of the steps in which the rate rises
    loss: str = "focal"  # focal, bce, or exclusive for clips that hold one class each
    frame_weight: float = 0.0  # of frame targets, which say a label where its clip is loud
    clip_norm: float = 5.0  # gradients are scaled down to this norm
    batch_norm: Literal["train", "frozen"] = "train"  # frozen: keep the statistics of the start
    initial: str = "none"  # none, default (our model's), timm (from its hub), or a file of weights
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bf16 where it is fast
    n_workers: int = 1  # processes that decode; 0 decodes in the loop

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}. {near(self.loss, LOSSES)}")
        if self.schedule not in ("one-cycle", "cosine"):
            raise ValueError(f"expected schedule one-cycle or cosine, got {self.schedule!r}")
        if self.batch_norm not in ("train", "frozen"):
            raise ValueError(f"expected batch_norm train or frozen, got {self.batch_norm!r}")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"expected precision auto, bf16 or fp32, got {self.precision!r}")
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError("expected at least one epoch and one clip per batch")
        if self.learning_rate <= 0 or self.clip_norm <= 0 or self.n_workers < 0:
            raise ValueError("expected learning_rate and clip_norm above 0, n_workers of 0 or more")


@dataclass(frozen=True)
class EventConfig:
    """How the thresholds of the finished model are set."""

    beta: float = 1.0  # F-beta of clips that they serve; below 1 avoids false alarms
    off_share: float = 0.5  # of a class's `on` threshold, down to which its events last
    median_frames: int = 1  # see sed.events.TrackerConfig, as the other two
    min_length_seconds: float = 0.0
    merge_gap_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuse now what the tracker would refuse after the first epoch."""
        TrackerConfig(
            1.0,
            self.off_share,
            self.median_frames,
            self.min_length_seconds,
            self.merge_gap_seconds,
        )
        if self.beta <= 0:
            raise ValueError(f"expected beta above 0, got {self.beta}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    front_end: LogMelConfig = field(default_factory=LogMelConfig)
    events: EventConfig = field(default_factory=EventConfig)
    seed: int = 0  # everything random follows from it

    def __post_init__(self) -> None:
        """Refuse what the parts cannot know of each other."""
        if self.seed < 0:
            raise ValueError(f"expected a seed of 0 or more, got {self.seed}")
        if self.learning.batch_norm == "frozen" and self.learning.initial == "none":
            raise ValueError(
                "frozen batch norms need weights to start from: give --initial FILE (or default, "
                "or timm), or set batch_norm to train"
            )
        front_end = self.front_end
        Timeline(front_end.sample_rate, front_end.hop_samples, 1).columns_from_seconds(
            self.data.window_seconds
        )


def recipe_names() -> list[str]:
    """Return the recipes that ship with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str | os.PathLike[str], **learning: object) -> TrainConfig:
    """Return a recipe by name, or from a TOML file by path.

    Parameters
    ----------
    name
        Of a recipe that ships with the package, or a path that ends in .toml.
    learning
        Fields of `LearningConfig`, and `seed`, in place of the recipe's; None leaves them.

    Raises
    ------
    UsageError
        If there is no such recipe, or it names what does not exist or cannot be.
    """
    try:
        values = _recipe_values(name, Path())
        given = {key: value for key, value in learning.items() if value is not None}
        if "seed" in given:
            values["seed"] = given.pop("seed")
        if given and isinstance(table := values.setdefault("learning", {}), dict):
            table |= given
        return config_from_dict(TrainConfig, values)
    except (ValueError, TypeError) as error:
        raise UsageError(f"recipe {printable(os.fspath(name))}: {error}") from error


def _recipe_values(name: str | os.PathLike[str], folder: Path) -> dict[str, Any]:
    """Return the tables of a recipe laid over those of the one that it extends."""
    path = folder / name
    if path.suffix != ".toml":
        path = RECIPES / f"{name}.toml"
        if not path.is_file():
            raise UsageError(f"there is none. {near(str(name), recipe_names())}")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}") from error
    base = _recipe_values(values.pop("extends"), path.parent) if "extends" in values else {}
    for key, value in values.items():
        is_table = isinstance(value, dict) and isinstance(base.get(key, {}), dict)
        base[key] = base.get(key, {}) | value if is_table else value
    return base
