r"""Find events where the probability changes, and score each as a whole.

::

    probability   ____/‾‾‾‾‾‾\__/‾‾‾‾\______     rises and falls are the extremes of a step filter
                      [ event ]  [event]         each part has a score: the mean of its frames
                      [     merged     ]         if the dip between them is small

After J. Ebbers, F. G. Germain, G. Wichern and J. Le Roux, *Sound event bounding boxes*, Interspeech
2024 (arXiv:2406.04212): the borders of an event do not depend on the threshold that decides whether
it is one. For a class whose probability is p in frame t:

- A probability below the offset threshold counts as 0.
- The step filter is the mean of the next frames minus that of the last ones, half its length each;
  there is nothing before and after the recording. The places of `sed.events.tracking.step_filter`
  where it has a maximum above 0 (rise) or a minimum below 0 (fall) are borders.
- Between two borders lies a part of an event, but a gap between a fall and a rise. Its score is the
  mean (or the maximum) of its first `WAIT_SECONDS`. What goes on for so long is a part, whatever
  follows.
- In the order of time, a part is merged with the event before it if the dip is at most as deep as
  one of the two merge thresholds: the absolute one, or the relative one times the higher of both
  scores. The dip is the higher score minus the mean of the gap; without a gap minus the lower
  score. The score of the merged event is the mean of its own first `WAIT_SECONDS`, or the maximum
  of the scores of its parts.
- As many frames of 0 as the filter is long end an event: nothing is merged across them. What goes
  on ends where they begin, but lasts as long as the wait.
- An event whose score reaches the onset threshold is one. Two that are no further apart than the
  minimum gap are merged, if there is one.

So a place is known to be a border one filter and a median later, and an event that ends there is
complete at most twice `WAIT_SECONDS` and the minimum gap later, mostly one filter later. That is
the same for a stream and a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sed.events.tracking.event_boxes import ChangeParameters, EventBoxes
from sed.events.tracking.median_filter import MedianFilter
from sed.events.tracking.step_filter import find_changes, integers
from sed.types import Floats

WAIT_SECONDS = 5.0
MAX_BLOCK = 256  # frames that are processed at once, so that they stay in the processor's cache


class ChangeDetection:
    """Finds events in a stream of frames of some classes.

    Parameters
    ----------
    parameters
        Of these classes.
    numbers
        Of each of them its number among all classes, for the events.
    wait_frames
        The wait in frames.
    traced
        Whether to note how events grow, for `sed.events.tracking.specific`.
    """

    def __init__(
        self,
        parameters: ChangeParameters,
        numbers: Sequence[int],
        wait_frames: int,
        *,
        traced: bool,
    ) -> None:
        self._values = parameters
        self._median = MedianFilter(parameters.medians)
        self._longest = int(parameters.halves.max())
        self._before = 2 * self._longest + 1
        self._numbers, self._wait, self._traced = numbers, wait_frames, traced
        self.reset()

    @property
    def lag_frames(self) -> int:
        """Frames by which decisions lag behind the frames pushed."""
        return 2 * self._longest - 1 + self._median.half

    @property
    def live(self) -> dict[int, Any]:
        """Events that a later frame may extend, by the number of the class."""
        return self._boxes.live

    def reset(self) -> None:
        """Start a new recording."""
        self.n_frames = 0  # places that are processed
        self._boxes = EventBoxes(
            self._values, self._numbers, self._wait, self._before, traced=self._traced
        )
        self._n_pushed = 0
        self._frames: Floats | None = None  # the last ones, from the first that is still needed
        self._rising = np.ones(len(self._values.offsets), bool)

    def push(self, frame_probs: Floats) -> list[Any]:
        """Add the next frames, shape (frames, classes); return the events that end."""
        if not len(frame_probs):
            return []
        before = self._before + self._median.half
        if self._frames is None:
            self._frames = np.repeat(frame_probs[:1], before, axis=0)
        self._frames = np.concatenate([self._frames, frame_probs])
        self._n_pushed += len(frame_probs)
        return self._process(self._n_pushed - self.lag_frames)

    def flush(self) -> list[Any]:
        """End the recording; return the remaining events."""
        n = self._n_pushed
        if self._frames is None:
            return []
        after = 2 * self._longest + self._median.half
        self._frames = np.concatenate([self._frames, np.repeat(self._frames[-1:], after, axis=0)])
        done = self._process(n + 1, n_frames=n)
        done += self._boxes.finish(n)
        self.reset()
        return done

    def _process(self, n: int, n_frames: int | None = None) -> list[Any]:
        """Process places up to `n`; `n_frames` is the length of the recording if it has ended."""
        done: list[Any] = []
        frames, first = self._frames, self.n_frames
        assert frames is not None
        margin = self._before + 2 * self._longest - 1 + 2 * self._median.half
        for start in range(first, n, MAX_BLOCK):
            stop = min(start + MAX_BLOCK, n)
            block = frames[start - first : stop - first + margin]
            self._process_block(block, start, stop, n_frames, done)
            self.n_frames = stop
        if n > first:
            self._frames = frames[n - first :].copy()
        return done

    def _process_block(
        self, frames: Floats, start: int, stop: int, n_frames: int | None, done: list[Any]
    ) -> None:
        """Process the places [start, stop), given the frames around them."""
        classes = (np.maximum.reduce(frames, axis=0) >= self._values.offsets).nonzero()[0]
        if len(classes):
            filtered = self._median.medians(frames.take(classes, axis=1), classes)
            # A median reaches a threshold only where one of its values does, and often not there.
            reached = np.maximum.reduce(filtered, axis=0) >= self._values.offsets[classes]
            filtered, classes = filtered.compress(reached, axis=1), classes[reached]
        if len(classes):
            values = integers(filtered, self._values.offsets[classes])
            first = start - self._before  # the frame of the first row
            values[: max(0, -first)] = 0
            if n_frames is not None:
                values[max(0, n_frames - first) :] = 0
            changes = find_changes(
                values,
                self._values.halves[classes],
                stop - start,
                self._before,
                self._rising[classes],
            )
            self._rising[classes] = changes.rising
            for column, c in enumerate(classes.tolist()):
                if changes.points[column] or not self._boxes.is_quiet(c):
                    sums, highest = changes.sums[:, column], values[:, column]
                    self._boxes.follow(c, changes.points[column], sums, highest, start, stop, done)
        self._boxes.release(stop, done)
