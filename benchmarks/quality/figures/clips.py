"""Decode collections of labelled clips once, and keep them in a cache.

ESC-50's fold 1, Kitchen20 and the training part of SESA are at 16 kHz already. Of ESC-50 and
Kitchen20 only the clips count whose category is a class of AudioSet; of SESA all, since its
category casual is none of the three others.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sed
from benchmarks.quality.scenes import shared_folder
from sed.files import written_whole
from train.distill.classes import read_label_map

RATE = 16_000
CACHE = Path("runs") / "figures"

Samples16 = NDArray[np.int16]
Sounds = list[Samples16]


@dataclass(frozen=True)
class Clip:
    """A clip and its category."""

    samples: Samples16  # at RATE
    category: str


def collection_rows(name: str) -> list[tuple[Path, str]]:
    """Return path and category of the clips of a collection: esc50 (fold 1), kitchen20 or sesa."""
    folder = shared_folder() / "data" / name
    table, file_key, category_key = {
        "esc50": ("esc50.csv", "filename", "category"),
        "kitchen20": ("kitchen20.csv", "filename", "category"),
        "sesa": ("sesa_train.csv", "file", "label"),
    }[name]
    with open(folder / table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    label_map = read_label_map(name)
    if name == "esc50":
        rows = [row for row in rows if row["fold"] == "1"]
    if name != "sesa":
        rows = [row for row in rows if label_map[row["category"]].name]
    return [(folder / "audio" / row[file_key], row[category_key]) for row in rows]


def collection(name: str) -> list[Clip]:
    """Return the clips of a collection, decoded."""
    rows = collection_rows(name)
    sounds, _ = cached(f"clips-{name}", lambda: ([decoded(path) for path, _ in rows], None))
    return [Clip(samples, row[1]) for samples, row in zip(sounds, rows, strict=True)]


def decoded(path: Path) -> Samples16:
    """Return a recording at RATE."""
    return as_int16(sed.read_recording(path, RATE))


def as_int16(samples: NDArray[np.float32]) -> Samples16:
    """Return samples in 16 bits."""
    return np.round(np.clip(samples, -1, 1) * 32_767).astype(np.int16)


def cached(name: str, make: Callable[[], tuple[Sequence[Samples16], Any]]) -> tuple[Sounds, Any]:
    """Return recordings and what describes them from the cache, or make and keep them.

    A name must say everything that they depend on. The description can be written as JSON.
    """
    path = CACHE / f"{name}.npz"
    if not path.exists():
        sounds, about = make()
        lengths = np.array([len(samples) for samples in sounds])
        with written_whole(path) as part, open(part, "wb") as file:
            np.savez(file, samples=np.concatenate(sounds), lengths=lengths, about=json.dumps(about))
    with np.load(path) as file:
        samples, lengths, about = file["samples"], file["lengths"], json.loads(str(file["about"]))
    return np.split(samples, np.cumsum(lengths)[:-1]), about
