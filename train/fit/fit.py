"""Fit a head on the embeddings of a frozen model: new classes, or a number."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sed.errors import NoSoundError, SedError, TableError, UsageError
from sed.models.checkpoint import Checkpoint, load_model, save_checkpoint
from sed.models.heads.added import KINDS
from sed.models.metadata import checkpoint_files
from sed.models.registry import DEFAULT_ALIAS, find_model
from sed.text import lines, near, printable, some
from sed.types import Floats
from train.fit.classes import (
    check_new,
    config_of,
    fit_classes,
    synthetic_background,
    with_classes,
)
from train.fit.embeddings import Encoder, OnProgress, background_parts, encoder_name
from train.fit.fitted import FittedModel, encoder_sha256, fitted_json, save_fitted
from train.fit.heads import Rows
from train.fit.table import FitTable, Part, read_fit_table
from train.fit.vectors import OnTrial, fit_vectors

HEADS = ("auto", *KINDS, "trees")
REGRESSION_POOL = ("mean", "std", "max")
ENCODER_WINDOW_SECONDS = 5.0  # of background, where a model has no window of its own

_log = logging.getLogger("sed.fit")


@dataclass(frozen=True)
class FitResult:
    """What was fitted, how good it is on clips held out, and what could not be read.

    Attributes
    ----------
    path
        The file to give to other commands: a checkpoint, or the JSON of a fitted head.
    task, head
        What was done, by which kind of head.
    labels
        Names of the new classes; none for a number.
    n_clips, n_background
        Clips of the table, and windows of background.
    metrics
        Figures of clips held out.
    failures
        What could not be read.
    """

    path: str
    task: str
    head: str
    labels: tuple[str, ...]
    n_clips: int
    n_background: int
    metrics: dict[str, Any]
    failures: list[str] = field(default_factory=list)


def fit(
    table: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    target: str | None = None,
    task: str = "auto",
    head: str = "auto",
    n_trials: int = 0,
    add_to: str | os.PathLike[str] | None = None,
    background: Sequence[str | os.PathLike[str]] = (),
    model: str | os.PathLike[str] = DEFAULT_ALIAS,
    pool: Sequence[str] | None = None,
    layer: str = "features",
    table_format: str = "auto",
    device: str = "auto",
    seed: int = 0,
    on_progress: OnProgress | None = None,
    on_trial: OnTrial | None = None,
    on_error: Callable[[SedError], None] | None = None,
) -> FitResult:
    """Fit a head on the embeddings of a frozen model, and write it.

    Classes become a checkpoint that `detect` and all other functions take, frame by frame. Numbers,
    trees, and heads on models that are not checkpoints of this package become a small model for
    `predict`.

    Parameters
    ----------
    table
        Clips: a table as for training, a folder per class, or a folder with clips of one class,
        which is its name.
    output
        The checkpoint (NAME.safetensors and NAME.json), or the small model (NAME.json).
    target
        Column of a CSV with the targets: numbers, or labels separated by semicolons.
    task
        auto, ``classify`` (a class per clip), ``tag`` (any number of classes) or ``regress``.
    head
        auto, ``linear``, ``prototype``, ``knn``, ``mlp`` or ``trees``; auto chooses by
        cross-validation among those that are quick.
    n_trials
        Trials of the search for parameters, for numbers and trees.
    add_to
        A checkpoint or its name, such as ``general``, whose classes are kept, and stay as they are
        to the last bit.
    background
        Recordings without the classes, and folders of them, to fit against.
    model
        Whose features are used, if not those of `add_to`: the name of a model, a checkpoint, or
        another encoder that `embed` takes.
    pool
        Statistics over the frames of a clip, for numbers and trees.
    layer
        Whose output the features are; heads in a checkpoint take ``features``.
    table_format
        As in `train`.
    device
        auto, cpu, cuda or cuda:N.
    seed
        Of everything that is random.
    on_progress
        Called with the number of clips embedded, and in all.
    on_trial
        Called with the trials made, all, and the lowest loss.
    on_error
        Called with what cannot be read; the rest is used.

    Raises
    ------
    UsageError
        If arguments do not fit together, or there is nothing to fit a class against.
    TableError
        If the table is faulty, or no clip of a class can be read.
    MissingExtraError
        If a package is not installed.
    """
    if head not in HEADS:
        raise UsageError(f"unknown head {head!r}. {near(head, HEADS)}")
    if os.path.isdir(output):
        raise UsageError(f"--output {printable(os.fspath(output))} is a folder: name a file in it")
    failures: list[str] = []

    silent: set[str] = set()

    def report(error: SedError) -> None:
        failures.append(str(error))
        # There is a vector of silence, but it is no example of anything.
        if isinstance(error, NoSoundError):
            silent.add(error.path)
        if on_error is not None:
            on_error(error)

    data = read_fit_table(table, target=target, task=task, table_format=table_format)
    for missing in data.missing:
        report(TableError(f"{os.fspath(table)}: {missing}"))
    name = encoder_name(add_to if add_to is not None else model)
    by_vector = data.task == "regress" or head == "trees"
    statistics = tuple(pool or REGRESSION_POOL) if by_vector else ()
    encoder = Encoder(name, layer, statistics, device)
    as_checkpoint = not by_vector and encoder.is_checkpoint
    _check(data, head, n_trials, add_to, layer, as_checkpoint=as_checkpoint)
    if data.task == "regress" and background:
        raise UsageError("a number has no background: leave out --background")
    if add_to is not None and os.fspath(model) not in (DEFAULT_ALIAS, os.fspath(add_to)):
        raise UsageError("--add-to names the model already: leave out --model")
    if add_to is None:
        _refuse_encoder(output, encoder, as_checkpoint=as_checkpoint)
    base = load_model(name) if as_checkpoint else None
    if base is not None and add_to is not None:
        check_new(data.labels, base.labels)
    window = ENCODER_WINDOW_SECONDS if base is None else base.window_seconds
    files = {part.event.file for part in data.parts}
    parts = [*data.parts, *background_parts(background, window, report, without=files)]
    found = encoder.embed([part.event for part in parts], report, on_progress)
    there = [
        (i, vector)
        for i, vector in enumerate(found)
        if vector is not None and parts[i].event.file not in silent
    ]
    n_clips = sum(i < len(data.parts) for i, _ in there)
    if not n_clips:
        raise TableError(f"no clip can be read:{lines(failures)}")
    used = [parts[i] for i, _ in there]
    features = [vector for _, vector in there]
    if unread := sorted({*data.labels} - {label for part in used for label in part.labels}):
        raise TableError(f"no clip can be read of {some(unread)}:{lines(failures)}")
    counts = n_clips, len(used) - n_clips
    if background and not counts[1]:
        raise TableError(f"no recording of --background can be read:{lines(failures)}")
    if by_vector:
        saved = _fit_vectors(data, encoder, head, used, features, n_trials, seed, on_trial, output)
    else:
        saved = _fit_frames(data, encoder, head, used, features, base, add_to, seed, output)
    return FitResult(saved[0], data.task, saved[1], data.labels, *counts, saved[2], failures)


def _fit_vectors(
    data: FitTable,
    encoder: Encoder,
    head: str,
    parts: Sequence[Part],
    features: Sequence[Floats],
    n_trials: int,
    seed: int,
    on_trial: OnTrial | None,
    output: str | os.PathLike[str],
) -> tuple[str, str, dict[str, Any]]:
    """Fit and write a head on vectors; return its path, its kind and its metrics."""
    binary = data.task != "regress"
    y = _targets(parts, data.labels) if binary else np.array([[part.value] for part in parts])
    if (y == y[0]).all(axis=0).any():
        raise UsageError(
            "every clip is of the same class: give recordings without it with --background"
            if binary
            else f"all clips have the same {data.target}, so there is nothing to fit"
        )
    x = np.stack(features).astype(np.float64)
    groups = [part.group for part in parts]
    fitted = fit_vectors(
        head, x, y.astype(np.float64), groups,
        binary=binary, n_trials=n_trials, seed=seed, on_trial=on_trial,
    )  # fmt: skip
    metrics = {**fitted.metrics, "params": fitted.params}
    model = FittedModel(
        encoder,
        encoder_sha256(encoder.model),
        data.task,
        data.target,
        data.labels,
        fitted.head.kind,
        fitted.head,
        metrics=metrics,
    )
    return str(save_fitted(model, output)), fitted.head.kind, metrics


def _fit_frames(
    data: FitTable,
    encoder: Encoder,
    head: str,
    parts: Sequence[Part],
    features: Sequence[Floats],
    base: Checkpoint | None,
    add_to: str | os.PathLike[str] | None,
    seed: int,
    output: str | os.PathLike[str],
) -> tuple[str, str, dict[str, Any]]:
    """Fit and write a head on frames; return its path, its kind and its metrics."""
    targets = _targets(parts, data.labels)
    frames, groups = list(features), [part.group for part in parts]
    if targets.all(axis=0).any():
        frames, targets, groups = _with_synthetic(frames, targets, groups, base)
    fitted = fit_classes(head, Rows(frames, targets, groups), data.labels, seed=seed)
    if base is not None:
        path, _ = checkpoint_files(output)
        save_checkpoint(with_classes(base, fitted, keep=add_to is not None), path)
        return str(path), fitted.kind, fitted.metrics()
    model = FittedModel(
        encoder,
        encoder_sha256(encoder.model),
        data.task,
        data.target,
        data.labels,
        fitted.kind,
        frames=fitted.head,
        frames_config=config_of(fitted),
        metrics=fitted.metrics(),
    )
    return str(save_fitted(model, output)), fitted.kind, fitted.metrics()


def _with_synthetic(
    frames: list[Floats], targets: np.ndarray[Any, Any], groups: list[str], base: Checkpoint | None
) -> tuple[list[Floats], np.ndarray[Any, Any], list[str]]:
    """Add noise as background, where every clip is of a class."""
    if base is None:
        raise UsageError(
            "every clip is of the same class, and nothing is there without it: give recordings "
            "without it with --background"
        )
    _log.warning(
        "no recording without the class is given, so it is fitted against noise only, and will be "
        "found too often. Give recordings of your own without it: --background FOLDER"
    )
    noise = synthetic_background(base)
    targets = np.concatenate([targets, np.zeros((len(noise), targets.shape[1]), np.float32)])
    return [*frames, *noise], targets, [*groups, *(f"noise {i}" for i in range(len(noise)))]


def _targets(parts: Sequence[Part], labels: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return ones where a part is of a class, (parts, classes)."""
    rows = [[label in part.labels for label in labels] for part in parts]
    return np.array(rows, np.float32)


def _check(
    data: FitTable,
    head: str,
    n_trials: int,
    add_to: object,
    layer: str,
    *,
    as_checkpoint: bool,
) -> None:
    """Refuse arguments that do not fit together."""
    if data.task == "regress" and head == "prototype":
        raise UsageError("prototypes are of classes: for numbers choose linear, knn, mlp or trees")
    if n_trials < 0 or (n_trials and data.task != "regress" and head != "trees"):
        raise UsageError("a search is for numbers, and for trees: leave out --search")
    if add_to is not None and not as_checkpoint:
        raise UsageError(
            "--add-to adds classes to a checkpoint: it does not go with numbers, trees or another "
            "encoder"
        )
    if as_checkpoint and layer != "features":
        raise UsageError("classes of a checkpoint take the layer features: leave out --layer")


def _refuse_encoder(
    output: str | os.PathLike[str], encoder: Encoder, *, as_checkpoint: bool
) -> None:
    """Refuse to replace the model whose features are used."""
    if not encoder.is_checkpoint:
        return
    _, own = checkpoint_files(find_model(encoder.model))
    fitted = checkpoint_files(output)[1] if as_checkpoint else fitted_json(output)
    if os.path.realpath(own) == os.path.realpath(fitted):
        raise UsageError(
            f"--output {printable(os.fspath(output))} is the model that it is fitted to: give "
            "another name"
        )
