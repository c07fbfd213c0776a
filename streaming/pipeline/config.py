"""Configure how a model runs over a recording, and how its output becomes events."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.hierarchy import choose_classes
from sed.events.post_processing import PostProcessing, read_post_processing
from sed.events.tracker import TrackerConfig
from sed.events.tracking.calibration import Calibration
from sed.events.tracking.config import OFFSET_RATIO
from sed.models.spec import ModelSpec
from sed.text import near

ModeName = Literal["auto", "sliding_window", "fully_convolutional"]

Level = Literal["class", "kind"]

LEVELS = ("class", "kind")
MODES = ("auto", "sliding_window", "fully_convolutional")
UNKNOWN = "unknown"  # the class of `streaming.pipeline.unknown`


@dataclass(frozen=True)
class DetectorConfig:
    """Options of detection. None means the value in the checkpoint, unless a field says otherwise.

    Attributes
    ----------
    hop_seconds
        Seconds from one window to the next. If None half a window, a window for an encoder, which
        has no classes, and the hop that it was registered with for a graph of others.
    mode
        ``sliding_window``, ``fully_convolutional`` or ``auto``; see `streaming.pipeline.modes`.
        ``auto`` is fully convolutional where windows overlap by more than half, the network allows
        it and no lookahead is set.
    threshold
        Score in (0, 1] for all classes: an event must reach it, and lasts while its score stays
        above half of it; above all of it, if the model has one frame for a window.
    class_thresholds
        As `threshold`, for a class or a kind with all that belongs to it, by its name: a mapping,
        or pairs. The narrowest name decides, and overrides the thresholds for all classes.
    thresholds
        Post-processing of some or all classes, or the path of a file that holds it, which is read
        at once; see `sed.events.post_processing`. Other options override it.
    onset_threshold, offset_threshold
        Score that an event must reach, and above which it lasts; they override `threshold`.
    min_duration_seconds
        Shorter events are dropped.
    min_gap_seconds
        Events of a class that are no further apart than this are joined.
    lookahead_seconds
        Seconds that one window must reach beyond a frame to make it final. If None, all windows
        over a frame count, which is the most accurate and takes the longest.
    classes
        Only this class or these classes; all if empty. In a model with a hierarchy a class stands
        for itself and its descendants, and a kind for its classes.
    all_classes
        Report every class that is found. By default, only the most specific class of a sound is
        reported, where the model has a hierarchy; see `sed.events.tracking.specific`.
    at_level
        ``class``, or ``kind``: report kinds (animal, vehicle) in the place of their classes.
    unknown
        Also report the class ``unknown``: sound above the background that no class of the model
        explains; see `streaming.pipeline.unknown`. With it alone in `classes`, nothing else is.
    top_k
        In each frame only the `top_k` most likely classes count; all if None. A class counts in the
        place of its ancestors, where the model has a hierarchy.
    batch_size
        Windows that the model computes together; the fastest number for the engine if None. Larger
        batches are faster and report the first events later. With 1 each result is returned at
        once.
    """

    hop_seconds: float | None = None
    mode: ModeName = "auto"
    threshold: float | None = None
    class_thresholds: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    thresholds: PostProcessing | str | os.PathLike[str] | None = None
    onset_threshold: float | None = None
    offset_threshold: float | None = None
    min_duration_seconds: float | None = None
    min_gap_seconds: float | None = None
    lookahead_seconds: float | None = None
    classes: str | tuple[str, ...] = ()
    all_classes: bool = False
    at_level: Level = "class"
    unknown: bool = False
    top_k: int | None = None
    batch_size: int | None = 1

    def __post_init__(self) -> None:
        """Reject impossible values."""
        if isinstance(self.classes, str):
            object.__setattr__(self, "classes", (self.classes,))
        if isinstance(self.class_thresholds, Mapping):
            object.__setattr__(self, "class_thresholds", tuple(self.class_thresholds.items()))
        if isinstance(self.thresholds, str | os.PathLike):
            object.__setattr__(self, "thresholds", read_post_processing(self.thresholds))
        for name, value in dict(self.class_thresholds).items():
            if not 0 < value <= 1:
                raise UsageError(
                    f"expected a threshold of {name} above 0 and up to 1, got {value:g}"
                )
        if self.mode not in MODES:
            raise UsageError(f"unknown mode {self.mode!r}. {near(self.mode, MODES)}")
        if self.at_level not in LEVELS:
            raise UsageError(f"unknown level {self.at_level!r}. {near(self.at_level, LEVELS)}")
        if self.all_classes and self.at_level == "kind":
            raise UsageError("all classes, or kinds in their place: ask for one of them")
        self._check(
            ("threshold", "onset_threshold", "offset_threshold"),
            lambda value: 0 < value <= 1,
            "above 0 and up to 1",
        )
        self._check(
            ("min_duration_seconds", "min_gap_seconds", "lookahead_seconds"),
            lambda value: 0 <= value < math.inf,
            "of 0 or more",
        )
        self._check(("hop_seconds",), lambda value: 0 < value < math.inf, "above 0")
        self._check(("top_k", "batch_size"), lambda value: value >= 1, "of 1 or more")

    def _check(self, names: Sequence[str], is_valid: Callable[[float], bool], wanted: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not is_valid(value):
                words = name.removesuffix("_seconds").replace("_", " ")
                unit = " s" * name.endswith("_seconds")
                raise UsageError(f"expected {words} {wanted}, got {value:g}{unit}")


def hop_columns(spec: ModelSpec, hop_seconds: float | None) -> int:
    """Return the hop in columns for one in seconds.

    Without one it is half a window; a window for an encoder without classes; and a frame for a
    model with one frame per window. Overlap makes the frames of a detector more accurate, and would
    double the cost of embeddings.

    Raises
    ------
    UsageError
        If the hop is not a whole number of columns, or does not divide the window.
    """
    window = spec.window_columns
    if hop_seconds is None and spec.is_of_windows:
        return spec.frame_columns
    if hop_seconds is None:
        return window // 2 if spec.labels and window % 2 == 0 else window
    try:
        columns = spec.timeline.columns_from_seconds(hop_seconds)
    except ValueError as error:
        raise UsageError(f"hop: {error}") from error
    if window % columns:
        seconds = spec.window_seconds
        choices = ", ".join(f"{seconds / n:g}" for n in (1, 2, 4, 5, 10) if window % n == 0)
        raise UsageError(
            f"a hop of {hop_seconds:g} s does not divide the window of {seconds:g} s. "
            f"Choose for example {choices}"
        )
    return columns


def parse_thresholds(text: str | None) -> tuple[float | None, tuple[tuple[str, float], ...]]:
    """Return the threshold of all classes and those of some in a text such as ``0.5,dog=0.4``.

    A name may contain commas.

    Raises
    ------
    UsageError
        If it is no such text.
    """
    common: float | None = None
    of_classes: dict[str, float] = {}
    name = ""
    if text is None:
        return None, ()
    for part in text.split(","):
        before, equals, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            if equals:
                raise UsageError(f"expected a number after {before}=, got {number!r}") from None
            name += f"{part},"
            continue
        name = f"{name}{before}".strip(", ")
        if bool(name) != bool(equals):
            break
        if name in of_classes or (not name and common is not None):
            raise UsageError(f"two thresholds of {name or 'all classes'}: {text!r}. Give one.")
        if name:
            of_classes[name] = value
        else:
            common = value
        name = ""
    else:
        if not name.strip(", ") and (of_classes or common is not None):
            return common, tuple(of_classes.items())
    raise UsageError(f"expected thresholds as 0.5 or dog=0.4,animal=0.7, got {text!r}")


def fitted_config(spec: ModelSpec, config: DetectorConfig) -> TrackerConfig:
    """Return the post-processing of all classes of a model, with that of `thresholds` applied.

    Raises
    ------
    UsageError
        If the model lacks a class of `thresholds`.
    """
    if not isinstance(config.thresholds, PostProcessing):
        return spec.post_processing
    return config.thresholds.apply(spec.post_processing, spec.labels, spec.resolve)


def calibrations_of(spec: ModelSpec, config: DetectorConfig) -> dict[int, Calibration]:
    """Return the calibrations in `thresholds` by the number of the class.

    Raises
    ------
    UsageError
        If the model lacks a class of `thresholds`.
    """
    if not isinstance(config.thresholds, PostProcessing):
        return {}
    found = config.thresholds.resolve(spec.labels, spec.resolve)
    return {c: one.calibration for c, one in found.items() if one.calibration is not None}


def class_thresholds(
    spec: ModelSpec, config: DetectorConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return onset and offset threshold of each class of the model, with overrides applied.

    Returns
    -------
    Two arrays, (classes,). An offset threshold may be higher than the one of the onset.

    Raises
    ------
    UsageError
        If the model lacks a class that has a threshold of its own.
    """
    fitted = fitted_config(spec, config)
    given = config.threshold if config.onset_threshold is None else config.onset_threshold
    onset = fitted.onset_threshold if given is None else given
    # The score of a window says nothing of its parts, which do not rise and decay.
    ratio = 1.0 if spec.is_of_windows else OFFSET_RATIO
    if config.offset_threshold is not None:
        offset: float | tuple[float, ...] = config.offset_threshold
    elif given is not None:
        offset = ratio * given
    else:
        offset = fitted.offset_threshold
    onsets, offsets = (
        np.broadcast_to(np.asarray(value, np.float64), len(spec.labels)).copy()
        for value in (onset, offset)
    )
    for numbers, value in sorted(_numbers_of(spec, config), key=lambda one: -len(one[0])):
        onsets[numbers] = value
        offsets[numbers] = ratio * value if config.offset_threshold is None else offset
    return onsets, offsets


def _numbers_of(spec: ModelSpec, config: DetectorConfig) -> Iterator[tuple[list[int], float]]:
    """Yield the numbers of the classes that have a threshold of their own, and it."""
    for name, value in dict(config.class_thresholds).items():
        if name != UNKNOWN or name in spec.labels or not config.unknown:
            yield choose_classes(spec.labels, spec.resolve([name]), spec.hierarchy), value


def tracker_config(
    spec: ModelSpec, config: DetectorConfig, selected: Sequence[int]
) -> TrackerConfig:
    """Return the post-processing of the model for the selected classes, with overrides applied.

    Raises
    ------
    UsageError
        If the offset threshold is higher than the onset threshold.
    """
    chosen = list(selected)
    fitted = fitted_config(spec, config).select(chosen)
    onsets, offsets = (tuple(each[chosen].tolist()) for each in class_thresholds(spec, config))
    if any(off > on for off, on in zip(offsets, onsets, strict=True)):
        raise UsageError(
            "expected an offset threshold no higher than the onset threshold, got "
            f"{max(offsets):g} and {min(onsets):g}; give both"
        )
    replaced = {
        name: value
        for name in ("min_duration_seconds", "min_gap_seconds")
        if (value := getattr(config, name)) is not None
    }
    return dataclasses.replace(
        fitted,
        onset_threshold=onsets,
        offset_threshold=offsets,
        **replaced,
    )
