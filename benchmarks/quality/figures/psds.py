"""Compute the polyphonic sound detection score (Bilen et al., ICASSP 2020) from single thresholds.

Scenario 1 needs exact times, scenario 2 counts confusions, as in DCASE's task 4. Detections take
the names of ESC-50's categories; those of classes that are no category are left out, so that they
cost nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sed.events.event_table import EventTable
from sed.events.scoring.score import score
from sed.events.tracker import Event


def psds(
    truth: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    operating_points: Sequence[Mapping[str, Sequence[Event]]],
) -> dict[str, float]:
    """Return the scores of both scenarios.

    Parameters
    ----------
    truth
        The events of each recording.
    durations
        The seconds of each recording.
    operating_points
        The detections of each recording, with the names of the truth, one mapping a threshold.
    """
    points = [table(detections) for detections in operating_points]
    result = score(table(truth), points, durations=durations)
    return {"psds_1": result.psds1.score, "psds_2": result.psds2.score}


def table(events: Mapping[str, Sequence[Event]]) -> EventTable:
    """Return events without their scores; no two of one class overlap in a recording."""
    return EventTable.of_events(
        replace(event, file=file, score=1.0)
        for file, found in events.items()
        for event in joined(found)
    )


def joined(events: Sequence[Event]) -> list[Event]:
    """Return events with those of one label that overlap joined."""
    result: list[Event] = []
    for event in sorted(events, key=lambda e: (e.label, e.onset)):
        last = result[-1] if result else None
        if last is not None and last.label == event.label and event.onset < last.offset:
            result[-1] = replace(last, offset=max(last.offset, event.offset))
        else:
            result.append(event)
    return result
