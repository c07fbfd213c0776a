"""Map the sample positions of a live input to the time of day."""

from __future__ import annotations

from datetime import datetime

JUMP_SECONDS = 2.0  # a later arrival than this means that the clock was set, or samples were lost
REVIEW_SECONDS = 60.0  # of audio, after which the offset between the clocks is estimated anew


class StreamClock:
    """Follows the offset between the clock of an input and the clock of this machine.

    A crystal that is wrong by 50 parts per million is four seconds off after a day. Blocks arrive
    late by a delay that varies, never early, so the minimum over a minute estimates the time of
    sample 0::

        zero = min(arrived - position / sample_rate)

    Parameters
    ----------
    sample_rate
        Of the input, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._zero: float | None = None  # time of position 0, in seconds since 1970
        self._earliest = float("inf")
        self._review_at = 0

    def update(self, position: int, arrived: float) -> None:
        """Take the time, in seconds since 1970, at which the sample before `position` arrived."""
        zero = arrived - position / self._sample_rate
        self._earliest = min(self._earliest, zero)
        if self._zero is None or zero < self._zero:
            self._zero = zero
        elif zero > self._zero + JUMP_SECONDS:
            self._zero = self._earliest = zero
        if position >= self._review_at:
            self._review_at = position + round(REVIEW_SECONDS * self._sample_rate)
            self._zero, self._earliest = self._earliest, zero

    def time(self, position: int) -> datetime:
        """Return the time of a sample, in the time zone of this machine.

        Before anything has arrived it is the current time.
        """
        if self._zero is None:
            return datetime.now().astimezone()
        return datetime.fromtimestamp(self._zero + position / self._sample_rate).astimezone()
