"""Fit classes on a model's features, and add them to it as a head."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.tracker import TrackerConfig
from sed.events.tracking.config import OFFSET_RATIO
from sed.models.checkpoint import Checkpoint
from sed.models.heads.added import AddedHead, AddedHeadConfig
from sed.models.network import SedModel
from sed.text import some
from sed.types import Floats
from train.fit.crossval import CrossValidation, cross_validate
from train.fit.heads import Rows, fit_head

# Kinds that auto tries, and how much more average precision than linear another has to have.
AUTO_KINDS = ("linear", "prototype", "knn")
AUTO_MARGIN = 0.02
SYNTHETIC_CLIPS = 48

_log = logging.getLogger("sed.fit")


@dataclass(frozen=True)
class FittedClasses:
    """A head, and what cross-validation says of it.

    Attributes
    ----------
    head
        Fitted to all clips.
    kind
        Its architecture.
    labels
        Names of its classes.
    n_examples
        Clips of each class, (classes,).
    average_precision
        Of each class in clips held out, (classes,); NaN where a class has one group only.
    thresholds
        Onset threshold of each class, (classes,).
    tried
        Mean average precision of each kind that was tried.
    """

    head: AddedHead
    kind: str
    labels: tuple[str, ...]
    n_examples: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    tried: dict[str, float]

    def metrics(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        known = ~np.isnan(self.average_precision)
        ap = zip(self.labels, self.average_precision, known, strict=True)
        return {
            "head": self.kind,
            "n_examples": dict(zip(self.labels, map(int, self.n_examples), strict=True)),
            "average_precision": {name: round(float(v), 4) for name, v, there in ap if there},
            "tried": {kind: round(v, 4) for kind, v in self.tried.items() if v == v},
        }


def fit_classes(kind: str, rows: Rows, labels: Sequence[str], *, seed: int = 0) -> FittedClasses:
    """Fit a head to clips; ``auto`` chooses its kind by cross-validation.

    Raises
    ------
    UsageError
        If a class has no clip, or no clip is without it.
    """
    kinds = AUTO_KINDS if kind == "auto" else (kind,)
    results: dict[str, CrossValidation] = {}
    for one in kinds:
        results[one] = cross_validate(one, rows, seed=seed)
    tried = {one: _mean(result.average_precision()) for one, result in results.items()}
    best = max(tried, key=lambda one: (np.nan_to_num(tried[one], nan=-1.0), one == kinds[0]))
    # Few examples decide little, so the first kind stays unless another is clearly better.
    if not tried[best] > tried[kinds[0]] + AUTO_MARGIN:
        best = kinds[0]
    return FittedClasses(
        fit_head(best, rows, seed=seed),
        best,
        tuple(labels),
        (rows.targets > 0).sum(0),
        results[best].average_precision(),
        results[best].thresholds(),
        tried,
    )


def check_new(labels: Sequence[str], known: Sequence[str]) -> None:
    """Refuse to add classes that a model has.

    Raises
    ------
    UsageError
        If there are some; the message names them.
    """
    if twice := sorted({*labels} & {*known}):
        raise UsageError(
            f"the model has these classes already: {some(twice)}. Give the new ones other names, "
            "or leave out --add-to for a model of the new classes alone"
        )


def with_classes(base: Checkpoint, fitted: FittedClasses, *, keep: bool) -> Checkpoint:
    """Return a checkpoint with a fitted head.

    Parameters
    ----------
    base
        The model whose features the head was fitted to, which stays as it is.
    fitted
        The head.
    keep
        Whether to keep the classes of the model, whose outputs do not change.
    """
    old = base.model
    config = config_of(fitted)
    added = [*(old.added_head_configs if keep else ()), config]
    n_own = old.n_own_classes if keep else 0
    model = SedModel(old.config, old.log_mel.config, n_own, added).eval()
    weights = {
        name: tensor
        for name, tensor in old.state_dict().items()
        if keep or not name.startswith(("heads.", "added_heads."))
    }
    place = f"added_heads.{len(added) - 1}."
    weights |= {place + name: tensor for name, tensor in fitted.head.state_dict().items()}
    model.load_state_dict(weights)
    labels = (base.labels if keep else ()) + fitted.labels
    hierarchy = base.hierarchy.with_labels(labels) if keep and base.hierarchy else None
    added_before = base.data.get("added_classes", ()) if keep else ()
    return dataclasses.replace(
        base,
        model=model.requires_grad_(False),
        labels=labels,
        post_processing=_post_processing(base, fitted.thresholds, keep=keep),
        metrics=_with_metrics(base.metrics if keep else {}, fitted.metrics()),
        data=base.data | {"added_classes": [*added_before, *fitted.labels]},
        versions={},
        path="",
        hierarchy=hierarchy,
        audioset=base.audioset if keep else {},
    )


def _with_metrics(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return metrics with those of a fit; what earlier fits said of their classes stays."""
    before = old.get("fit", {})
    by_class = {
        name: before.get(name, {}) | new[name] for name in ("n_examples", "average_precision")
    }
    return old | {"fit": new | by_class}


def synthetic_background(base: Checkpoint) -> list[Floats]:
    """Return the frames of noise of several colours and levels, and of silence.

    They stand for background where no recording is given: a poor substitute.
    """
    import torch

    generator = np.random.default_rng(0)
    rate = base.timeline.sample_rate
    n = round(base.window_seconds * rate)
    frequencies = np.maximum(np.fft.rfftfreq(n, 1 / rate), 20.0)
    frames = []
    for i in range(SYNTHETIC_CLIPS):
        spectrum = np.fft.rfft(generator.standard_normal(n)) * frequencies ** -(i % 4 / 2)
        sound = np.fft.irfft(spectrum, n)
        level = 0.0 if i == 0 else 10 ** generator.uniform(-4, -0.5)
        samples = torch.from_numpy((level * sound / np.abs(sound).max()).astype(np.float32))
        with torch.inference_mode():
            log_mel = base.model.log_mel.forward_padded(samples[None])
            frames.append(base.model.frame_features(log_mel)[0].numpy())
    return frames


def config_of(fitted: FittedClasses) -> AddedHeadConfig:
    """Return the architecture of a fitted head."""
    hidden = getattr(fitted.head, "hidden", None)
    examples = getattr(fitted.head, "examples", None)
    return AddedHeadConfig(
        fitted.kind,  # type: ignore[arg-type]
        len(fitted.labels),
        0 if hidden is None else hidden.out_features,
        0 if examples is None else examples.out_features,
        getattr(fitted.head, "n_neighbors", 0),
    )


def _post_processing(
    base: Checkpoint, thresholds: NDArray[np.float64], *, keep: bool
) -> TrackerConfig:
    """Return the post-processing of a model with thresholds for the classes that follow."""
    old, n_old = base.post_processing, len(base.labels)
    onset = np.broadcast_to(old.onset_threshold, n_old)
    offset = np.broadcast_to(old.offset_threshold, n_old)
    ratio = float(np.median(offset / onset)) if n_old else OFFSET_RATIO
    joined = old.with_classes(
        n_old,
        len(thresholds),
        onset_threshold=tuple(thresholds.tolist()),
        offset_threshold=tuple((ratio * thresholds).tolist()),
    )
    return joined if keep else joined.select(range(n_old, n_old + len(thresholds)))


def _mean(values: NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
