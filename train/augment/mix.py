"""Clips laid over one another: what is heard, and the targets that say so.

Pure functions of batches, on whatever device these are; randomness is an argument, drawn on the
CPU. `place_events` makes a clip of several in numpy, before there is a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sed.types import Floats
from train.augment.waveform import Spans

Frames = TypeVar("Frames", Tensor, None)  # frame targets, where there are any


def mixup(
    inputs: Tensor,
    targets: Sequence[Tensor],
    *,
    alpha: float,
    rule: str,
    generator: np.random.Generator,
) -> tuple[Tensor, list[Tensor]]:
    """Mix each clip of a batch with another one (Zhang et al., 2018, arXiv:1710.09412).

    The shares of a pair, drawn from Beta(alpha, alpha), weigh the inputs; and the targets alike
    (``convex``), or a label counts in full if either has it (``or``).

    Shape
    -----
    inputs and each of the targets ``(batch, ...)``; the same out.

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    if rule not in ("convex", "or"):
        raise ValueError(f"expected rule convex or or, got {rule!r}")
    n = len(inputs)
    shares = moved_to(inputs, generator.beta(alpha, alpha, size=n).astype(np.float32))
    other = moved_to(inputs, generator.permutation(n))
    mixed = torch.lerp(inputs[other], inputs, _beside(shares, inputs))
    if rule == "or":
        return mixed, [torch.maximum(t, t[other]) for t in targets]
    return mixed, [torch.lerp(t[other], t, _beside(shares, t)) for t in targets]


def cutmix(
    pictures: Tensor,
    targets: Sequence[Tensor],
    frame_targets: Frames,
    *,
    alpha: float,
    generator: np.random.Generator,
    frame_columns: int | None = None,
) -> tuple[Tensor, list[Tensor], Frames]:
    """Replace a stretch of time of each clip by that of another, as it lies there.

    CutMix (Yun et al., 2019, arXiv:1905.04899) along time. Each clip has a stretch of its own,
    whole frames long; the share that it leaves is drawn from Beta(alpha, alpha). Frame targets
    change with it, clip targets are mixed by the shares of time.

    Parameters
    ----------
    pictures
        Shape ``(batch, columns, mels)``.
    targets
        Of the clips, each of shape ``(batch, ...)``.
    frame_targets
        Shape ``(batch, frames, classes)``; without them a frame is a column.
    alpha
        Of the beta distribution.
    generator
        Draws partners, lengths and places.
    frame_columns
        Columns per frame, the last of which ends with the picture; if not given, they are all
        equally long.

    Raises
    ------
    ValueError
        If no such frames make up the picture.
    """
    batch, n_columns, _ = pictures.shape
    frame_of = frame_of_column(n_columns, frame_targets, frame_columns)
    n_frames = int(frame_of[-1]) + 1
    lengths = np.rint((1 - generator.beta(alpha, alpha, size=batch)) * n_frames).astype(np.int64)
    first = generator.integers(n_frames - lengths + 1)
    frames = np.arange(n_frames)
    replaced = (frames >= first[:, None]) & (frames < (first + lengths)[:, None])
    columns = replaced[:, frame_of]
    other = moved_to(pictures, generator.permutation(batch))
    kept = moved_to(pictures, (1 - columns.mean(axis=1)).astype(np.float32))
    mixed = torch.where(moved_to(pictures, columns)[..., None], pictures[other], pictures)
    mixed_targets = [torch.lerp(t[other], t, _beside(kept, t)) for t in targets]
    if frame_targets is None:
        return mixed, mixed_targets, frame_targets
    mask = moved_to(pictures, replaced)[..., None]
    return mixed, mixed_targets, torch.where(mask, frame_targets[other], frame_targets)


def frame_of_column(
    n_columns: int, frame_targets: Tensor | None, frame_columns: int | None
) -> NDArray[np.int64]:
    """Return for each column of a picture the frame that it belongs to, shape (columns,).

    See `cutmix` for the arguments.
    """
    if frame_targets is None:
        return np.arange(n_columns)
    n_frames = frame_targets.shape[1]
    if frame_columns is None:
        if n_columns % n_frames:
            raise ValueError(
                f"expected frame_columns, since {n_columns} columns are not {n_frames} equal frames"
            )
        frame_columns = n_columns // n_frames
    if (n_frames - 1) * frame_columns >= n_columns:
        raise ValueError(
            f"expected at most {n_columns} columns, got {n_frames} frames of {frame_columns}"
        )
    return np.minimum(np.arange(n_columns) // frame_columns, n_frames - 1)


def sum_recordings(
    energy: Tensor,
    targets: Sequence[Tensor],
    *,
    most: int,
    stop_probability: float,
    gain_db: Sequence[float],
    generator: np.random.Generator,
    power: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Add to each clip of a batch up to ``most - 1`` others of it, as sounds add up in the air.

    Parameters
    ----------
    energy
        Shape ``(batch, ...)``: powers, such as mel energies, or waveforms.
    targets
        Each of shape ``(batch, ...)``. What any of the recordings has, the sum has: the maximum.
    most
        Recordings per clip, itself counted.
    stop_probability
        After each recording, the clip itself included, that no further one is added.
    gain_db
        Lowest and highest gain of those added, in decibels.
    generator
        Draws how many are added, which (never itself, and none twice), and their gains.
    power
        Whether a gain of 10 dB is a factor of 10, as for powers, or of its root, as for waveforms.
    """
    n = len(energy)
    order = generator.permutation(n)
    place = np.argsort(order)
    low_db, high_db = gain_db
    shifts = 1 + generator.permutation(n - 1)[: most - 1]  # how far round the circle the others are
    going_on = np.ones(n, np.bool_)
    summed, heard = energy, list(targets)
    for shift in shifts:
        going_on = going_on & (generator.random(n) >= stop_probability)
        gains_db = generator.uniform(low_db, high_db, size=n)
        factors = going_on * 10 ** (gains_db / (10 if power else 20))
        other = moved_to(energy, order[(place + shift) % n])
        summed = (
            summed + _beside(moved_to(energy, factors.astype(np.float32)), energy) * energy[other]
        )
        added = moved_to(energy, going_on)
        heard = [
            torch.where(_beside(added, t), torch.maximum(h, t[other]), h)
            for h, t in zip(heard, targets, strict=True)
        ]
    return summed, heard


def place_events(
    length: int,
    pieces: Sequence[tuple[Floats, Sequence[int]]],
    generator: np.random.Generator,
    *,
    bed: Floats | None = None,
) -> tuple[Floats, Spans]:
    """Make a clip of events, each at a random time that is then known. They may overlap.

    Parameters
    ----------
    length
        Floats of the clip.
    pieces
        Floats of each event, and the indices of its classes. Of one that is longer than the clip a
        random stretch is taken.
    generator
        Draws the times.
    bed
        What lies beneath, shape ``(length,)``; silence if not given.

    Returns
    -------
    tuple
        The clip, and its spans: first sample, last sample exclusive, class index.
    """
    samples = np.zeros(length, np.float32) if bed is None else bed.copy()
    spans: Spans = []
    for piece, classes in pieces:
        spare = length - len(piece)
        start = int(generator.integers(abs(spare) + 1))
        first, event = (start, piece) if spare >= 0 else (0, piece[start : start + length])
        samples[first : first + len(event)] += event
        spans += [(first, first + len(event), index) for index in classes]
    return samples, spans


def moved_to(like: Tensor, values: NDArray[np.generic]) -> Tensor:
    """Return what was drawn on the CPU on the device of a batch."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)


def _beside(values: Tensor, like: Tensor) -> Tensor:
    """Return one value per clip in the shape that goes with the clips."""
    return values.view(len(values), *[1] * (like.ndim - 1))
