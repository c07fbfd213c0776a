"""What a training run is made of, and the recipes that change it.

A recipe is a TOML file that names only what it changes; its tables are the fields of
`TrainConfig`, and `extends` names another recipe to start from. An unknown key is an error.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sed.config import config_from_dict
from sed.errors import UsageError
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.models.losses import LOSSES
from sed.models.network import Arguments, ModelConfig
from sed.text import near, printable
from sed.timeline import Timeline

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataConfig:
    """Which clips are learnt from, and how they are cut."""

    window_seconds: float = 5.0  # length of the model's input
    short: Literal["pad", "repeat", "masked-copy"] = "pad"  # what fills up clips shorter than it
    n_folds: int = 5  # made where the table brings none, or where remake_folds asks for it
    remake_folds: bool = False  # make our own folds even where the table brings some
    hold_out: tuple[str, ...] = ()  # official folds that nothing is learnt or fitted from
    licences: tuple[str, ...] = ()  # learn only from clips under these; empty: from all
    learn_from: Literal["others", "fold"] = "others"  # fold: a second stage on what was held out
    present: float = 1.0  # target of a clip's labels
    secondary: float = 0.3  # target of what is heard behind them
    absent: float = 0.0  # target of everything else
    soft_least: float = 0.1  # pseudo-labelled clips below this highest probability are left out
    soft_weight: float = 1.0  # of the loss of pseudo-labelled clips

    def __post_init__(self) -> None:
        """Refuse targets that are none."""
        _check_shares(self, "present", "secondary", "absent", "soft_least")
        _check_choice("short", self.short, ("pad", "repeat", "masked-copy"))
        _check_choice("learn_from", self.learn_from, ("others", "fold"))
        if not self.present > 0.5 >= max(self.secondary, self.absent):
            raise ValueError(
                "expected present above 0.5, and secondary and absent up to it: figures count what "
                f"is above, got {self.present}, {self.secondary}, {self.absent}"
            )
        if self.window_seconds <= 0 or self.n_folds < 2 or self.soft_weight < 0:
            raise ValueError("expected window_seconds > 0, n_folds of 2 or more, soft_weight >= 0")


@dataclass(frozen=True)
class WaveformConfig:
    """What is done to the samples of each clip. Validation gets none of it."""

    shift: Literal["turn", "slide", "none"] = "turn"  # see train.augment.waveform
    gain_db: float = 6.0  # gain drawn evenly between minus and plus this
    stretch_probability: float = 0.0  # share of clips made slower or faster, pitch kept
    stretch: tuple[float, ...] = (0.9, 1.1)  # lowest and highest speed
    pitch_probability: float = 0.0  # share of clips moved up or down, duration kept
    pitch_semitones: tuple[float, ...] = (-2.0, 2.0)  # lowest and highest move
    noise_probability: float = 0.0  # share of clips with noise behind them
    noise: tuple[str, ...] = ("white", "pink", "band")  # kinds that are drawn from
    noise_snr_db: tuple[float, ...] = (3.0, 30.0)  # lowest and highest ratio of clip to noise
    background: str = ""  # folder of recordings without events, laid behind clips
    background_probability: float = 0.0  # share of clips that get some
    background_snr_db: tuple[float, ...] = (3.0, 30.0)  # lowest and highest ratio of clip to it

    def __post_init__(self) -> None:
        """Refuse probabilities and ranges that are none."""
        _check_shares(
            self,
            "stretch_probability",
            "pitch_probability",
            "noise_probability",
            "background_probability",
        )
        _check_ranges(self, "stretch", "pitch_semitones", "noise_snr_db", "background_snr_db")
        _check_choice("shift", self.shift, ("turn", "slide", "none"))
        for kind in self.noise:
            _check_choice("noise", kind, ("white", "pink", "band"))
        if self.gain_db < 0 or self.stretch[0] <= 0:
            raise ValueError("expected gain_db >= 0 and stretch > 0")
        if self.background_probability and not self.background:
            raise ValueError("background_probability needs a folder: set background")
        if self.noise_probability and not self.noise:
            raise ValueError("noise_probability needs kinds of noise: set noise")


@dataclass(frozen=True)
class MixingConfig:
    """How clips of a batch are laid over one another. Validation gets none of it."""

    max_recordings: int = 1  # up to this many are summed, each at a gain of its own
    stop_probability: float = 0.3  # after each, that no further one is added
    domain: Literal["waveform", "mel-power"] = "waveform"  # where they are summed
    gain_db: tuple[float, ...] = (-12.0, 0.0)  # lowest and highest of those behind the first
    mixup_probability: float = 0.5  # share of batches whose clips are mixed in pairs
    mixup_alpha: float = 1.0  # of the beta distribution that the share of each is drawn from
    mixup_targets: Literal["convex", "or"] = "convex"  # mixed in those shares, or both as present
    cutmix_probability: float = 0.0  # share of batches whose clips take a stretch of another
    cutmix_alpha: float = 1.0  # of the beta distribution that its length is drawn from
    place_probability: float = 0.0  # share of clips made of several events at times of their own
    place_most: int = 3  # events at most

    def __post_init__(self) -> None:
        """Refuse probabilities that are none."""
        _check_shares(
            self,
            "stop_probability",
            "mixup_probability",
            "cutmix_probability",
            "place_probability",
        )
        _check_ranges(self, "gain_db")
        _check_choice("domain", self.domain, ("waveform", "mel-power"))
        _check_choice("mixup_targets", self.mixup_targets, ("convex", "or"))
        if self.mixup_alpha <= 0 or self.cutmix_alpha <= 0:
            raise ValueError("expected mixup_alpha and cutmix_alpha above 0")
        if self.max_recordings < 1 or self.place_most < 1:
            raise ValueError("expected max_recordings and place_most of 1 or more")


@dataclass(frozen=True)
class PictureConfig:
    """What is done to the log-mel pictures of a batch. Validation gets none of it."""

    contrast_probability: float = 0.0  # share of pictures raised to a random power, before mixing
    contrast_mixed_probability: float = 0.0  # the same, after mixing
    contrast: tuple[float, ...] = (0.5, 2.0)  # lowest and highest exponent
    high_cut_probability: float = 0.0  # share of pictures whose high frequencies are attenuated
    high_cut_db: float = 20.0  # most that the highest band loses
    shaping_probability: float = 0.0  # share of pictures coloured by a random frequency response
    shaping_db: float = 6.0  # of its bends, between minus and plus this
    shuffle_probability: float = 0.0  # share of pictures whose pieces change places in time
    shuffle_pieces: int = 4  # pieces at most
    spec_augment_probability: float = 0.5  # share of batches with stripes of the picture blanked
    time_stripe_columns: int = 40  # widest stripe in time
    n_time_stripes: int = 2  # stripes in time
    mel_stripe_bands: int = 8  # widest stripe in frequency
    n_mel_stripes: int = 2  # stripes in frequency
    albumentations: str = ""  # a pipeline of train.augment.images, by name; on the CPU

    def __post_init__(self) -> None:
        """Refuse probabilities and ranges that are none."""
        _check_shares(
            self,
            "contrast_probability",
            "contrast_mixed_probability",
            "high_cut_probability",
            "shaping_probability",
            "shuffle_probability",
            "spec_augment_probability",
        )
        _check_ranges(self, "contrast")
        if self.contrast[0] <= 0 or self.high_cut_db < 0 or self.shaping_db < 0:
            raise ValueError("expected contrast > 0, high_cut_db >= 0 and shaping_db >= 0")
        if self.shuffle_pieces < 2:
            raise ValueError(f"expected shuffle_pieces of 2 or more, got {self.shuffle_pieces}")


@dataclass(frozen=True)
class LearningConfig:
    """How the weights move."""

    epochs: int = 30
    batch_size: int = 32  # clips per step and process
    accumulate: int = 1  # steps whose gradients are summed before the weights move
    sampling: Literal["all", "balanced", "weighted"] = "all"  # see train.loop.sampler.EpochBatches
    loss: str = (
        "focal"  # focal, bce, cross-entropy, or clip_ce_frame_bce for clips of one class each
    )
    focal_alpha: float = 0.25  # weight of what is present, against 1 - this
    focal_gamma: float = 2.0  # how much what is easy is forgotten
    label_smoothing: float = 0.0  # share of the targets spread over all classes
    class_weights: Literal["none", "balanced"] = "none"  # balanced: by the inverse of the counts
    frame_weight: float = 0.0  # of frame targets: strong labels, or where a clip is loud
    distil: str = ""  # NPZ of a teacher's embeddings: filename, embedding
    distil_weight: float = 0.5  # of the distance to them
    optimizer: str = "adamw"  # any of timm's or torch's, by name
    learning_rate: float = 1e-3  # highest, of the head
    backbone_share: float = 1.0  # of the learning rate, for a backbone that knows something already
    layer_decay: float = 1.0  # share of the rate that each layer has of the one behind it
    frozen_stages: int = 0  # stages of the backbone, from its input, that stay as they are
    weight_decay: float = 1e-2
    schedule: str = "one-cycle"  # one-cycle, cosine, constant, plateau, or one of torch's or timm's
    schedule_args: Arguments = field(default_factory=dict)  # passed to schedules of the libraries
    warm_up: float = 0.1  # share of the steps in which the rate rises
    clip_norm: float = 5.0  # gradients are scaled down to this norm
    ema_decay: float = 0.0  # of the average of weights that is judged and kept; 0: the last ones
    batch_norm: Literal["train", "frozen"] = "train"  # frozen: keep the statistics of the start
    judge: Literal["cmap5", "cmap3", "map", "accuracy", "map3", "auc"] = "cmap5"  # best by this
    patience: int = 0  # epochs without a better one after which training stops; 0: never
    initial: str = "none"  # none, default (our model's), timm (from its hub), or a file of weights
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"  # auto: bf16 where it is fast
    compile: bool = False  # torch.compile the network
    n_workers: int = 1  # processes that decode; 0 decodes in the loop
    save_every_steps: int = (
        0  # the state to resume from, beside the end of each epoch; 0: only then
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}. {near(self.loss, LOSSES)}")
        _check_choice("sampling", self.sampling, ("all", "balanced", "weighted"))
        _check_choice("class_weights", self.class_weights, ("none", "balanced"))
        _check_choice("batch_norm", self.batch_norm, ("train", "frozen"))
        _check_choice("precision", self.precision, ("auto", "bf16", "fp16", "fp32"))
        _check_choice("judge", self.judge, ("cmap5", "cmap3", "map", "accuracy", "map3", "auc"))
        _check_shares(self, "label_smoothing", "focal_alpha", "warm_up", "layer_decay")
        if self.epochs < 1 or self.batch_size < 1 or self.accumulate < 1:
            raise ValueError("expected at least one epoch, one clip per batch, one step to sum")
        if self.learning_rate <= 0 or self.clip_norm <= 0 or self.n_workers < 0:
            raise ValueError("expected learning_rate and clip_norm above 0, n_workers of 0 or more")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"expected ema_decay from 0 to below 1, got {self.ema_decay}")
        if min(self.patience, self.frozen_stages, self.save_every_steps) < 0:
            raise ValueError("expected patience, frozen_stages and save_every_steps of 0 or more")


@dataclass(frozen=True)
class EventConfig:
    """How the thresholds of the finished model are set."""

    beta: float = 1.0  # F-beta of clips that they serve; below 1 avoids false alarms
    offset_ratio: float = 0.5  # of a class's `on` threshold, down to which its events last
    median_filter_frames: int = 1  # see sed.events.tracker.TrackerConfig, as the other two
    min_duration_seconds: float = 0.0
    min_gap_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuse now what the tracker would refuse after the first epoch."""
        TrackerConfig(
            1.0,
            self.offset_ratio,
            self.median_filter_frames,
            self.min_duration_seconds,
            self.min_gap_seconds,
        )
        if self.beta <= 0:
            raise ValueError(f"expected beta above 0, got {self.beta}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    data: DataConfig = field(default_factory=DataConfig)
    waveform: WaveformConfig = field(default_factory=WaveformConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    picture: PictureConfig = field(default_factory=PictureConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    log_mel: LogMelConfig = field(default_factory=LogMelConfig)
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
        if self.learning.distil and not self._mixes_evenly:
            raise ValueError(
                "a teacher's word on mixed clips is known for convex mixtures alone: with distil "
                "set mixup_targets to convex, max_recordings to 1 and place_probability to 0"
            )
        if self.picture.albumentations and self.model.in_channels != 3:
            raise ValueError("albumentations change three-channel pictures: set in_channels to 3")
        log_mel = self.log_mel
        Timeline(log_mel.sample_rate, log_mel.hop_length, 1).columns_from_seconds(
            self.data.window_seconds
        )

    @property
    def _mixes_evenly(self) -> bool:
        mixing = self.mixing
        is_convex = mixing.mixup_targets == "convex" or mixing.mixup_probability == 0
        return is_convex and mixing.max_recordings == 1 and mixing.place_probability == 0


def recipe_names() -> list[str]:
    """Return the recipes that ship with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(
    name: str | os.PathLike[str], *, settings: Sequence[str] = (), **learning: object
) -> TrainConfig:
    """Return a recipe by name, or from a TOML file by path.

    Parameters
    ----------
    name
        Of a recipe that ships with the package, or a path that ends in .toml.
    settings
        Changes to it, each ``table.key=value`` with the value as in TOML; the quotes of a plain
        string may be left out: ``model.backbone=resnet34``.
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
        changes: dict[str, Any] = {"seed": given.pop("seed")} if "seed" in given else {}
        if given:
            changes["learning"] = given
        for change in [*map(_setting, settings), changes]:
            values = _laid_over(values, change)
        return config_from_dict(TrainConfig, values)
    except (ValueError, TypeError) as error:
        raise UsageError(f"recipe {printable(os.fspath(name))}: {error}") from error


def _setting(text: str) -> dict[str, Any]:
    """Return the tables that ``table.key=value`` stands for."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"expected a setting as table.key=value, got {text!r}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        pass
    try:
        return tomllib.loads(f"{key} = {json.dumps(value.strip())}")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"cannot read the setting {text!r}: {error}") from error


def _check_shares(config: object, *names: str) -> None:
    for name in names:
        if not 0 <= (value := getattr(config, name)) <= 1:
            raise ValueError(f"expected {name} between 0 and 1, got {value}")


def _check_ranges(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if len(value) != 2 or value[0] > value[1]:
            raise ValueError(f"expected {name} as [lowest, highest], got {list(value)}")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"expected {name} to be one of {', '.join(allowed)}, got {value!r}")


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
    return _laid_over(base, values)


def _laid_over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of one recipe with those of another over them."""
    result = dict(base)
    for key, value in values.items():
        is_table = isinstance(value, dict) and isinstance(base.get(key, {}), dict)
        result[key] = base.get(key, {}) | value if is_table else value
    return result
