"""Predict the validation clips of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from sed.errors import SedError
from sed.models.losses import frame_maximum
from sed.models.network import SedModel
from sed.types import Floats
from train.data.clips import Clip, ClipPredictions
from train.loop.dataset import Example
from train.loop.distributed import Distributed
from train.loop.sampler import TimedLoader


class Validation(NamedTuple):
    """What a model predicts for the validation clips."""

    predictions: ClipPredictions
    frame_max: Floats  # maximum of each clip's frame probabilities, (clips, classes)
    # Of the clips whose labels have times, (clips, frames, classes); empty if there are none.
    frame_targets: NDArray[np.float16]
    frame_probs: Floats


@torch.inference_mode()
def predict_validation(
    model: SedModel,
    loader: DataLoader[Example | SedError],
    clips: Sequence[Clip],
    device: torch.device,
    world: Distributed,
) -> Validation:
    """Predict validation clips in fp32.

    Parameters
    ----------
    model
        The model to predict with.
    loader
        Their batches, of this process.
    clips
        All of them, in their order.
    device
        The device of the model.
    world
        The processes that share them.
    """
    model.eval()
    has_events = any(clip.events is not None for clip in clips)
    parts: list[tuple[NDArray[np.floating], ...]] = []
    for batch in TimedLoader(loader):
        output = model(batch.samples.to(device))
        frame_max = frame_maximum(output).sigmoid()
        part: tuple[NDArray[np.floating], ...] = (
            batch.targets.nan_to_num().numpy(),
            output.clip_probs.cpu().numpy(),
            frame_max.cpu().numpy(),
        )
        if has_events:
            targets = batch.frame_targets.nan_to_num().numpy().astype(np.float16)
            part = (*part, targets, output.frame_probs.float().cpu().numpy())
        parts.append(part)
    per_process = world.all_gather(parts)
    # Batch by batch, process by process: the order of the clips.
    ordered = [
        share[i] for i in range(len(per_process[0])) for share in per_process if i < len(share)
    ]
    arrays = [np.concatenate(part) for part in zip(*ordered, strict=True)]
    timed = [i for i, clip in enumerate(clips) if clip.events is not None]
    frames = [part[timed] for part in arrays[3:]] or [np.empty((0, 0, 0), np.float16)] * 2
    return Validation(ClipPredictions(arrays[0], arrays[1]), arrays[2], frames[0], frames[1])
