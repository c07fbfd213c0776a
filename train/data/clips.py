"""A labelled clip."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.events.tracker import Event

SPLITS = ("train", "val", "test")  # learnt from always, judged by, never touched


@dataclass(frozen=True)
class SoftLabels:
    """What an ensemble made of a clip: probabilities in place of labels."""

    labels: tuple[str, ...]
    clip_probs: NDArray[np.float32]  # (classes,)
    frame_probs: NDArray[np.float16]  # (frames, classes), evenly over the clip


@dataclass(frozen=True)
class Clip:
    """A labelled piece of audio."""

    path: str
    labels: tuple[str, ...]
    group: str  # clips of one source share it, and are never on both sides of a split
    fold: str = ""  # official fold, if the table has one
    licence: str = ""
    secondary: tuple[str, ...] = ()  # labels of what is heard behind
    events: tuple[Event, ...] | None = (
        None  # what sounds when, from the clip's start; None: unknown
    )
    begin_seconds: float = 0.0  # where in the file the clip begins
    seconds: float | None = None  # how long it is; None: to the end of the file
    soft: SoftLabels | None = field(default=None, compare=False)


def bare_name(path: str) -> str:
    """Return the name of a file without folder and endings of sound; prepared ones have one more.

    >>> bare_name("audio/1-100032-A-0.ogg.wav")
    '1-100032-A-0'
    """
    name = os.path.basename(path)
    while (ending := os.path.splitext(name)[1].lower()) in SOUND_SUFFIXES | CONTAINER_SUFFIXES:
        name = name[: -len(ending)]
    return name
