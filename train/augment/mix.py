"""Mix clips of a batch, and their targets.

Pure functions of batches on any device; random numbers are drawn on the CPU, from a generator that
is an argument. `place_events` makes a soundscape of single events in numpy, before there is a
batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sed.types import Floats
from train.augment.waveform import Spans, crop

HALF = 0.5  # targets above are labels

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

    mixed = λ · clip + (1 − λ) · other, with λ drawn from Beta(alpha, alpha) for each clip.

    Parameters
    ----------
    inputs
        Shape ``(batch, ...)``.
    targets
        Each of shape ``(batch, ...)``.
    alpha
        Of the beta distribution.
    rule
        ``convex`` mixes the targets like the inputs; ``or`` takes the maximum of both.
    generator
        Draws partners and λ.

    Returns
    -------
    tuple
        Inputs and targets, mixed, of the same shapes.

    Raises
    ------
    ValueError
        If the rule is unknown.
    """
    if rule not in ("convex", "or"):
        raise ValueError(f"expected rule convex or or, got {rule!r}")
    n = len(inputs)
    weights = to_device(inputs, generator.beta(alpha, alpha, size=n).astype(np.float32))
    other = to_device(inputs, generator.permutation(n))
    mixed = torch.lerp(inputs[other], inputs, _expand(weights, inputs))
    if rule == "or":
        return mixed, [either(t, t[other]) for t in targets]
    return mixed, [torch.lerp(t[other], t, _expand(weights, t)) for t in targets]


def cutmix(
    spectrograms: Tensor,
    targets: Sequence[Tensor],
    frame_targets: Frames,
    *,
    alpha: float,
    generator: np.random.Generator,
    frame_columns: int | None = None,
) -> tuple[Tensor, list[Tensor], Frames]:
    """Replace a section of each clip by the same section of another.

    CutMix (Yun et al., 2019, arXiv:1905.04899) along time. Each clip gets a section of whole
    frames; the share that remains of it is drawn from Beta(alpha, alpha). Frame targets are
    replaced alike, clip targets are mixed in proportion to time.

    Parameters
    ----------
    spectrograms
        Shape ``(batch, columns, mels)``.
    targets
        Clip targets, each of shape ``(batch, ...)``.
    frame_targets
        Shape ``(batch, frames, classes)``; without them a frame is a column.
    alpha
        Of the beta distribution.
    generator
        Draws partners, lengths and positions.
    frame_columns
        Columns per frame; the last frame ends with the spectrogram. If not given, all frames are
        equally long.

    Returns
    -------
    tuple
        Spectrograms, clip targets and frame targets, of the same shapes.

    Raises
    ------
    ValueError
        If frames of this length do not cover the columns.
    """
    batch, n_columns, _ = spectrograms.shape
    frame_of = frame_of_column(n_columns, frame_targets, frame_columns)
    n_frames = int(frame_of[-1]) + 1
    lengths = np.rint((1 - generator.beta(alpha, alpha, size=batch)) * n_frames).astype(np.int64)
    first = generator.integers(n_frames - lengths + 1)
    frames = np.arange(n_frames)
    replaced = (frames >= first[:, None]) & (frames < (first + lengths)[:, None])
    columns = replaced[:, frame_of]
    other = to_device(spectrograms, generator.permutation(batch))
    kept = to_device(spectrograms, (1 - columns.mean(axis=1)).astype(np.float32))
    mixed = torch.where(
        to_device(spectrograms, columns)[..., None], spectrograms[other], spectrograms
    )
    mixed_targets = [torch.lerp(t[other], t, _expand(kept, t)) for t in targets]
    if frame_targets is None:
        return mixed, mixed_targets, frame_targets
    frame_mask = to_device(spectrograms, replaced)[..., None]
    return mixed, mixed_targets, torch.where(frame_mask, frame_targets[other], frame_targets)


def frame_of_column(
    n_columns: int, frame_targets: Tensor | None, frame_columns: int | None
) -> NDArray[np.int64]:
    """Return the frame of each column of a spectrogram, shape (columns,).

    Parameters
    ----------
    n_columns
        Columns of the spectrogram.
    frame_targets, frame_columns
        See `cutmix`.

    Raises
    ------
    ValueError
        If frames of this length do not cover the columns.
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


def sum_mixtures(
    energy: Tensor,
    targets: Sequence[Tensor],
    *,
    max_recordings: int,
    stop_probability: float,
    gain_db: Sequence[float],
    generator: np.random.Generator,
    power: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Add to each clip of a batch up to ``max_recordings - 1`` others, as sounds add up in air.

    Parameters
    ----------
    energy
        Shape ``(batch, ...)``: powers, such as mel energies, or waveforms.
    targets
        Each of shape ``(batch, ...)``. The sum gets the maximum over its recordings.
    max_recordings
        Most recordings per clip, including itself.
    stop_probability
        Probability, after each recording, that no further one is added.
    gain_db
        Lowest and highest gain of the recordings added, in decibels.
    generator
        Draws the number of recordings, which they are (none twice), and their gains.
    power
        Whether a gain of g dB is a factor of 10^(g/10), as for powers, or of 10^(g/20), as for
        waveforms.

    Returns
    -------
    tuple
        Sums and their targets, of the same shapes.
    """
    n = len(energy)
    order = generator.permutation(n)
    position = np.argsort(order)
    low_db, high_db = gain_db
    # Clips stand in a circle, in random order; each shift pairs every clip with another one.
    shifts = 1 + generator.permutation(n - 1)[: max_recordings - 1]
    continues = np.ones(n, np.bool_)
    summed, summed_targets = energy, list(targets)
    for shift in shifts:
        continues = continues & (generator.random(n) >= stop_probability)
        gains_db = generator.uniform(low_db, high_db, size=n)
        factors = continues * 10 ** (gains_db / (10 if power else 20))
        other = to_device(energy, order[(position + shift) % n])
        gains = _expand(to_device(energy, factors.astype(np.float32)), energy)
        summed = summed + gains * energy[other]
        added = to_device(energy, continues)
        summed_targets = [
            torch.where(_expand(added, t), either(s, t[other]), s)
            for s, t in zip(summed_targets, targets, strict=True)
        ]
    return summed, summed_targets


def place_events(
    length: int,
    events: Sequence[tuple[Floats, Spans]],
    generator: np.random.Generator,
    *,
    background: Floats | None = None,
) -> tuple[Floats, Spans]:
    """Make a soundscape of events at random times, with its strong labels. Events may overlap.

    Parameters
    ----------
    length
        Samples of the soundscape.
    events
        Samples of each event, and where in them each class is active. Of an event longer than the
        soundscape a random section is used.
    generator
        Draws the times.
    background
        Sound to add the events to, shape ``(length,)``; silence if not given.

    Returns
    -------
    tuple
        Samples, shape ``(length,)``, and spans: first sample, last sample exclusive, class index.
    """
    samples = np.zeros(length, np.float32) if background is None else background.copy()
    spans: Spans = []
    for sound, active in events:
        spare = length - len(sound)
        start = int(generator.integers(abs(spare) + 1))
        if spare < 0:
            sound, active = crop(sound, active, start, length)
            start = 0
        samples[start : start + len(sound)] += sound
        spans += [(start + first, start + last, index) for first, last, index in active]
    return samples, spans


def either(targets: Tensor, other: Tensor) -> Tensor:
    """Return the targets of a sum of two clips: the maximum; NaN, unknown, unless one has it."""
    certain = torch.fmax(targets, other) > HALF
    return torch.where(certain, torch.fmax(targets, other), torch.maximum(targets, other))


def to_device(like: Tensor, values: NDArray[np.generic]) -> Tensor:
    """Return values drawn on the CPU as a tensor of their shape, on the device of `like`."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)


def _expand(values: Tensor, like: Tensor) -> Tensor:
    """Return one value per clip in a shape that broadcasts with `like`."""
    return values.view(len(values), *[1] * (like.ndim - 1))
