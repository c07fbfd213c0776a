"""Place decoded frames on the time line of their container.

A container gives each packet a time. Where sound begins late or is missing, the time of a frame is
ahead of the samples before it; silence in between keeps all later times right. ::

    packets   |0.00|0.02|0.04|          |1.00|1.02|       times of the container
    samples   |    |    |    | silence  |    |    |       what a decoder yields

Times are not exact: Matroska rounds them to milliseconds, phones write when a packet came. So a
difference counts only above `TOLERANCE_SECONDS`; where all times so far were exact, also if it is
as long as whole frames.
"""

from __future__ import annotations

from typing import NamedTuple

from sed.errors import DamagedRecordingError
from sed.text import pluralize

# A smaller difference between the time of a frame and the samples before it is jitter: it neither
# creates nor drops samples. The default of FFmpeg for the same question (min_hard_comp).
TOLERANCE_SECONDS = 0.1

# Times that were never off by more than this are exact: milliseconds, rounded twice.
EXACT_SECONDS = 0.003

# Jitter may look like missing frames that are shorter than this.
MIN_FRAME_SECONDS = 0.01

# A step back by more than this is a clock that started again, as in files that were joined: the
# sound goes on without a gap. A smaller one is sound that overlaps.
MAX_OVERLAP_SECONDS = 1.0

# Longest silence in one place; in formats whose clock may jump, as MPEG-TS; and after a clock that
# started again, because a step forward means little then.
MAX_GAP_SECONDS, MAX_GAP_OF_JUMPING_SECONDS, MAX_GAP_AFTER_RESTART_SECONDS = 3600.0, 600.0, 1.0

# Of a packet, for each channel; AAC has at most 768, AC-3 less. A longer one has swallowed others.
MAX_PACKET_BYTES = 2_048

# Formats that are packets and nothing else: bytes between two of them were packets that are lost.
BARE_FORMATS = frozenset(["aac", "ac3", "eac3", "dts", "mp3"])

MAX_PLACES = 4  # that a message names

CANNOT_BE_DECODED, ARE_MISSING = "cannot be decoded", "are missing"
OVERLAP = "overlap with the sound before and are left out"
JUMP = "are missing by its clock, too many for silence: times from there on are too early"


class Place(NamedTuple):
    """A place where a recording is damaged."""

    start: int  # position, in samples of what is yielded
    n_samples: int
    what: str  # about the samples: "are missing"

    def describe(self, sample_rate: int) -> str:
        """Return the time, the length and what is wrong."""
        start, seconds = self.start / sample_rate, self.n_samples / sample_rate
        return f"at {start:.3f} s {seconds:.3f} s {self.what}"


class FrameTimes:
    """Says how much silence belongs before each frame, and notes where sound was lost.

    Parameters
    ----------
    sample_rate
        Samples per second of the frames.
    can_jump
        Whether the clock of the format may jump, as that of MPEG-TS.
    max_seconds
        No silence is put in that ends later; an hour if not given.
    has_start
        Whether sound begins at time 0 if none is missing; otherwise it may begin at any time.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        can_jump: bool = False,
        max_seconds: float | None = None,
        has_start: bool = False,
    ) -> None:
        self.position = 0  # of the next sample; silence counts
        self.places: list[Place] = []  # the first ones, in order
        self.n_places = 0
        self._rate = sample_rate
        self._max_gap = self._samples(MAX_GAP_OF_JUMPING_SECONDS if can_jump else MAX_GAP_SECONDS)
        self._max_position = self._samples(max_seconds or MAX_GAP_SECONDS)
        self._exact, self._tolerance = map(self._samples, (EXACT_SECONDS, TOLERANCE_SECONDS))
        self._shift = 0  # of the clock, in samples
        self.has_silence = self.has_jumped = False  # in the places
        self._is_exact = True  # whether no time was off so far
        self._is_overlapping = False
        self._has_start = has_start
        self._last = Place(-1, 0, "")

    def place(self, time: float | None, n_samples: int, n_lost: int = 0) -> int:
        """Take the next frame; return the samples of silence before it, or minus those to drop.

        Parameters
        ----------
        time
            Of its first sample, in samples; None if the container gives none.
        n_samples
            Its length.
        n_lost
            Samples of the packets before it that could not be decoded.
        """
        offset = n_lost if time is None else self.missing(time)
        if n_lost:
            n_silent = self._after_loss(offset, n_lost)
        elif -self._exact <= offset <= self._exact:
            n_silent = 0
        elif self.position == 0:
            n_silent = self._first(offset)
        elif offset > 0:
            n_silent = self._ahead(offset, n_samples)
        else:
            n_silent = self._behind(offset, n_samples)
        n_silent = max(n_silent, -n_samples)
        self._is_overlapping = n_silent < 0
        self.position += n_silent + n_samples
        return n_silent

    def lose(self, n_samples: int, what: str) -> None:
        """Note that samples are lost, at the position; adjacent places become one."""
        self.has_silence = self.has_silence or what in (ARE_MISSING, CANNOT_BE_DECODED)
        self.has_jumped = self.has_jumped or what == JUMP
        start, last = self.position, self._last
        is_next = what == last.what and start in (last.start, last.start + last.n_samples)
        if is_next:
            self._last = last._replace(n_samples=last.n_samples + n_samples)
        else:
            self._last = Place(start, n_samples, what)
            self.n_places += 1
        if self.n_places <= MAX_PLACES:
            self.places[self.n_places - 1 :] = [self._last]

    def missing(self, time: float) -> int:
        """Return how many samples are missing until a time in samples; negative after it."""
        return round(time) + self._shift - self.position

    def _first(self, offset: int) -> int:
        """Return the silence before the first frame, which is no damage where it may be late."""
        if offset > 0 and self._has_start:
            self.lose(offset, ARE_MISSING if self._has_room(offset) else JUMP)
        if offset > 0:
            return offset if self._has_room(offset) else self._jump(offset)
        # Samples before the start are padding of the encoder; many are a clock that is off.
        return offset if offset >= -self._tolerance or self._is_overlapping else self._jump(offset)

    def _after_loss(self, offset: int, n_lost: int) -> int:
        """Return the silence in the place of packets that could not be decoded."""
        near = self._exact if self._is_exact else self._tolerance
        n_silent = n_lost
        # The time is right where others are missing too, or a decoder could use a part of them.
        if abs(offset - n_lost) > near and offset >= -self._tolerance:
            n_silent = max(0, offset) if self._has_room(offset) else n_lost
        if abs(offset - n_silent) > self._tolerance:
            self._shift -= offset - n_silent
        self.lose(n_silent or n_lost, CANNOT_BE_DECODED)
        return n_silent

    def _ahead(self, offset: int, n_samples: int) -> int:
        """Return the silence before a frame that is later than the end of the one before."""
        if offset <= self._tolerance and not (
            self._is_exact and self._is_whole_frames(offset, n_samples)
        ):
            self._is_exact = False
            return 0
        if not self._has_room(offset):
            self.lose(offset, JUMP)
            return self._jump(offset)
        self.lose(offset, ARE_MISSING)
        return offset

    def _behind(self, offset: int, n_samples: int) -> int:
        """Return minus the samples to drop of a frame that is earlier than that."""
        if offset < -self._samples(MAX_OVERLAP_SECONDS):
            self._max_gap = self._samples(MAX_GAP_AFTER_RESTART_SECONDS)
            return self._jump(offset)
        if offset >= -self._tolerance and not self._is_overlapping:
            self._is_exact = False
            return 0
        self.lose(min(-offset, n_samples), OVERLAP)
        return offset

    def _jump(self, offset: int) -> int:
        """Let the clock jump to the position."""
        self._shift -= offset
        return 0

    def _is_whole_frames(self, offset: int, n_samples: int) -> bool:
        """Whether a gap is as long as some frames are: packets got lost."""
        if n_samples < self._samples(MIN_FRAME_SECONDS):
            return False
        rest = (offset + n_samples // 2) % n_samples - n_samples // 2
        return abs(rest) <= self._exact < offset

    def _has_room(self, offset: int) -> bool:
        return offset <= self._max_gap and self.position + offset <= self._max_position

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._rate)


class PacketBytes:
    """Says how many packets are missing in a file of bare packets, by the bytes between them.

    Parameters
    ----------
    is_bare
        Whether the file consists of packets and nothing else, as ADTS; else nothing is counted.
    n_channels
        Channels, which bound the bytes of a packet.
    """

    def __init__(self, *, is_bare: bool, n_channels: int) -> None:
        self.is_bare = is_bare
        self._max_bytes = MAX_PACKET_BYTES * n_channels
        self.start = -1  # first byte of the first packet
        self.end = self.n_last = 0  # byte after the last packet, and its bytes
        self._n_bytes = self._n_packets = 0  # of all packets
        # Bytes of the last packet if it is far too long. What it holds is missing sound only if
        # another packet follows; at the end of a file it may be anything.
        self.n_odd = 0

    def missing(self, position: int | None, n_bytes: int) -> int:
        """Take the next packet; return how many are missing before it."""
        if not n_bytes or position is None:
            return 0
        self.n_last = n_bytes
        self.start = position if self.start < 0 else self.start
        if not self.is_bare:
            self.end = position + n_bytes
            return 0
        gap = position - self.end if self.end else 0
        n_missing = self.n_packets(gap) if gap > 0 else 0
        n_missing += self.n_packets(self.n_odd) - 1 if self.n_odd else 0
        self.end, self.n_odd = position + n_bytes, 0
        if n_bytes > self._max_bytes:
            self.n_odd = n_bytes
            return n_missing
        self._n_bytes, self._n_packets = self._n_bytes + n_bytes, self._n_packets + 1
        return n_missing

    def n_packets(self, n_bytes: int) -> int:
        """Return how many packets are as long as some bytes, at least one."""
        return max(1, round(n_bytes * self._n_packets / self._n_bytes)) if self._n_bytes else 1


def damage_of(
    path: str, times: FrameTimes, sample_rate: int, cut: str = ""
) -> DamagedRecordingError | None:
    """Return the error about all places where sound was lost; None if there are none.

    Parameters
    ----------
    path
        Name of the recording in the message.
    times
        The places.
    sample_rate
        Samples per second.
    cut
        How the recording ends too early, if it does.
    """
    places = [place.describe(sample_rate) for place in times.places]
    more = times.n_places - len(places)
    parts = [
        *places,
        *([f"{pluralize(more, 'more place')}"] if more else []),
        *([f"at {times.position / sample_rate:.3f} s {cut}"] if cut else []),
    ]
    if not parts:
        return None
    start = times.places[0].start if places else times.position
    has_silence = times.has_silence and not times.has_jumped
    silence = " Silence stands there, so all times are right." if has_silence else ""
    return DamagedRecordingError(
        path,
        start / sample_rate,
        f"{'; '.join(parts).partition(' s ')[2]}.{silence} What can be decoded is kept; copy or "
        "export the file again for the rest.",
    )
