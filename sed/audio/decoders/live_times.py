"""Find sound that a live stream has lost on the way, from the times of its packets."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMED_STREAMS = ("rtsp", "rtp", "sdp")  # whose times count samples (RFC 3550)
# TCP loses no packets, UDP does; but a camera may have only that.
RTSP_OPTIONS = {"rtsp_transport": "tcp+udp", "rtsp_flags": "prefer_tcp"}
SLACK_SECONDS = 1.0  # that a packet may be ahead of the clock
MIN_JUMP_SECONDS = 0.01  # reports of the sender shift times by less


class PacketLoss:
    """Counts the samples that are missing between packets of a live stream.

    A jump of the times is a loss only as far as so much time has passed since the connection began:
    the clock of a camera may be set, by hours, while nothing is lost.

    Parameters
    ----------
    sample_rate
        In Hz.
    began
        When the connection began, in seconds of the clock.
    clock
        Returns the time in seconds.
    """

    def __init__(
        self, sample_rate: int, began: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sample_rate = sample_rate
        self._began, self._clock = began, clock
        self._end: float | None = None  # of the last packet, in seconds of the stream
        self._n_samples = 0  # since the connection began, lost ones included

    def before(self, seconds: float | None, n_samples: int) -> int:
        """Return how many samples were lost before a block.

        Parameters
        ----------
        seconds
            Time of its first sample; None if it is not known.
        n_samples
            Its length.
        """
        n_lost = 0
        if seconds is not None and self._end is not None:
            jump = seconds - self._end
            taken = self._n_samples / self._sample_rate
            is_possible = taken + jump <= self._clock() - self._began + SLACK_SECONDS
            if is_possible and jump > max(MIN_JUMP_SECONDS, n_samples / self._sample_rate / 2):
                n_lost = round(jump * self._sample_rate)
        if seconds is not None:
            self._end = seconds
        if self._end is not None:
            self._end += n_samples / self._sample_rate
        self._n_samples += n_samples + n_lost
        return n_lost
