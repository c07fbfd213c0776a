"""Settings of the clips: `[data]` in a recipe, and the thresholds of the finished model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sed.events.tracker import TrackerConfig
from train.config.checks import check_choice, check_shares


@dataclass(frozen=True)
class DataConfig:
    """Which clips the model is trained on, and how they are cut."""

    window_seconds: float = 5.0  # length of the model's input
    pad_mode: Literal["pad", "repeat", "masked-copy"] = "pad"  # fills clips shorter than a window
    n_folds: int = 5  # folds to make where the table has none, or with remake_folds
    remake_folds: bool = False  # make new folds even where the table has some
    hold_out: tuple[str, ...] = ()  # official folds kept out of training and validation
    licences: tuple[str, ...] = ()  # train only on clips under these; empty: on all
    train_on: Literal["other_folds", "held_out"] = "other_folds"  # held_out: a second stage
    target_positive: float = 1.0  # target of a clip's labels
    target_secondary: float = 0.3  # target of its secondary labels, sounds in the background
    target_negative: float = 0.0  # target of every other class
    pseudo_label_min_prob: float = 0.1  # leave out pseudo-labelled clips that are below it
    pseudo_label_weight: float = 1.0  # weight of pseudo-labelled clips in the loss

    def __post_init__(self) -> None:
        """Refuse impossible targets and lengths."""
        check_shares(
            self, "target_positive", "target_secondary", "target_negative", "pseudo_label_min_prob"
        )
        check_choice("pad_mode", self.pad_mode, ("pad", "repeat", "masked-copy"))
        check_choice("train_on", self.train_on, ("other_folds", "held_out"))
        if not self.target_positive > 0.5 >= max(self.target_secondary, self.target_negative):
            raise ValueError(
                "expected target_positive above 0.5, target_secondary and target_negative up to "
                "0.5, since metrics count targets above 0.5 as labels; got "
                f"{self.target_positive}, {self.target_secondary}, {self.target_negative}"
            )
        if self.window_seconds <= 0 or self.n_folds < 2 or self.pseudo_label_weight < 0:
            raise ValueError(
                "expected window_seconds > 0, n_folds of 2 or more, pseudo_label_weight >= 0"
            )


@dataclass(frozen=True)
class PostProcessingConfig:
    """How the thresholds of the finished model are fitted, see `sed.events.tracker`."""

    f_beta: float = 1.0  # F-beta of clips that thresholds maximise; below 1: fewer false alarms
    offset_ratio: float = 0.5  # offset threshold over onset threshold of a class
    median_filter_frames: int = 1  # width of the median filter, odd
    min_duration_seconds: float = 0.0  # shorter events are dropped
    min_gap_seconds: float = 1.0  # events of a class closer than this are merged

    def __post_init__(self) -> None:
        """Refuse now what the event tracker would refuse after the first epoch."""
        TrackerConfig(
            1.0,
            self.offset_ratio,
            self.median_filter_frames,
            self.min_duration_seconds,
            self.min_gap_seconds,
        )
        if self.f_beta <= 0:
            raise ValueError(f"expected f_beta above 0, got {self.f_beta}")
