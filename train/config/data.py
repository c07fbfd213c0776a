"""Settings of the clips: `[data]` in a recipe, and the thresholds of the finished model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sed.events.tracker import TrackerConfig
from train.config.checks import check_choice, check_shares


@dataclass(frozen=True)
class DataConfig:
    """Which clips the model is trained on, and how they are cut.

    Attributes
    ----------
    window_seconds
        Length of the model's input in seconds.
    pad_mode
        How a clip shorter than a window is filled: with silence, repetitions, or copies with masks.
    n_folds
        Number of folds to make where the table has none, or with remake_folds.
    remake_folds
        Make new folds even where the table has some.
    classes
        Class list of the model: audioset for all of AudioSet's, or empty for the labels of clips.
    label_map
        Collection whose labels are named by AudioSet's classes; see `train.distill.classes`.
    hold_out
        Official folds kept out of training and validation.
    licences
        Train only on clips under these licences; on all if empty.
    train_on
        Train on the other folds, or, in a second stage, on the held-out fold itself.
    target_positive
        Target of a clip's labels.
    target_secondary
        Target of a clip's secondary labels, the sounds in its background.
    target_negative
        Target of every other class.
    hierarchy
        A file with the parents of the classes, which the model then keeps; none if empty. See
        `sed.events.hierarchy.read_hierarchy`.
    pseudo_label_min_prob
        Pseudo-labelled clips whose highest probability is below this are left out.
    pseudo_label_weight
        Weight of pseudo-labelled clips in the loss.
    """

    window_seconds: float = 5.0
    pad_mode: Literal["pad", "repeat", "masked-copy"] = "pad"
    n_folds: int = 5
    remake_folds: bool = False
    classes: Literal["", "audioset"] = ""
    label_map: str = ""
    hold_out: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    train_on: Literal["other_folds", "held_out"] = "other_folds"
    target_positive: float = 1.0
    target_secondary: float = 0.3
    target_negative: float = 0.0
    hierarchy: str = ""
    pseudo_label_min_prob: float = 0.1
    pseudo_label_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse impossible targets and lengths."""
        check_shares(
            self, "target_positive", "target_secondary", "target_negative", "pseudo_label_min_prob"
        )
        check_choice("pad_mode", self.pad_mode, ("pad", "repeat", "masked-copy"))
        check_choice("classes", self.classes, ("", "audioset"))
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
    """How the thresholds of the finished model are fitted, see `sed.events.tracker`.

    Attributes
    ----------
    f_beta
        Thresholds maximise the F-beta of clips with this beta; below 1 gives fewer false alarms.
    offset_ratio
        Offset threshold of a class divided by its onset threshold.
    median_filter_frames
        Length of the median filter in frames, odd; 1 is no filter.
    min_duration_seconds
        Shorter events are dropped.
    min_gap_seconds
        Events of a class that are closer than this are merged.
    """

    f_beta: float = 1.0
    offset_ratio: float = 0.5
    median_filter_frames: int = 1
    min_duration_seconds: float = 0.0
    min_gap_seconds: float = 1.0

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

    def tracker(self, onset: Iterable[float]) -> TrackerConfig:
        """Return the post-processing of a model with these onset thresholds, one per class."""
        thresholds = [float(threshold) for threshold in onset]
        return TrackerConfig(
            tuple(round(threshold, 4) for threshold in thresholds),
            tuple(round(threshold * self.offset_ratio, 4) for threshold in thresholds),
            self.median_filter_frames,
            self.min_duration_seconds,
            self.min_gap_seconds,
        )
