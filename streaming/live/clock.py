"""Where the samples of a live input lie on the calendar."""

from __future__ import annotations

from datetime import datetime

JUMP_SECONDS = 2.0  # by which sound does not come late: the clock was set, or samples were lost
REVIEW_SECONDS = 60.0  # of sound, after which the clock of the input is compared with ours


class StreamClock:
    """Follows how the clock of an input runs beside the clock of this machine.

    A crystal that is wrong by 50 parts in a million is wrong by four seconds after a day. Sound
    arrives late by a delay that changes, never early; so the earliest arrival in a minute says
    where that minute lies, and times follow it.

    Parameters
    ----------
    sample_rate
        Of the input.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._zero: float | None = None  # when position 0 was, in seconds since 1970
        self._earliest = float("inf")
        self._review_at = 0

    def update(self, position: int, arrived: float) -> None:
        """Note when, in seconds since 1970, the sample before a position was here."""
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
        """Return when a sample was spoken, in the time zone of this machine.

        As long as nothing has arrived, that is now.
        """
        if self._zero is None:
            return datetime.now().astimezone()
        return datetime.fromtimestamp(self._zero + position / self._sample_rate).astimezone()
