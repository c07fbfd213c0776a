"""Resampling of a stream, to the sample."""

from __future__ import annotations

import math
from functools import cache
from itertools import count

import numpy as np
import soxr

from sed.types import Floats

_LONGEST_PERIOD_SECONDS = 6.0  # see `_period`; 44.1 to 16 kHz has 4.96


class Resampler:
    """A stream of samples at one rate to the same stream at another.

    The n-th output sample is at the time of input sample n · from / to, from first to last: soxr's
    delay is compensated, and `flush` brings what it still holds.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._rates = from_rate, to_rate
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        from_rate, to_rate = self._rates
        self._stream = (
            None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 1, "float32")
        )

    def push(self, samples: Floats) -> Floats:
        """Take samples, return those that are ready."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> Floats:
        """Return the rest."""
        rest = np.empty(0, np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
        self.reset()
        return rest


@cache
def _period(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return where a resampler may begin, and how much earlier than it is needed.

    soxr works in blocks of a size that it chooses. Begun at a multiple of the period, in samples,
    its blocks are those of the whole stream, and all is the same to the last bit once it has
    forgotten that nothing came before. Where the period is too long, roundings differ.
    """
    n_in, _ = _same_time(from_rate, to_rate)
    if from_rate == to_rate:
        return 1, 0
    first = _next_burst(from_rate, to_rate, 0)
    second = _next_burst(from_rate, to_rate, first + 1)
    period = math.lcm(second - first, n_in)
    return period if period < _LONGEST_PERIOD_SECONDS * from_rate else n_in, 2 * second


def _next_burst(from_rate: int, to_rate: int, n_pushed: int) -> int:
    """Return how many samples a resampler takes, from so many on, until one brings out a block."""
    for step in (256, 1):  # roughly, then to the sample
        resampler, silence = Resampler(from_rate, to_rate), np.zeros(step, np.float32)
        resampler.push(np.zeros(n_pushed, np.float32))
        n_pushed += step * next(n for n in count() if len(resampler.push(silence)))
    return n_pushed


def _same_time(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return the smallest numbers of samples that last equally long at two rates."""
    common = math.gcd(from_rate, to_rate)
    return from_rate // common, to_rate // common
