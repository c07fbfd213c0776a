"""Resample a stream, exact to the sample."""

from __future__ import annotations

import math
from functools import cache
from itertools import count

import numpy as np
import soxr

from sed.types import Floats

# Longest period in seconds that a seek may cost; 44.1 to 16 kHz has 4.96, see `seek_period`.
MAX_PERIOD_SECONDS = 6.0


class Resampler:
    """Resamples a stream of samples; files and live inputs both use this.

    Output sample n lies at the time of input sample ``n · from_rate / to_rate``, from the first to
    the last one: the delay of soxr's filter is compensated, and `flush` returns its tail.

    Parameters
    ----------
    from_rate, to_rate
        Samples per second of input and output.
    n_channels
        Mono by default, and then samples have the shape (samples,); else (samples, channels).
    """

    def __init__(self, from_rate: int, to_rate: int, n_channels: int | None = None) -> None:
        self._rates = from_rate, to_rate
        self._n_channels = n_channels
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        from_rate, to_rate = self._rates
        self._stream = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(from_rate, to_rate, self._n_channels or 1, "float32")
        )

    def push(self, samples: Floats) -> Floats:
        """Add input samples, shape (samples,); return the output samples that are ready."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> Floats:
        """End the stream; return the remaining output samples, shape (samples,)."""
        rest = np.empty(0 if self._n_channels is None else (0, self._n_channels), np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
        self.reset()
        return rest


@cache
def seek_period(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return where in a stream a resampler may start, and how long before the first sample needed.

    soxr works in blocks of a size that it chooses. If it starts at a multiple of the period, its
    blocks are those of the whole stream, and the output is bit-identical once the filter no longer
    covers the start. If the period would exceed `MAX_PERIOD_SECONDS`, a shorter one is returned
    and rounding differs.

    Returns
    -------
    period, n_lead
        Both in input samples.
    """
    n_in, _ = equal_durations(from_rate, to_rate)
    if from_rate == to_rate:
        return 1, 0
    first = _next_output(from_rate, to_rate, 0)
    second = _next_output(from_rate, to_rate, first + 1)
    period = math.lcm(second - first, n_in)
    return period if period < MAX_PERIOD_SECONDS * from_rate else n_in, 2 * second


def equal_durations(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return the smallest numbers of samples that last equally long at two rates."""
    common = math.gcd(from_rate, to_rate)
    return from_rate // common, to_rate // common


def _next_output(from_rate: int, to_rate: int, n_pushed: int) -> int:
    """Return the count of input samples, above `n_pushed`, at which the next output appears."""
    for step in (256, 1):  # coarse, then exact
        resampler, silence = Resampler(from_rate, to_rate), np.zeros(step, np.float32)
        resampler.push(np.zeros(n_pushed, np.float32))
        n_pushed += step * next(n for n in count() if len(resampler.push(silence)))
    return n_pushed
