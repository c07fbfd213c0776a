"""Turn the times of events into targets of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.augment.waveform import Spans


def covered_frames(
    spans: Spans, frame_edges: NDArray[np.int64], n_classes: int
) -> NDArray[np.float32]:
    """Return the share of each frame that events cover, shape (frames, classes).

    It is divided by the largest share of the event, so that a click is as present as a long sound.
    With 1 for every frame that an event touches, onsets would be half a frame early.

    Parameters
    ----------
    spans
        First and last sample of each event, and its class.
    frame_edges
        Where the frames start and end, in samples, shape (frames + 1,).
    n_classes
        Number of classes.
    """
    frames = np.zeros((len(frame_edges) - 1, n_classes), np.float32)
    for first, last, c in spans:
        covered = np.minimum(frame_edges[1:], last) - np.maximum(frame_edges[:-1], first)
        share = np.maximum(covered, 0) / np.diff(frame_edges)
        if share.any():
            frames[:, c] = np.maximum(frames[:, c], share / share.max())
    return frames
