"""Changes to batches of mel pictures that do not change what is heard in them.

Pure functions of tensors (batch, columns, mels), on whatever device these are; randomness is an
argument, drawn on the CPU. A share of the pictures is changed, each by numbers of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.augment.mix import Frames, frame_of_column, moved_to
from train.config import PictureConfig

N_BENDS = (3, 6)  # fewest and most control points of a random frequency response


def contrast(
    energy: Tensor, probability: float, bounds: Sequence[float], generator: np.random.Generator
) -> Tensor:
    """Raise mel energies to a random power, relative to the strongest of each picture.

    Above 1 what is faint gets fainter, below 1 it comes forward; the strongest stays as it is.

    Parameters
    ----------
    energy
        Magnitudes or powers, shape ``(batch, columns, mels)``, none below zero.
    probability
        Share of the pictures that are changed.
    bounds
        Lowest and highest exponent.
    generator
        Draws pictures and exponents.
    """
    chosen = _chosen(energy, probability, generator)
    if len(chosen) == 0:
        return energy
    lowest, highest = bounds
    exponents = _on(energy, generator.uniform(lowest, highest, size=(len(chosen), 1, 1)))
    pictures = energy[chosen]
    strongest = pictures.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
    return energy.index_copy(0, chosen, (pictures / strongest) ** exponents * strongest)


def high_cut(
    log: Tensor,
    probability: float,
    most_db: float,
    generator: np.random.Generator,
    *,
    db_per_unit: float,
    lowest: float = -math.inf,
) -> Tensor:
    """Attenuate high frequencies, as distance, leaves and cheap microphones do.

    From a random band upwards, evenly per band, to a random loss of at most `most_db` at the
    highest.

    Parameters
    ----------
    log
        Log-mel pictures, shape ``(batch, columns, mels)``.
    probability
        Share of the pictures that are changed.
    most_db
        Loss of the highest band, at most.
    generator
        Draws pictures, bands and losses.
    db_per_unit
        Decibels that one unit of the pictures stands for.
    lowest
        What silence is in the pictures: nothing gets below it.
    """
    chosen = _chosen(log, probability, generator)
    n, n_mels = len(chosen), log.shape[2]
    corner = generator.uniform(0, n_mels - 1, size=(n, 1))
    loss_db = generator.uniform(0, most_db, size=(n, 1))
    rise = np.clip((np.arange(n_mels) - corner) / (n_mels - 1 - corner), 0, 1)
    return _coloured(log, chosen, -loss_db * rise / db_per_unit, lowest)


def shape_frequencies(
    log: Tensor,
    probability: float,
    bend_db: float,
    generator: np.random.Generator,
    *,
    db_per_unit: float,
    lowest: float = -math.inf,
) -> Tensor:
    """Colour pictures by a random smooth frequency response, as rooms and microphones do.

    After FilterAugment (Nam, Kim and Park, 2022, arXiv:2110.03282): a few control points at random
    bands, each up to `bend_db` up or down, with a smooth curve through them that goes no further.

    Parameters
    ----------
    log
        Log-mel pictures, shape ``(batch, columns, mels)``.
    probability
        Share of the pictures that are changed.
    bend_db
        Gain of a control point, at most, up or down.
    generator
        Draws pictures, bands and gains.
    db_per_unit
        Decibels that one unit of the pictures stands for.
    lowest
        What silence is in the pictures: nothing gets below it.
    """
    chosen = _chosen(log, probability, generator)
    responses = [_response_db(log.shape[2], bend_db, generator) for _ in chosen]
    return _coloured(
        log, chosen, np.reshape(responses, (len(chosen), log.shape[-1])) / db_per_unit, lowest
    )


def shuffle_time(
    log: Tensor,
    frame_targets: Frames,
    probability: float,
    most_pieces: int,
    generator: np.random.Generator,
    *,
    frame_columns: int | None = None,
) -> tuple[Tensor, Frames]:
    """Batch pictures into pieces along time and put these together in another order.

    Parameters
    ----------
    log
        Pictures, shape ``(batch, columns, mels)``.
    frame_targets
        Shape ``(batch, frames, classes)``, shuffled alike; without them a frame is a column.
    probability
        Share of the pictures that are changed.
    most_pieces
        Pieces at most, two at least. They are cut where frames begin.
    generator
        Draws pictures, pieces and orders.
    frame_columns
        As in `train.augment.mix.cutmix`. A last frame that is longer or shorter than the others stays
        where it is, so that all of them stay on their grid.

    Raises
    ------
    ValueError
        If no such frames make up the picture.
    """
    frame_of = frame_of_column(log.shape[1], frame_targets, frame_columns)
    changed = np.flatnonzero(generator.random(len(log)) < probability)
    if len(changed) == 0:
        return log, frame_targets
    widths = np.bincount(frame_of)
    n_movable = len(widths) - int(widths[-1] != widths[0])
    orders = np.tile(np.arange(len(widths)), (len(log), 1))
    for i in changed:
        orders[i, :n_movable] = _shuffled(n_movable, most_pieces, generator)
    within = np.arange(len(frame_of)) - frame_of * widths[0]
    columns = moved_to(log, orders[:, frame_of] * widths[0] + within)
    shuffled = log.gather(1, columns[..., None].expand_as(log))
    if frame_targets is None:
        return shuffled, frame_targets
    frames = moved_to(log, orders)[..., None].expand_as(frame_targets)
    return shuffled, frame_targets.gather(1, frames)


class SpecAugment(nn.Module):
    """Blank stripes of the log-mel picture (Park et al., 2019, arXiv:1904.08779), by torchlibrosa.

    Each picture of a batch gets its own, and only in training mode.

    Shape
    -----
    ``(batch, columns, mels)`` in and out.
    """

    def __init__(self, config: PictureConfig) -> None:
        super().__init__()
        self.config = config
        from torchlibrosa.augmentation import SpecAugmentation

        self.stripes = SpecAugmentation(
            time_drop_width=config.time_stripe_columns,
            time_stripes_num=config.n_time_stripes,
            freq_drop_width=config.mel_stripe_bands,
            freq_stripes_num=config.n_mel_stripes,
        )

    def forward(self, columns: Tensor, generator: np.random.Generator | None = None) -> Tensor:
        """Return the picture with its stripes set to its mean, which is no sound and no silence.

        Draws from the generator; without one, from torch's own, as torchlibrosa does.

        Raises
        ------
        ValueError
            If stripes may be wider than the picture.
        """
        self._check_that_stripes_fit(*columns.shape[1:])
        mean = columns.mean(dim=(1, 2), keepdim=True)
        centred = (columns - mean).unsqueeze(1)
        if generator is None:
            return self.stripes(centred).squeeze(1) + mean  # type: ignore[no-any-return]
        with torch.random.fork_rng(devices=[]):  # it draws on the CPU, whatever the device
            torch.default_generator.manual_seed(int(generator.integers(2**63)))
            return self.stripes(centred).squeeze(1) + mean  # type: ignore[no-any-return]

    def _check_that_stripes_fit(self, n_columns: int, n_mels: int) -> None:
        c = self.config
        widest_columns = c.time_stripe_columns if c.n_time_stripes else 0
        widest_bands = c.mel_stripe_bands if c.n_mel_stripes else 0
        if widest_columns > n_columns or widest_bands > n_mels:
            raise ValueError(
                f"stripes of up to {widest_columns} columns and {widest_bands} bands do not fit "
                f"into {n_columns} columns and {n_mels} bands"
            )


def _chosen(pictures: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """Draw which pictures of a batch are changed, and return their indices."""
    return moved_to(pictures, np.flatnonzero(generator.random(len(pictures)) < probability))


def _coloured(log: Tensor, chosen: Tensor, gains: NDArray[np.float64], lowest: float) -> Tensor:
    """Add to some pictures a gain per band, shape (chosen, mels), in units of the pictures."""
    if len(chosen) == 0:
        return log
    coloured = (log[chosen] + _on(log, gains)[:, None, :]).clamp_min(lowest)
    return log.index_copy(0, chosen, coloured)


def _response_db(
    n_mels: int, bend_db: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a frequency response: control points, and half cosines from one to the next."""
    n = int(generator.integers(N_BENDS[0], N_BENDS[1] + 1))
    inner = np.sort(generator.uniform(0, n_mels - 1, size=n - 2))
    at = np.interp(np.arange(n_mels), [0, *inner, n_mels - 1], np.arange(n))
    left = np.minimum(at.astype(np.int64), n - 2)
    eased = 0.5 - 0.5 * np.cos(np.pi * (at - left))
    gains_db = generator.uniform(-bend_db, bend_db, size=n)
    return np.asarray(gains_db[left] * (1 - eased) + gains_db[left + 1] * eased)


def _shuffled(n_frames: int, most_pieces: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw an order of frames in which some pieces have changed places."""
    frames = np.arange(n_frames)
    n_pieces = min(n_frames, int(generator.integers(2, most_pieces + 1)))
    if n_pieces < 2:
        return frames
    cuts = 1 + np.sort(generator.choice(n_frames - 1, n_pieces - 1, replace=False))
    pieces = np.split(frames, cuts)
    order = np.arange(n_pieces)
    while (order == np.arange(n_pieces)).all():
        order = generator.permutation(n_pieces)
    return np.concatenate([pieces[i] for i in order])


def _on(like: Tensor, values: NDArray[np.float64]) -> Tensor:
    """Return what was drawn on the CPU as a batch has it: its device, its type."""
    return torch.from_numpy(values).to(like)
