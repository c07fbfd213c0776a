"""Trim recordings and cut them into segments.

Ranges are sample indices: the first, and the one after the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sed.audio.decode import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from sed.errors import UsageError
from sed.events.tracker import Event
from sed.timeline import samples_from_seconds, seconds_from_samples
from sed.types import Floats
from train.data.clips import Clip
from train.data.loudness import Range, non_silent_range


@dataclass(frozen=True)
class CuttingConfig:
    """How recordings are trimmed, cut and stored, in this order.

    Attributes
    ----------
    sample_rate
        Samples per second that are stored.
    trim_db
        Trim ends that are this many dB below the loudest 20 ms; keep them if None.
    max_seconds
        Keep no more than this of a clip; all if None.
    segment_seconds
        Length of segments; clips stay whole if None.
    bits
        Bits per stored sample: 32 for floats, 16 for integers, clipped at full scale.
    """

    sample_rate: int = 32_000
    trim_db: float | None = None
    max_seconds: float | None = None
    segment_seconds: float | None = None
    bits: int = 32

    def __post_init__(self) -> None:
        """Refuse impossible values, all at once."""
        errors = []
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            errors.append(
                f"a rate of {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}, got {self.sample_rate}"
            )
        for name in ("trim_db", "max_seconds", "segment_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                errors.append(f"{name} above 0, got {value:g}")
        if self.bits not in (16, 32):
            errors.append(f"16 or 32 bits, got {self.bits}")
        if errors:
            raise UsageError("expected " + "; ".join(errors))


def kept_range(samples: Floats, whole: Range, config: CuttingConfig) -> Range:
    """Return a range of samples after trimming and shortening it.

    Parameters
    ----------
    samples
        Of the recording, shape (samples,).
    whole
        The range of a clip.
    config
        What to keep.
    """
    begin, end = whole
    if config.trim_db is not None:
        begin, end = non_silent_range(samples, whole, config.sample_rate, config.trim_db)
    if config.max_seconds is not None:
        end = min(end, begin + samples_from_seconds(config.max_seconds, config.sample_rate))
    return begin, end


def split_range(kept: Range, config: CuttingConfig) -> list[Range]:
    """Return the consecutive segments of a range.

    A rest of less than half a segment is left out, unless it is all there is.
    """
    begin, end = kept
    if config.segment_seconds is None:
        return [kept]
    length = max(1, samples_from_seconds(config.segment_seconds, config.sample_rate))
    segments = [(first, min(end, first + length)) for first in range(begin, end, length)]
    last_begin, last_end = segments[-1]
    if len(segments) > 1 and 2 * (last_end - last_begin) < length:
        segments.pop()
    return segments


def clip_segment(clip: Clip, segment: Range, sample_rate: int) -> Clip:
    """Return a segment of a clip, with its events and the labels that follow from them.

    Parameters
    ----------
    clip
        The clip that was cut.
    segment
        In samples from the start of the clip.
    sample_rate
        Samples per second.

    Returns
    -------
    Clip
        With the events that overlap with the segment, clipped to it, in seconds from its start.
        Without strong labels the segment keeps all labels of the clip.
    """
    if clip.events is None:
        return clip
    begin, end = (seconds_from_samples(edge, sample_rate) for edge in segment)
    events = tuple(
        replace(
            event,
            # Without the rest that a difference of floats leaves, as 15.100000000000001.
            onset=round(max(event.onset, begin) - begin, 6),
            offset=round(min(event.offset, end) - begin, 6),
        )
        for event in clip.events
        if samples_from_seconds(min(event.offset, end), sample_rate)
        > samples_from_seconds(max(event.onset, begin), sample_rate)
    )
    labels, secondary = _labels(clip, events)
    return replace(clip, events=events, labels=labels, secondary=secondary)


def _labels(clip: Clip, events: tuple[Event, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return labels and secondary labels of a segment; those without any event stay."""
    inside = {event.label for event in events}
    timed = {event.label for event in clip.events or ()}
    labels = tuple(label for label in clip.labels if label in inside or label not in timed)
    secondary = tuple(label for label in clip.secondary if label in inside or label not in timed)
    return labels, secondary
