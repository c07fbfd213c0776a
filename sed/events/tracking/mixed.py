"""Run both decoders side by side, each for its classes, so that they decide at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from sed.types import Floats


class FrameDecoder(Protocol):
    """Finds events in a stream of frames of all classes.

    Attributes
    ----------
    n_frames
        Frames up to which is decided.
    live
        Events that a later frame may extend, by the number of the class.
    """

    n_frames: int

    @property
    def live(self) -> dict[int, Any]:
        """Events that a later frame may extend, by the number of the class."""

    @property
    def lag_frames(self) -> int:
        """Frames by which decisions lag behind the frames pushed."""

    def push(self, frame_probs: Floats) -> list[Any]:
        """Add the next frames, shape (frames, classes); return the events that end."""

    def flush(self) -> list[Any]:
        """End the recording; return the remaining events."""

    def reset(self) -> None:
        """Start a new recording."""


class MixedDecoder:
    """Gives each of two decoders what it needs; the faster one gets its frames later.

    Parameters
    ----------
    whole
        Takes all classes, and finds no events of those of the other.
    partial
        Takes some classes.
    classes
        Their numbers.
    """

    def __init__(self, whole: FrameDecoder, partial: FrameDecoder, classes: Sequence[int]) -> None:
        self._whole, self._partial = whole, partial
        self._classes = np.asarray(classes, np.int64)
        self.lag_frames = max(whole.lag_frames, partial.lag_frames)
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._whole.reset()
        self._partial.reset()
        self.n_frames = 0
        self._waiting: Floats | None = None  # frames that one of them does not have yet

    @property
    def live(self) -> dict[int, Any]:
        """Events that a later frame may extend, by the number of the class."""
        return self._whole.live | self._partial.live

    def push(self, frame_probs: Floats) -> list[Any]:
        """Add the next frames, shape (frames, classes); return the events that end."""
        waiting = frame_probs
        if self._waiting is not None:
            waiting = np.concatenate([self._waiting, frame_probs])
        whole, partial = self._whole, self._partial
        n = max(0, len(waiting) - abs(whole.lag_frames - partial.lag_frames))
        self._waiting = waiting[n:].copy()
        is_first = whole.lag_frames < partial.lag_frames
        done = whole.push(waiting[:n] if is_first else frame_probs)
        done += partial.push((frame_probs if is_first else waiting[:n])[:, self._classes])
        self.n_frames = min(whole.n_frames, partial.n_frames)
        return done

    def flush(self) -> list[Any]:
        """End the recording; return the remaining events."""
        done: list[Any] = []
        if self._waiting is not None and self._whole.lag_frames < self._partial.lag_frames:
            done += self._whole.push(self._waiting)
        elif self._waiting is not None:
            done += self._partial.push(self._waiting[:, self._classes])
        done += self._whole.flush() + self._partial.flush()
        self.reset()
        return done
