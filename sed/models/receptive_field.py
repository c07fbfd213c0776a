"""How much sound a frame of a network looks at, found by asking the network.

A network whose frames look only so far gives the same frames for a long stretch of columns as for
many short ones, but for those near the ends, which miss something. Then its convolutions need to
run only once over a recording, whatever the hop of the windows. A network with global context
(squeeze and excitation, for example) does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sed.models.network import SedModel
from sed.models.spec import ReceptiveField

FRAMES_TRIED = (48, 144)  # beside a window; who looks further than half of that gains nothing
TOLERANCE = 1e-4  # of the largest feature, between a stretch and the same stretch elsewhere


@torch.inference_mode()
def receptive_field(model: SedModel, window_columns: int) -> ReceptiveField | None:
    """Return the context of the frames of a network, or None if they know of the whole picture.

    A column that is no number makes every frame that looks at it no number. What is found is then
    tried: frames of a stretch must be those of the same columns in another place.

    Parameters
    ----------
    model
        In whatever mode; it is asked as it is for inference.
    window_columns
        Stretches are longer than a window by whole frames, so that padding falls in both alike.
    """
    was_training = model.training
    try:
        model.eval()
        found = (_asked(model, window_columns, n_more) for n_more in FRAMES_TRIED)
        return next((context for context in found if context is not None), None)
    finally:
        model.train(was_training)


def _asked(model: SedModel, window_columns: int, n_more: int) -> ReceptiveField | None:
    frame = model.frame_columns
    picture = _noise(model, window_columns + n_more * frame)
    middle = picture.shape[1] // frame // 2
    marked = picture.repeat(2, 1, 1)
    marked[0, middle * frame - 1] = torch.nan  # the last column before the frame in the middle
    marked[1, middle * frame] = torch.nan  # its first one
    features = model.frame_features(marked)
    before, after = (_no_numbers(frames) for frames in features)
    if not (len(before) and len(after)):
        return None  # it does not pass on what is no number, so it cannot be asked
    if after.min() == 0 or before.max() == features.shape[1] - 1:
        return None
    context = ReceptiveField(int(before.max()) + 1 - middle, middle - int(after.min()))
    return context if _is_the_same_elsewhere(model, picture, context) else None


def _noise(model: SedModel, n_columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, n_columns, model.log_mel.config.n_mels, generator=generator)
    return picture.to(next(model.parameters()).device)


def _no_numbers(frames: Tensor) -> Tensor:
    """Return the indices of the frames, shape (frames, features), that are no number."""
    return frames.isnan().any(dim=1).nonzero().flatten()


def _is_the_same_elsewhere(model: SedModel, picture: Tensor, context: ReceptiveField) -> bool:
    shift = 3
    whole = model.frame_features(picture)[0]
    later = model.frame_features(picture[:, shift * model.frame_columns :])[0]
    here = whole[shift + context.before : len(whole) - context.after]
    there = later[context.before : len(later) - context.after]
    return len(here) > 0 and bool((here - there).abs().max() <= TOLERANCE * whole.abs().max())
