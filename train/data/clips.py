"""Labelled clips, and what models predict about them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import Event
from sed.types import Floats

SPLITS = ("train", "val", "test")  # always trained on; fold 0; never used


@dataclass(frozen=True)
class PseudoLabels:
    """Probabilities of an ensemble that stand for the labels of a clip."""

    labels: tuple[str, ...]
    clip_probs: NDArray[np.float32]  # (classes,)
    frame_probs: NDArray[np.float16]  # (frames, classes), evenly over the clip


@dataclass(frozen=True)
class Clip:
    """A labelled piece of audio: a file, or a range of one."""

    path: str
    labels: tuple[str, ...]
    group: str  # clips of one source share it, and are never on both sides of a split
    fold: str = ""  # official fold, if the table has one
    licence: str = ""
    secondary: tuple[str, ...] = ()  # labels of sounds in the background
    events: tuple[Event, ...] | None = None  # from the clip's start; None: times are unknown
    start_seconds: float = 0.0  # where in the file the clip starts
    duration_seconds: float | None = None  # how long it is; None: to the end of the file
    pseudo: PseudoLabels | None = field(default=None, compare=False)
    unknown: tuple[str, ...] = ()  # classes about which its labels say nothing


class ClipPredictions(NamedTuple):
    """Targets of clips and the probabilities that a model predicts, each (clips, classes)."""

    targets: Floats  # one for the labels of a clip, or what it is trained towards
    clip_probs: Floats  # probability of each class in the clip


def fingerprint_of(clips: Sequence[Clip]) -> str:
    """Return a hash of clips: names, sizes of files, positions, labels and groups; 16 hex digits.

    Names are relative to the folder of all clips, so that the data may be moved.
    """
    names = relative_names(clips)
    sizes = {path: _file_bytes(path) for path in {clip.path for clip in clips}}
    digest = hashlib.sha256()
    for name, clip in zip(names, clips, strict=True):
        facts = (name, sizes[clip.path], clip.start_seconds, clip.duration_seconds, clip.labels,
                 clip.secondary, clip.events, clip.group, clip.fold, clip.licence)  # fmt: skip
        digest.update(repr(facts).encode("utf-8", "surrogateescape"))
        if clip.pseudo is not None:
            digest.update(clip.pseudo.clip_probs.tobytes() + clip.pseudo.frame_probs.tobytes())
    return digest.hexdigest()[:16]


def relative_names(clips: Sequence[Clip]) -> list[str]:
    """Return the paths of clips relative to their common folder."""
    paths = [os.path.abspath(clip.path) for clip in clips]
    if not paths:
        return []
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, common) for path in paths]


def _file_bytes(path: str) -> int:
    """Return the size of a file; -1 if there is none, which reading it reports later."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
