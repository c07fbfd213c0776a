"""Measure the receptive field of a network by its response to NaN.

Frames of a network with a finite receptive field are the same for a long input and for many short
ones, but for some frames at the edges. Its convolutions then need to run only once over a
recording, whatever the hop of the windows. A network with global context, such as squeeze and
excitation, has no finite receptive field.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sed.models.network import SedModel
from sed.models.spec import ReceptiveField

# Frames that an input is longer than a window. A receptive field of more than half of the longest
# input would save nothing.
EXTRA_FRAMES = (48, 144)

# Largest difference of features, relative to the largest feature, between two positions.
TOLERANCE = 1e-4


@torch.inference_mode()
def receptive_field(model: SedModel, window_columns: int) -> ReceptiveField | None:
    """Return the receptive field of the frames of a network, or None if it is not finite.

    A NaN column makes every frame NaN whose receptive field contains it. The result is verified:
    frames of shifted inputs must be equal.

    Parameters
    ----------
    model
        In training or inference mode; it is measured in inference mode.
    window_columns
        Columns of a window. Inputs are longer by whole frames, so that strides fit in both alike.
    """
    was_training = model.training
    try:
        model.eval()
        found = (_measure(model, window_columns, n_extra) for n_extra in EXTRA_FRAMES)
        return next((field for field in found if field is not None), None)
    finally:
        model.train(was_training)


def _measure(model: SedModel, window_columns: int, n_extra: int) -> ReceptiveField | None:
    stride = model.frame_columns
    noise = _noise(model, window_columns + n_extra * stride)
    middle = noise.shape[1] // stride // 2
    marked = noise.repeat(2, 1, 1)
    marked[0, middle * stride - 1] = torch.nan  # the last column before the middle frame
    marked[1, middle * stride] = torch.nan  # its first column
    features = model.frame_features(marked)
    before, after = (_nan_frames(frames) for frames in features)
    if not (len(before) and len(after)):
        return None  # the network does not propagate NaN
    if after.min() == 0 or before.max() == features.shape[1] - 1:
        return None
    field = ReceptiveField(int(before.max()) + 1 - middle, middle - int(after.min()))
    return field if _is_shift_invariant(model, noise, field) else None


def _noise(model: SedModel, n_columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, n_columns, model.log_mel.config.n_mels, generator=generator)
    return noise.to(next(model.parameters()).device)


def _nan_frames(frames: Tensor) -> Tensor:
    """Return the indices of the frames, shape (frames, features), that contain NaN."""
    return frames.isnan().any(dim=1).nonzero().flatten()


def _is_shift_invariant(model: SedModel, noise: Tensor, field: ReceptiveField) -> bool:
    shift = 3
    whole = model.frame_features(noise)[0]
    later = model.frame_features(noise[:, shift * model.frame_columns :])[0]
    here = whole[shift + field.before : len(whole) - field.after]
    there = later[field.before : len(later) - field.after]
    return len(here) > 0 and bool((here - there).abs().max() <= TOLERANCE * whole.abs().max())
