"""What of a recording is kept, and the pieces that it is cut into.

Ranges are sample indices, from the first to behind the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sed.audio.decode import HIGHEST_RATE, LOWEST_RATE
from sed.errors import UsageError
from sed.events.tracker import Event
from sed.timeline import samples_from_seconds, seconds_from_samples
from train.data.tables import Clip

Samples = NDArray[np.float32]
Range = tuple[int, int]

LEVELS_PER_SECOND = 50  # loudness is measured over 20 ms
_FRAMES_AT_ONCE = 1_000  # of 20 ms; a long recording is never in memory whole


@dataclass(frozen=True)
class CuttingConfig:
    """What is done to recordings before they are stored, in this order."""

    sample_rate: int = 32_000  # samples per second that are stored
    trim_db: float | None = None  # ends this much below the loudest 20 ms are cut off; None: kept
    first_seconds: float | None = None  # no more than this is kept; None: all
    cut_seconds: float | None = None  # length of pieces; None: each clip stays whole
    bits: int = 32  # per stored sample: 32 is float, 16 integers, clipped beyond full scale

    def __post_init__(self) -> None:
        """Refuse what cannot be, all of it at once."""
        faults = []
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            faults.append(f"a rate of {LOWEST_RATE} to {HIGHEST_RATE}, got {self.sample_rate}")
        for name in ("trim_db", "first_seconds", "cut_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                faults.append(f"{name} above 0, got {value:g}")
        if self.bits not in (16, 32):
            faults.append(f"16 or 32 bits, got {self.bits}")
        if faults:
            raise UsageError("expected " + "; ".join(faults))


def kept_range(samples: Samples, whole: Range, config: CuttingConfig) -> Range:
    """Return what is left of a range of samples after trimming and shortening it."""
    begin, end = whole
    if config.trim_db is not None:
        begin, end = loud_range(samples, whole, config.sample_rate, config.trim_db)
    if config.first_seconds is not None:
        end = min(end, begin + samples_from_seconds(config.first_seconds, config.sample_rate))
    return begin, end


def loud_range(samples: Samples, whole: Range, sample_rate: int, trim_db: float) -> Range:
    """Return a range without the silence at its two ends; what lies between is untouched.

    Silence is what lies more than `trim_db` below the loudest 20 ms of the range, in steps of
    20 ms from its begin. A range of zeros stays as it is.
    """
    begin, end = whole
    step = sample_rate // LEVELS_PER_SECOND
    powers = _powers(samples, whole, step)
    loud = np.flatnonzero(powers >= powers.max() * 10 ** (-trim_db / 10))
    return begin + int(loud[0]) * step, min(end, begin + (int(loud[-1]) + 1) * step)


def pieces_of(kept: Range, config: CuttingConfig) -> list[Range]:
    """Return the pieces of a range, one behind the other.

    The last is shorter, and left out below half the length. A range shorter than that is one
    piece: otherwise nothing would be left of a short recording.
    """
    begin, end = kept
    if config.cut_seconds is None:
        return [kept]
    length = max(1, samples_from_seconds(config.cut_seconds, config.sample_rate))
    pieces = [(first, min(end, first + length)) for first in range(begin, end, length)]
    last_begin, last_end = pieces[-1]
    if len(pieces) > 1 and 2 * (last_end - last_begin) < length:
        pieces.pop()
    return pieces


def clip_of_piece(clip: Clip, piece: Range, sample_rate: int) -> Clip:
    """Return what is known of a piece of a clip: its events, and the labels that follow from them.

    Parameters
    ----------
    clip
        Where the piece was cut out.
    piece
        Counted from the begin of the clip.
    sample_rate
        Samples per second.

    Returns
    -------
    The clip with the events that reach into the piece, cut off at its ends and counted from its
    begin. Without events nobody knows what sounds when, and it keeps the labels of the whole.
    """
    if clip.events is None:
        return clip
    begin, end = (seconds_from_samples(edge, sample_rate) for edge in piece)
    events = tuple(
        replace(event, onset=max(event.onset, begin) - begin, offset=min(event.offset, end) - begin)
        for event in clip.events
        if samples_from_seconds(min(event.offset, end), sample_rate)
        > samples_from_seconds(max(event.onset, begin), sample_rate)
    )
    labels, secondary = _labels(clip, events)
    return replace(clip, events=events, labels=labels, secondary=secondary)


def _labels(clip: Clip, events: tuple[Event, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return labels and secondary ones in the clip's order; those that no event tells of stay."""
    heard = {event.label for event in events}
    told = {event.label for event in clip.events or ()}
    labels = tuple(label for label in clip.labels if label in heard or label not in told)
    secondary = tuple(label for label in clip.secondary if label in heard or label not in told)
    return labels, secondary


def _powers(samples: Samples, whole: Range, step: int) -> NDArray[np.float64]:
    """Return the mean square of each step of a range; the last may be shorter."""
    begin, end = whole
    powers = []
    for first in range(begin, end, step * _FRAMES_AT_ONCE):
        squares = samples[first : min(end, first + step * _FRAMES_AT_ONCE)].astype(np.float64) ** 2
        starts = np.arange(0, len(squares), step)
        powers.append(np.add.reduceat(squares, starts) / np.diff(starts, append=len(squares)))
    return np.concatenate(powers)
