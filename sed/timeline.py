"""Convert between samples, columns, frames and seconds; nothing else does.

Positions are integers counted from the start of the recording::

    sample   |0 1 2 3 ...                                          one value of the signal
    column   |----0----|----1----|----2----| ...                   hop_length samples each
    frame    |--------------0--------------|------1------ ...      frame_columns columns each

Column c stands for the samples [c·hop_length, (c+1)·hop_length). Its analysis window reaches a
little further on both sides, see `sed.features.log_mel`. Frame f stands for the columns
[f·frame_columns, (f+1)·frame_columns).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


# Live sound asks for the same few lengths many times in a second.
@lru_cache(maxsize=256)
def samples_from_seconds(seconds: float, sample_rate: int) -> int:
    """Return the index of the sample nearest to a time; halves are rounded up."""
    return int(Fraction(seconds) * sample_rate + Fraction(1, 2))


def seconds_from_samples(samples: int, sample_rate: int) -> float:
    """Return the time of a sample in seconds."""
    return samples / sample_rate


def shifted(time: datetime, seconds: float) -> datetime:
    """Return a time that is some seconds later, with the UTC offset of this machine then."""
    return (time.astimezone(UTC) + timedelta(seconds=seconds)).astimezone()


def frame_edges(n_frames: int, frame_columns: int, n_columns: int) -> NDArray[np.int64]:
    """Return the edges of the frames of a window in columns, shape (n_frames + 1,).

    Frame f covers the columns [edges[f], edges[f+1]): `frame_columns` of them, but for the last
    frame, which ends with the window. Backbones round the number of frames up or down.

    Parameters
    ----------
    n_frames
        Frames of the window.
    frame_columns
        Columns from one frame to the next.
    n_columns
        Columns of the window.
    """
    edges = np.minimum(np.arange(n_frames + 1) * frame_columns, n_columns)
    edges[-1] = n_columns
    return edges.astype(np.int64)


@dataclass(frozen=True)
class Timeline:
    """The grid of columns and frames of a model over a recording."""

    sample_rate: int  # samples per second of the model input
    hop_length: int  # samples from one column to the next
    frame_columns: int  # columns from one frame to the next

    @property
    def frame_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.hop_length * self.frame_columns

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return seconds_from_samples(self.frame_samples, self.sample_rate)

    def frame_time(self, frame: int) -> float:
        """Return the start of a frame in seconds."""
        return seconds_from_samples(frame * self.frame_samples, self.sample_rate)

    def frames_from_seconds(self, seconds: float) -> int:
        """Return the number of whole frames nearest to a duration."""
        samples = samples_from_seconds(seconds, self.sample_rate)
        return (samples + self.frame_samples // 2) // self.frame_samples

    def nearest_columns(self, seconds: float) -> int:
        """Return the number of whole columns nearest to a duration."""
        samples = samples_from_seconds(seconds, self.sample_rate)
        return (samples + self.hop_length // 2) // self.hop_length

    def columns_from_seconds(self, seconds: float) -> int:
        """Return the number of columns of a duration.

        Raises
        ------
        ValueError
            If the duration is not a whole number of columns.
        """
        samples = samples_from_seconds(seconds, self.sample_rate)
        columns, rest = divmod(samples, self.hop_length)
        if rest or columns < 1:
            column_ms = 1000 * self.hop_length / self.sample_rate
            raise ValueError(
                f"{seconds} s is not a whole number of columns of {column_ms:g} ms each"
            )
        return columns
