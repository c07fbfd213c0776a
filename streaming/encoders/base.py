"""Define the interface of encoders, which turn windows of samples into embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from sed.errors import UsageError
from sed.models.spec import ModelSpec, sample_blocks
from sed.types import Floats

WINDOW_SECONDS = 5.0  # of encoders that take any length
LAST_NAMES = ("last", "features")  # of the last layer


class AudioEncoder(ABC):
    """A frozen network from windows of samples to embeddings.

    `str` of an encoder gives the runtime, the device and the precision.
    """

    spec: ModelSpec  # the window and the grid of the frames; it has no classes
    n_features: int  # width of an embedding
    n_streams: int  # calls of `encode` that may run at once, each in its own thread
    n_threads: int  # cores for each of them, on a CPU
    batch_size: int  # windows to compute together by default

    @abstractmethod
    def encode(self, samples: Floats) -> Floats:
        """Return the embeddings of windows.

        Parameters
        ----------
        samples
            Shape (batch, samples), at the sample rate of the encoder; full scale is ±1.

        Returns
        -------
        Shape (batch, frames, n_features), float32.
        """

    def init_thread(self) -> None:  # noqa: B027  # optional
        """Prepare a thread that will call `encode`."""

    def restore_threads(self) -> None:  # noqa: B027  # optional
        """Undo what `init_thread` changed in the process."""


def encoder_spec(
    sample_rate: int, block: int, frame_blocks: int, n_frames: int, window_blocks: int
) -> ModelSpec:
    """Return the grid of an encoder.

    Parameters
    ----------
    sample_rate
        Samples per second.
    block
        Samples of a column of the grid.
    frame_blocks
        Blocks from one frame to the next.
    n_frames
        Frames of a window; the last one ends with the window.
    window_blocks
        Blocks of a window.
    """
    seconds = window_blocks * block / sample_rate
    return ModelSpec((), sample_blocks(sample_rate, block), frame_blocks, n_frames, seconds)


def blocks_of_window(seconds: float | None, sample_rate: int, block: int) -> int:
    """Return the blocks of a window of about so many seconds, `WINDOW_SECONDS` if not given.

    Raises
    ------
    UsageError
        If the window is shorter than a block.
    """
    seconds = WINDOW_SECONDS if seconds is None else seconds
    n_blocks = round(seconds * sample_rate / block)
    if n_blocks < 1:
        raise UsageError(
            f"expected a window of {block / sample_rate:g} s (a frame) or more, got {seconds:g} s"
        )
    return n_blocks


def sounding_lengths(samples: Floats, block: int) -> list[int]:
    """Return the samples of each window up to its last one that is not zero, in whole blocks.

    Zeros at the end pad the last window of a recording. Encoders are trained on batches whose
    shorter clips are padded, and leave the padding out of normalisation and attention. A window of
    zeros alone counts as a whole.

    Parameters
    ----------
    samples
        Shape (batch, samples).
    block
        The lengths are multiples of so many samples.
    """
    n_samples = samples.shape[1]
    is_sound = samples != 0.0
    lengths = np.where(
        is_sound.any(axis=1), n_samples - is_sound[:, ::-1].argmax(axis=1), n_samples
    )
    return [min(n_samples, -(-int(length) // block) * block) for length in lengths]
