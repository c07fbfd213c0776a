"""What of a recording is kept, and the pieces that it is cut into.

Ranges are sample indices, from the first to behind the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sed.audio.decode import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from sed.errors import UsageError
from sed.events.tracker import Event
from sed.timeline import samples_from_seconds, seconds_from_samples
from sed.types import Floats
from train.data.clips import Clip
from train.data.loudness import Range, loud_range


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
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            faults.append(
                f"a rate of {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}, got {self.sample_rate}"
            )
        for name in ("trim_db", "first_seconds", "cut_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                faults.append(f"{name} above 0, got {value:g}")
        if self.bits not in (16, 32):
            faults.append(f"16 or 32 bits, got {self.bits}")
        if faults:
            raise UsageError("expected " + "; ".join(faults))


def kept_range(samples: Floats, whole: Range, config: CuttingConfig) -> Range:
    """Return what is left of a range of samples after trimming and shortening it."""
    begin, end = whole
    if config.trim_db is not None:
        begin, end = loud_range(samples, whole, config.sample_rate, config.trim_db)
    if config.first_seconds is not None:
        end = min(end, begin + samples_from_seconds(config.first_seconds, config.sample_rate))
    return begin, end


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
        Floats per second.

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
