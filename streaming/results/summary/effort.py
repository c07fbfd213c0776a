"""Find out when was recorded and for how long: the effort that counts of events relate to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sed.audio.decode import open_recording
from sed.audio.find import find_recordings
from sed.audio.start_time import recording_start
from sed.errors import SedError

HOUR = np.timedelta64(3_600_000_000, "us")


@dataclass(frozen=True)
class RecordedSpan:
    """A recording and its time.

    Attributes
    ----------
    file
        Its path.
    start
        What a clock at the place showed at its start; None if it is unknown.
    seconds
        Its length; None if its header does not say.
    """

    file: str
    start: datetime | None
    seconds: float | None


def recorded_spans(
    sources: Iterable[str | os.PathLike[str]],
    zone: tzinfo | None = None,
    recorder_zone: tzinfo | None = None,
    on_error: Callable[[SedError], None] = lambda _: None,
) -> list[RecordedSpan]:
    """Return the times of all recordings in files and folders, by their names and headers.

    Parameters
    ----------
    sources
        Files and folders.
    zone, recorder_zone
        See `sed.audio.start_time.recording_start`.
    on_error
        Called with the error of each source or recording that cannot be read; it is left out.
    """
    recordings, errors = find_recordings(sources)
    read = partial(_span, zone=zone, recorder_zone=recorder_zone)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(read, [recording.path for recording in recordings]))
    for error in [*errors, *(result for result in results if isinstance(result, SedError))]:
        on_error(error)
    return [result for result in results if isinstance(result, RecordedSpan)]


def _span(
    path: str, *, zone: tzinfo | None, recorder_zone: tzinfo | None
) -> RecordedSpan | SedError:
    try:
        with closing(open_recording(path)) as decoder:
            n_samples, rate = decoder.n_samples, decoder.sample_rate
    except SedError as error:
        return error
    start = recording_start(path, zone, recorder_zone)
    seconds = None if n_samples is None else n_samples / rate
    return RecordedSpan(path, start and start.replace(tzinfo=None), seconds)


@dataclass(frozen=True)
class ClockHours:
    """Parts of spans of time, each within an hour of the clock.

    Attributes
    ----------
    span
        Number of the span that each part is of, shape (parts,).
    hour
        The hour that it lies in, datetime64[h], shape (parts,).
    seconds
        Its length, shape (parts,).
    """

    span: NDArray[np.intp]
    hour: NDArray[np.datetime64]
    seconds: NDArray[np.float64]


def clock_hours(start: NDArray[np.datetime64], seconds: NDArray[np.float64]) -> ClockHours:
    """Cut spans of time at the hours of the clock.

    Parameters
    ----------
    start
        Local times, datetime64[us], shape (spans,); none of them NaT.
    seconds
        Lengths, shape (spans,); a span of no length is a part of no length.
    """
    end = start + np.rint(seconds * 1e6).astype("timedelta64[us]")
    first = start.astype("datetime64[h]")
    last = np.maximum(end - np.timedelta64(1, "us"), start).astype("datetime64[h]")
    n_parts = (last - first).astype(np.int64) + 1
    span = np.repeat(np.arange(len(start)), n_parts)
    within = np.arange(len(span)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    hour = first[span] + within.astype("timedelta64[h]")
    begin = np.maximum(start[span], hour.astype("datetime64[us]"))
    stop = np.minimum(end[span], hour.astype("datetime64[us]") + HOUR)
    return ClockHours(span, hour, (stop - begin).astype(np.int64) / 1e6)
