"""Augment batches of mel spectrograms without changing their labels.

Pure functions of tensors (batch, columns, mels) on any device; random numbers are drawn on the CPU,
from a generator that is an argument. A share of the spectrograms is changed, each by its own random
parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.augment.mix import Frames, frame_of_column, to_device
from train.config.augment import SpectrogramConfig

N_CONTROL_POINTS = (3, 6)  # fewest and most of a random frequency response


def gamma(
    energy: Tensor, probability: float, bounds: Sequence[float], generator: np.random.Generator
) -> Tensor:
    """Raise mel energies to a random power, relative to the maximum of each spectrogram.

    out = max · (energy / max)^γ. Above 1 faint parts get fainter, below 1 they come forward.

    Parameters
    ----------
    energy
        Magnitudes or powers, shape ``(batch, columns, mels)``, none negative.
    probability
        Share of the spectrograms that are changed.
    bounds
        Lowest and highest exponent γ.
    generator
        Draws spectrograms and exponents.

    Returns
    -------
    Tensor
        The same shape.
    """
    chosen = _chosen(energy, probability, generator)
    if len(chosen) == 0:
        return energy
    lowest, highest = bounds
    exponents = _on(energy, generator.uniform(lowest, highest, size=(len(chosen), 1, 1)))
    selected = energy[chosen]
    peak = selected.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
    return energy.index_copy(0, chosen, (selected / peak) ** exponents * peak)


def low_pass(
    log: Tensor,
    probability: float,
    max_db: float,
    generator: np.random.Generator,
    *,
    db_per_unit: float,
    silence_value: float = -math.inf,
) -> Tensor:
    """Attenuate high frequencies, as distance, leaves and cheap microphones do.

    The loss in dB rises linearly over the bands, from zero at a random band to a random loss of at
    most `max_db` at the highest band.

    Parameters
    ----------
    log
        Log-mel spectrograms, shape ``(batch, columns, mels)``.
    probability
        Share of the spectrograms that are changed.
    max_db
        Largest loss of the highest band.
    generator
        Draws spectrograms, bands and losses.
    db_per_unit
        Decibels per unit of the spectrograms.
    silence_value
        Value of silence in the spectrograms, the lower bound of the result.

    Returns
    -------
    Tensor
        The same shape.
    """
    chosen = _chosen(log, probability, generator)
    n, n_mels = len(chosen), log.shape[2]
    corner = generator.uniform(0, n_mels - 1, size=(n, 1))
    loss_db = generator.uniform(0, max_db, size=(n, 1))
    rise = np.clip((np.arange(n_mels) - corner) / (n_mels - 1 - corner), 0, 1)
    return _with_gains(log, chosen, -loss_db * rise / db_per_unit, silence_value)


def filter_augment(
    log: Tensor,
    probability: float,
    max_db: float,
    generator: np.random.Generator,
    *,
    db_per_unit: float,
    silence_value: float = -math.inf,
) -> Tensor:
    """Apply a random smooth frequency response, as rooms and microphones have.

    After FilterAugment (Nam, Kim and Park, 2022, arXiv:2110.03282): gains of up to `max_db`, up or
    down, at a few random bands, and half a cosine from one to the next.

    Parameters
    ----------
    log
        Log-mel spectrograms, shape ``(batch, columns, mels)``.
    probability
        Share of the spectrograms that are changed.
    max_db
        Largest gain of a control point, up or down.
    generator
        Draws spectrograms, bands and gains.
    db_per_unit
        Decibels per unit of the spectrograms.
    silence_value
        Value of silence in the spectrograms, the lower bound of the result.

    Returns
    -------
    Tensor
        The same shape.
    """
    chosen = _chosen(log, probability, generator)
    responses = [_response_db(log.shape[2], max_db, generator) for _ in chosen]
    gains = np.reshape(responses, (len(chosen), log.shape[-1])) / db_per_unit
    return _with_gains(log, chosen, gains, silence_value)


def shuffle_segments(
    log: Tensor,
    frame_targets: Frames,
    probability: float,
    max_segments: int,
    generator: np.random.Generator,
    *,
    frame_columns: int | None = None,
) -> tuple[Tensor, Frames]:
    """Cut spectrograms into segments along time and join these in another order.

    Parameters
    ----------
    log
        Spectrograms, shape ``(batch, columns, mels)``.
    frame_targets
        Shape ``(batch, frames, classes)``, reordered alike; without them a frame is a column.
    probability
        Share of the spectrograms that are changed.
    max_segments
        Most segments, two or more. They start where frames start.
    generator
        Draws spectrograms, segments and orders.
    frame_columns
        As in `train.augment.mix.cutmix`. A last frame that is longer or shorter than the others
        stays in place, so that all frames stay on the grid.

    Returns
    -------
    tuple
        Spectrograms and frame targets, of the same shapes.

    Raises
    ------
    ValueError
        If frames of this length do not cover the columns.
    """
    frame_of = frame_of_column(log.shape[1], frame_targets, frame_columns)
    changed = np.flatnonzero(generator.random(len(log)) < probability)
    if len(changed) == 0:
        return log, frame_targets
    widths = np.bincount(frame_of)
    n_movable = len(widths) - int(widths[-1] != widths[0])
    orders = np.tile(np.arange(len(widths)), (len(log), 1))
    for i in changed:
        orders[i, :n_movable] = _shuffled(n_movable, max_segments, generator)
    within = np.arange(len(frame_of)) - frame_of * widths[0]
    columns = to_device(log, orders[:, frame_of] * widths[0] + within)
    shuffled = log.gather(1, columns[..., None].expand_as(log))
    if frame_targets is None:
        return shuffled, frame_targets
    frames = to_device(log, orders)[..., None].expand_as(frame_targets)
    return shuffled, frame_targets.gather(1, frames)


class SpecAugment(nn.Module):
    """Mask log-mel spectrograms in time and frequency (Park et al., 2019, arXiv:1904.08779).

    By torchlibrosa. Each spectrogram of a batch gets its own masks, in training mode only.

    Shape
    -----
    ``(batch, columns, mels)`` in and out.
    """

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        from torchlibrosa.augmentation import SpecAugmentation

        self.masks = SpecAugmentation(
            time_drop_width=config.time_mask_columns,
            time_stripes_num=config.n_time_masks,
            freq_drop_width=config.freq_mask_bands,
            freq_stripes_num=config.n_freq_masks,
        )

    def forward(self, columns: Tensor, generator: np.random.Generator | None = None) -> Tensor:
        """Return spectrograms, (batch, columns, mels), masked by the mean of each.

        Masks are drawn from the generator, or without one from torch's own.

        Raises
        ------
        ValueError
            If masks may be wider than the spectrogram.
        """
        self._check_widths(*columns.shape[1:])
        mean = columns.mean(dim=(1, 2), keepdim=True)
        centred = (columns - mean).unsqueeze(1)
        if generator is None:
            return self.masks(centred).squeeze(1) + mean  # type: ignore[no-any-return]
        with torch.random.fork_rng(devices=[]):  # torchlibrosa draws on the CPU
            torch.default_generator.manual_seed(int(generator.integers(2**63)))
            return self.masks(centred).squeeze(1) + mean  # type: ignore[no-any-return]

    def _check_widths(self, n_columns: int, n_mels: int) -> None:
        c = self.config
        widest_columns = c.time_mask_columns if c.n_time_masks else 0
        widest_bands = c.freq_mask_bands if c.n_freq_masks else 0
        if widest_columns > n_columns or widest_bands > n_mels:
            raise ValueError(
                f"masks of up to {widest_columns} columns and {widest_bands} bands do not fit "
                f"into {n_columns} columns and {n_mels} bands"
            )


def _chosen(batch: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """Draw which spectrograms of a batch are changed, and return their indices."""
    return to_device(batch, np.flatnonzero(generator.random(len(batch)) < probability))


def _with_gains(
    log: Tensor, chosen: Tensor, gains: NDArray[np.float64], silence_value: float
) -> Tensor:
    """Add to the chosen spectrograms a gain per band, shape (chosen, mels)."""
    if len(chosen) == 0:
        return log
    filtered = (log[chosen] + _on(log, gains)[:, None, :]).clamp_min(silence_value)
    return log.index_copy(0, chosen, filtered)


def _response_db(n_mels: int, max_db: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw a frequency response: control points, and half cosines from one to the next."""
    n = int(generator.integers(N_CONTROL_POINTS[0], N_CONTROL_POINTS[1] + 1))
    inner = np.sort(generator.uniform(0, n_mels - 1, size=n - 2))
    at = np.interp(np.arange(n_mels), [0, *inner, n_mels - 1], np.arange(n))
    left = np.minimum(at.astype(np.int64), n - 2)
    eased = 0.5 - 0.5 * np.cos(np.pi * (at - left))
    gains_db = generator.uniform(-max_db, max_db, size=n)
    return np.asarray(gains_db[left] * (1 - eased) + gains_db[left + 1] * eased)


def _shuffled(
    n_frames: int, max_segments: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw an order of frames in which some segments have changed places."""
    frames = np.arange(n_frames)
    n_segments = min(n_frames, int(generator.integers(2, max_segments + 1)))
    if n_segments < 2:
        return frames
    cuts = 1 + np.sort(generator.choice(n_frames - 1, n_segments - 1, replace=False))
    segments = np.split(frames, cuts)
    order = np.arange(n_segments)
    while (order == np.arange(n_segments)).all():
        order = generator.permutation(n_segments)
    return np.concatenate([segments[i] for i in order])


def _on(like: Tensor, values: NDArray[np.float64]) -> Tensor:
    """Return values that were drawn on the CPU with the device and type of a batch."""
    return torch.from_numpy(values).to(like)
