"""Say what to do about recordings, in words that fit a command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """Sentences of notices that depend on what is done with a recording.

    Attributes
    ----------
    channel
        About a channel that is better than the mean: ``{which}`` is "the other" or "the loudest",
        ``{number}`` counts from 1.
    band
        About frequencies without sound, up to ``{kilohertz}``.
    """

    channel: str = "Choose {which} with --channel {number}."
    band: str = "the model analyses up to {kilohertz:.1f} kHz. Expect sounds to be missed"


ANALYSIS = Advice()
TRAINING = Advice(
    channel="Export {which}, channel {number}, and prepare that.",
    band="up to {kilohertz:.1f} kHz are stored. Expect nothing to be learned from there",
)
