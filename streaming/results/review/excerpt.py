"""Cut the sound of an event and draw its spectrogram, for the page; the last ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from sed.audio.sound_file import MAX_CHANNELS, encoded_flac
from sed.errors import RecordingError
from sed.events.tracker import Event
from sed.features.picture import spectrogram_picture, top_hz
from streaming.results.clips.excerpts import RecordingFinder, read_excerpts, span_around

WIDTH, HEIGHT = 1_200, 320  # pixels
MAX_SECONDS = 60.0  # of a longer event its start is shown
N_KEPT = 48


class EventSound(NamedTuple):
    """The sound around an event."""

    start_seconds: float  # in the recording
    seconds: float
    top_hz: float  # of the spectrogram
    flac: bytes
    png: bytes


class EventSounds:
    """Reads the sound around events. Threads may share it.

    Parameters
    ----------
    finder
        Finds the recordings.
    pad_seconds
        Sound before and after an event.
    max_hz
        Frequency of the upper edge of spectrograms; half of the sample rate if None.
    """

    def __init__(
        self, finder: RecordingFinder, pad_seconds: float, max_hz: float | None = None
    ) -> None:
        top_hz(1, max_hz)  # refuses what it cannot be
        self._finder = finder
        self._pad = pad_seconds
        self._max_hz = max_hz
        self._kept: OrderedDict[int, EventSound] = OrderedDict()
        self._lock = Lock()

    def get(self, row: int, event: Event) -> EventSound:
        """Return the sound around an event.

        Parameters
        ----------
        row
            The number that it is kept by.
        event
            The event.

        Raises
        ------
        RecordingError
            If there is no such recording, or it cannot be read.
        """
        with self._lock:
            if (kept := self._kept.get(row)) is not None:
                self._kept.move_to_end(row)
                return kept
        sound = self._read(event)
        with self._lock:
            self._kept[row] = sound
            while len(self._kept) > N_KEPT:
                self._kept.popitem(last=False)
        return sound

    def _read(self, event: Event) -> EventSound:
        span = span_around(event, self._pad, MAX_SECONDS)
        excerpt = next(read_excerpts(self._finder.find(event.file), [span]))
        samples, rate = excerpt.samples, excerpt.sample_rate
        if not len(samples):
            raise RecordingError(event.file, f"has no sound at {event.onset:.3f} s")
        if samples.shape[1] > MAX_CHANNELS:
            samples = samples.mean(axis=1, keepdims=True)
        try:
            flac = bytes(encoded_flac(samples, rate))
        except OSError as error:
            raise RecordingError(event.file, f"cannot be played: {error.strerror}") from error
        return EventSound(
            excerpt.start_seconds,
            len(samples) / rate,
            top_hz(rate, self._max_hz),
            flac,
            spectrogram_picture(samples, rate, max_hz=self._max_hz, width=WIDTH, height=HEIGHT),
        )
