"""What is known before the first epoch: folds, labels, first weights, whether all is well.

Everything that can be wrong with a run is said here, before hours are spent on it.
"""

from __future__ import annotations

import dataclasses
import errno
import json
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

from sed.audio import LOWEST_RATE, read_blocks
from sed.checkpoint import DEFAULT
from sed.errors import CheckpointError, OutputError, SedError, TableError, UsageError, printable
from sed.files import written_whole
from sed.model import SedModel
from train.config import TrainConfig
from train.folds import NEVER, assign_folds, load_folds, save_folds
from train.initial import load_backbone, load_initial
from train.store import open_samples
from train.table import Clip

_MOST_SHOWN = 20
_BLOCK = 1 << 16  # samples looked at at once
_FILES_OF_A_RUN = (
    6  # as large as the weights: best, last, the state with its moments, one in writing
)


@dataclass(frozen=True)
class Task:
    """What is learnt, from what, and judged by what."""

    learnt: list[Clip]
    judged: list[Clip]
    labels: tuple[str, ...]
    fold: int

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
            text += f"; fold {self.fold} has none of {_some(sorted(unjudged))}"
        unknown = {x for c in self.learnt + self.judged for x in c.secondary} - set(self.labels)
        if unknown:
            text += f"; passed over, since no clip is of them: secondary {_some(sorted(unknown))}"
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
            "and that the table says the licence of its clips."
        )
    if fold not in there:
        raise UsageError(f"no fold {fold}: the folds are {there[0]} to {there[-1]}")
    judged = [c for c, f in zip(clips, folds, strict=True) if f == fold]
    learnt = [c for c, f in zip(clips, folds, strict=True) if f not in (fold, NEVER)]
    if config.data.learn_from == "fold":
        learnt = judged
    lacking = {x for c in judged for x in c.labels} - {x for c in learnt for x in c.labels}
    if lacking:
        raise TableError(
            f"fold {fold} holds all clips of {', '.join(sorted(lacking))}: nothing to learn them "
            "from. Bring more clips, or make other folds with remake_folds in the recipe."
        )
    labels = sorted({label for clip in learnt + judged for label in clip.labels})
    if len(labels) < 2 and not any(clip.events is not None for clip in learnt):
        raise TableError(
            f"all clips are {labels[0]!r}: with one class there is nothing to tell apart. Bring "
            "clips of something else, for example a folder of background sounds."
        )
    return Task(learnt, judged, tuple(labels), fold)


def folds_of_run(run: Path, clips: Sequence[Clip], config: TrainConfig) -> list[int]:
    """Return the folds that the run directory has, if they were made in the same way, or make them.

    Raises
    ------
    UsageError
        If they were made with other settings.
    """
    path = run / "folds.csv"
    settings = json.loads(json.dumps(dataclasses.asdict(config.data) | {"seed": config.seed}))
    if path.is_file() and (run / "folds.json").is_file():
        if json.loads((run / "folds.json").read_text("utf-8")) != settings:
            raise UsageError(
                f"{printable(str(path))} was made with another seed or other [data] in the recipe. "
                "Delete it, or train into another folder with --out."
            )
        return load_folds(path, clips)
    write_json(run / "folds.json", settings)
    folds = assign_folds(clips, config.data, seed=config.seed)
    save_folds(path, clips, folds)
    return folds


def initial_model(config: TrainConfig, labels: Sequence[str]) -> SedModel:
    """Return the model to start from; its random parts follow from the seed.

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
    if initial == "default":  # its head knows other sounds by the same names
        load_backbone(model.backbone, DEFAULT)
    elif initial not in ("none", "timm"):
        load_initial(model, labels, initial)
    return model


def check_clips(
    clips: Sequence[Clip],
    sample_rate: int,
    on_checked: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Decode all clips once, before hours are spent on some of them.

    Plain WAV files need no decoding: they are looked into until they are not silent.

    Raises
    ------
    TableError
        If any cannot be read whole; all are listed.
    """

    def trouble(path: str) -> str:
        plain = open_samples(path, sample_rate)
        if plain is not None and _sounds(plain):
            return ""
        try:
            for _ in read_blocks(path, LOWEST_RATE):
                pass
        except SedError as error:
            return str(error)
        return ""

    paths = list(dict.fromkeys(clip.path for clip in clips))
    pool = ThreadPoolExecutor()
    faults = []
    try:
        for n_checked, fault in enumerate(pool.map(trouble, paths), start=1):
            faults += [fault] * bool(fault)
            on_checked(n_checked, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the others
    if faults:
        more = f"\n  … and {len(faults) - _MOST_SHOWN} more" * (len(faults) > _MOST_SHOWN)
        raise TableError(
            f"{len(faults)} of {len(paths)} files cannot be learnt from; mend them, or take them "
            "out of the table:\n  " + "\n  ".join(faults[:_MOST_SHOWN]) + more
        )


def check_space(run: Path, model: SedModel) -> None:
    """Make sure that the checkpoints of a run will fit on the disk.

    Raises
    ------
    OutputError
        If they will not.
    """
    needed = _FILES_OF_A_RUN * sum(p.numel() * p.element_size() for p in model.parameters())
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
            rows = {Path(str(n)).stem: e for n, e in zip(archive["filename"], archive["embedding"],
                                                         strict=True)}  # fmt: skip
    except (OSError, KeyError, ValueError) as error:
        raise TableError(
            f"{name}: expected an NPZ with filename and embedding ({error}). Check distil."
        ) from error
    lacking = [clip.path for clip in clips if Path(clip.path).stem not in rows]
    if lacking:
        raise TableError(
            f"{name}: has no embedding of {len(lacking)} clips, the first {printable(lacking[0])}. "
            "Make it from the same table, or leave out distil."
        )
    features = np.stack([rows[Path(clip.path).stem] for clip in clips]).astype(np.float32)
    spread = features.std(axis=0)
    return torch.from_numpy((features - features.mean(axis=0)) / np.maximum(spread, 1e-3))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write plain values, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def _sounds(samples: NDArray[Any]) -> bool:
    return any(samples[i : i + _BLOCK].any() for i in range(0, len(samples), _BLOCK))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
