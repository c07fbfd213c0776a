"""What is known before the first epoch: folds, labels, first weights, whether all is well.

Everything that can be wrong with a run is said here, before hours are spent on it.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sed.audio.decode import LOWEST_RATE, read_blocks
from sed.errors import (
    CheckpointError,
    OutputError,
    RecordingError,
    SedError,
    TableError,
    UsageError,
    lines,
    printable,
    some,
)
from sed.models.metadata import DEFAULT
from sed.models.network import SedModel
from train.config import TrainConfig
from train.data.audio import n_samples, open_samples
from train.data.folds import NEVER, assign_folds, load_folds, save_folds
from train.data.tables import Clip, bare_name
from train.evaluate.report import write_json
from train.loop.initial import load_backbone, load_initial

_BLOCK = 1 << 20  # samples looked at at once


@dataclass(frozen=True)
class Task:
    """What is learnt, from what, and judged by what."""

    learnt: list[Clip]
    judged: list[Clip]
    labels: tuple[str, ...]
    fold: int

    @property
    def digest(self) -> str:
        """What the clips are, in a few letters: their files, places and labels."""
        what = [
            (os.path.basename(c.path), c.begin_seconds, c.seconds, c.labels, c.secondary, c.group)
            for c in [*self.learnt, *self.judged]
        ]
        return hashlib.sha256(repr(what).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def description(self) -> str:
        """How many clips of what, and what a person might not expect."""
        names = {clip.fold for clip in self.judged}
        official = f" (official fold {names.pop()})" if len(names) == 1 and "" not in names else ""
        text = (
            f"{len(self.learnt)} clips to learn from, {len(self.judged)} of fold {self.fold}"
            f"{official} to judge by, {len(self.labels)} classes"
        )
        unjudged = set(self.labels) - {label for c in self.judged for label in c.labels}
        if unjudged:
            text += f"; fold {self.fold} has none of {some(sorted(unjudged))}"
        if n_soft := sum(clip.soft is not None for clip in self.learnt):
            text += f"; {n_soft} of those to learn from are pseudo-labelled"
        unknown = {x for c in self.learnt + self.judged for x in c.secondary} - set(self.labels)
        if unknown:
            text += f"; passed over, since no clip is of them: secondary {some(sorted(unknown))}"
        return text


def make_task(clips: Sequence[Clip], folds: Sequence[int], fold: int, config: TrainConfig) -> Task:
    """Return what a run learns from and is judged by.

    Raises
    ------
    UsageError
        If there is no such fold.
    TableError
        If nothing is left to learn from, there is only one class, or a class is only in the fold
        held out.
    """
    there = sorted({f for f in folds if f >= 0})
    if not there:
        raise TableError(
            "no clip is left to learn from or judge by. Check licences and hold_out in the recipe, "
            "that the table says the licence of its clips, and that a split has some for val."
        )
    if fold not in there:
        raise UsageError(f"no fold {fold}: the folds are {there[0]} to {there[-1]}")
    judged = [c for c, f in zip(clips, folds, strict=True) if f == fold]
    learnt = [c for c, f in zip(clips, folds, strict=True) if f not in (fold, NEVER)]
    labels = sorted({label for clip in learnt + judged for label in clip.labels})
    if config.data.learn_from == "fold":
        learnt = judged
    if not any(clip.labels for clip in judged):
        raise TableError(f"no clip of fold {fold} has a label: nothing to judge by. Try another.")
    lacking = {x for c in judged for x in c.labels} - {x for c in learnt for x in c.labels}
    if lacking:
        raise TableError(
            f"fold {fold} holds all clips of {', '.join(sorted(lacking))}: nothing to learn them "
            "from. Bring more clips, or make other folds with remake_folds in the recipe."
        )
    if len(labels) < 2 and not any(clip.events is not None for clip in learnt):
        raise TableError(
            f"all clips are {labels[0]!r}: with one class there is nothing to tell apart. Bring "
            "clips of something else, for example a folder of background sounds."
        )
    return Task(learnt, judged, tuple(labels), fold)


def with_pseudo_labels(task: Task, soft: Sequence[Clip], config: TrainConfig) -> Task:
    """Return a task with pseudo-labelled clips to learn from as well.

    Raises
    ------
    TableError
        If they are of other classes, of recordings that the model is judged by, or of longer
        windows than the model's.
    """
    known = {label for clip in soft if clip.soft for label in clip.soft.labels}
    if soft and not known & set(task.labels):
        raise TableError(
            f"pseudo-labels are of other classes ({some(sorted(known))}) than the clips "
            f"({some(task.labels)}). Predict them with a model of these classes."
        )
    judged = {os.path.realpath(clip.path) for clip in task.judged}
    if leaks := [clip.path for clip in soft if os.path.realpath(clip.path) in judged]:
        raise TableError(
            f"{len(leaks)} pseudo-labelled windows are of recordings to judge by, the first "
            f"{printable(leaks[0])}. Take their rows out."
        )
    longest = max((clip.seconds or 0.0 for clip in soft), default=0.0)
    if longest > config.data.window_seconds + 1e-6:
        raise TableError(
            f"pseudo-labels are of windows of {longest:g} s, and the model hears "
            f"{config.data.window_seconds:g} s. Predict them with a model of this window."
        )
    return dataclasses.replace(task, learnt=[*task.learnt, *soft])


def folds_of_run(run: Path, clips: Sequence[Clip], config: TrainConfig) -> list[int]:
    """Return the folds that the run directory has, if they were made in the same way, or make them.

    Raises
    ------
    UsageError
        If they were made with other settings.
    """
    path = run / "folds.csv"
    if not (path.is_file() and (run / "folds.json").is_file()):
        return assign_folds(clips, config.data, seed=config.seed)
    if json.loads((run / "folds.json").read_text("utf-8")) != _fold_settings(config):
        raise UsageError(
            f"{printable(str(path))} was made with another seed or other [data] in the recipe. "
            "Delete it, or train into another folder with --out."
        )
    return load_folds(path, clips)


def save_folds_of_run(
    run: Path, clips: Sequence[Clip], folds: Sequence[int], config: TrainConfig
) -> None:
    """Write the folds and how they were made."""
    write_json(run / "folds.json", _fold_settings(config))
    save_folds(run / "folds.csv", clips, folds)


def _fold_settings(config: TrainConfig) -> dict[str, Any]:
    settings = dataclasses.asdict(config.data) | {"seed": config.seed}
    return json.loads(json.dumps(settings))  # type: ignore[no-any-return]


def initial_model(config: TrainConfig, labels: Sequence[str]) -> tuple[SedModel, str]:
    """Return the model to start from, and what a person should know of it.

    Its random parts follow from the seed.

    Raises
    ------
    UsageError
        If the backbone does not exist or cannot keep time.
    CheckpointError
        If its weights cannot be had.
    """
    initial = config.learning.initial
    torch.manual_seed(config.seed)
    try:
        model = SedModel(config.model, config.front_end, len(labels), pretrained=initial == "timm")
    except ValueError as error:
        raise UsageError(str(error)) from error
    except Exception as error:  # whatever timm's hub and the libraries below it raise
        if initial != "timm":
            raise
        raise CheckpointError(
            f"{config.model.backbone}: timm's weights could not be fetched "
            f"({type(error).__name__}). Check the network, or give --initial a file."
        ) from error
    missing: list[str] = []
    if initial == "default":  # its head knows other sounds by the same names
        missing = load_backbone(model.backbone, DEFAULT)
    elif initial not in ("none", "timm"):
        missing = load_initial(model, labels, initial)
    told = f"; {len(missing)} tensors start at random: {some(missing)}" if missing else ""
    return model, told


def find_faults(
    clips: Sequence[Clip],
    sample_rate: int,
    on_checked: Callable[[int, int], None] = lambda *_: None,
) -> list[str]:
    """Return what is wrong with the files of clips: look into all, before hours are spent on some.

    Plain WAV files are only looked through for silence and for samples that are no number.
    """
    ranges: dict[str, list[Clip]] = {}
    for clip in clips:
        ranges.setdefault(clip.path, []).append(clip)

    def fault(path: str) -> str:
        try:
            plain = open_samples(path, sample_rate)
            if plain is None or not _sounds(plain):
                for _ in read_blocks(path, LOWEST_RATE):
                    pass
            for clip in ranges[path]:
                if n_samples(clip, sample_rate) == 0:
                    reason = f"holds no sound from {clip.begin_seconds:g} s on. Check the table."
                    return str(RecordingError(path, reason))
        except SedError as error:
            return str(error)
        return ""

    pool = ThreadPoolExecutor()
    faults = []
    try:
        for n_checked, found in enumerate(pool.map(fault, ranges), start=1):
            faults += [found] * bool(found)
            on_checked(n_checked, len(ranges))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the others
    return faults


def refuse_faults(faults: Sequence[str], n_files: int) -> None:
    """Raise a `TableError` that lists what is wrong with files, if anything is."""
    if faults:
        raise TableError(
            f"{len(faults)} of {n_files} files cannot be learnt from; mend them, take them out, or "
            f"run sed prepare, which leaves them out:{lines(faults)}"
        )


def check_space(run: Path, model: SedModel, *, averages: bool) -> None:
    """Make sure that the checkpoints of a run will fit on the disk.

    Best, last, and the state twice while it is written: with the moments of the optimizer it is
    three times the weights, four with their average.

    Raises
    ------
    OutputError
        If they will not.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    needed = (2 + 2 * (3 + averages)) * weights
    run.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(run).free) < needed:
        reason = f"the run needs {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free"
        raise OutputError(run, OSError(errno.ENOSPC, reason))


def class_weights(clips: Sequence[Clip], labels: Sequence[str], kind: str) -> Tensor:
    """Return the weight of each class: ones, or by the inverse of its clips; their mean is one."""
    if kind == "none":
        return torch.ones(len(labels))
    counts = Counter(label for clip in clips for label in clip.labels)
    weights = torch.tensor([1.0 / max(1, counts[label]) for label in labels])
    return weights / weights.mean()


def teacher_features(path: str, clips: Sequence[Clip]) -> Tensor:
    """Return a teacher's embedding of each clip, standardised, shape (clips, features).

    The NPZ holds ``filename`` and ``embedding``; names are compared without folders and endings.

    Raises
    ------
    TableError
        If there is no such file, or it lacks clips.
    """
    name = printable(path)
    try:
        with np.load(path) as archive:
            named = zip(archive["filename"], archive["embedding"], strict=True)
            rows = {bare_name(str(name)): embedding for name, embedding in named}
    except (OSError, KeyError, ValueError) as error:
        raise TableError(
            f"{name}: expected an NPZ with filename and embedding ({error}). Check distil."
        ) from error
    lacking = [clip.path for clip in clips if bare_name(clip.path) not in rows]
    if lacking:
        raise TableError(
            f"{name}: has no embedding of {len(lacking)} clips, the first {printable(lacking[0])}. "
            "Make it from the same table, or leave out distil."
        )
    features = np.stack([rows[bare_name(clip.path)] for clip in clips]).astype(np.float32)
    spread = features.std(axis=0)
    return torch.from_numpy((features - features.mean(axis=0)) / np.maximum(spread, 1e-3))


def _sounds(samples: NDArray[Any]) -> bool:
    """Return whether samples are numbers, and not all zero."""
    blocks = (samples[i : i + _BLOCK] for i in range(0, len(samples), _BLOCK))
    if samples.dtype == np.int16:
        return any(block.any() for block in blocks)
    sums = [float(np.abs(block).sum(dtype=np.float64)) for block in blocks]
    return math.isfinite(total := sum(sums)) and total > 0
