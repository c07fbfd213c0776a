"""Cut chosen events from their recordings, with a picture of each and a contact sheet of all."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sed.audio.sound_file import SOUND_FORMATS, write_sound
from sed.errors import OutputError, SedError, UsageError
from sed.events.event_table import EventTable
from sed.events.tracker import Event
from sed.features.picture import spectrogram_picture, top_hz
from sed.files import written_csv, written_whole
from sed.text import iso_time, near, slug
from streaming.results.clips.choose import ChoiceConfig, choose_events
from streaming.results.clips.excerpts import Excerpt, RecordingFinder, read_excerpts, span_around
from streaming.results.clips.sheet import write_sheet

INDEX, SHEET = "clips.csv", "index.html"
COLUMNS = (
    *("file", "onset", "offset", "label", "score", "time"),
    *("recording", "recording_onset", "recording_offset", "picture"),
)
KIND_COLUMNS = ("kind", "predicted")  # behind them, of events that are examples of something


@dataclass(frozen=True)
class SavedClip:
    """A clip that was saved.

    Attributes
    ----------
    path
        The sound, relative to the folder of all clips.
    picture
        Its spectrogram, relative too.
    event
        The event in its recording.
    recording
        Path of the recording.
    start_seconds
        Start of the clip in the recording.
    seconds
        Length of the clip.
    kind
        What the event is an example of, if the caller says so.
    top_hz
        Frequency of the upper edge of its spectrogram.
    """

    path: str
    picture: str
    event: Event
    recording: str
    start_seconds: float
    seconds: float
    kind: str = ""
    top_hz: float = 0.0


@dataclass(frozen=True)
class _Wanted:
    """A clip to be cut: which event, and its name without ending."""

    event: Event
    stem: str
    kind: str = ""


def save_clips(
    events: EventTable,
    output: str | os.PathLike[str],
    config: ChoiceConfig | None = None,
    *,
    format: str = "flac",
    audio: Sequence[str | os.PathLike[str]] = (),
    max_hz: float | None = None,
    kinds: Sequence[str] | None = None,
    wrong_kinds: Collection[str] = (),
    on_clip: Callable[[int, int], None] = lambda *_: None,
    on_error: Callable[[SedError], None] = lambda _: None,
) -> list[SavedClip]:
    """Cut events from their recordings into a folder for each class.

    ::

        output/dog/001_0.9445_village_24.640.flac    sound of the event, and what is around it
        output/dog/001_0.9445_village_24.640.png     its spectrogram; dashed lines are its borders
        output/clips.csv                             a row for each clip
        output/index.html                            contact sheet

    Recordings are read at their own rate and with all channels, several at once.

    Parameters
    ----------
    events
        Events of any number of recordings, as `sed.events.reading.event_tables` reads them.
    output
        The folder; clips of an earlier call are replaced where they have the same name.
    config
        Which events, and how much sound around them.
    format
        ``flac``, ``wav`` or ``ogg``.
    audio
        Folders to look for the recordings in, beside their paths as the table has them.
    max_hz
        Frequency of the upper edge of spectrograms; half of the sample rate if None.
    kinds
        What each event is an example of, such as ``missed``. Then all events become clips, in the
        order of the table, and the index and the sheet have them by class and kind.
    wrong_kinds
        Kinds of events that are not of their class. In the index their class is in the column
        ``predicted``, and their ``label`` is empty, so that it is never taken for the truth.
    on_clip
        Called with the number of clips done and in all.
    on_error
        Called with the error of each recording that cannot be read; its events are left out.

    Returns
    -------
    list[SavedClip]
        Sorted by class, best first.

    Raises
    ------
    UsageError
        If the format is unknown, or there is not one kind for each event.
    OutputError
        If the folder cannot be written.
    """
    if format not in SOUND_FORMATS:
        raise UsageError(f"unknown format {format!r}. {near(format, SOUND_FORMATS)}")
    config = config or ChoiceConfig()
    folder = Path(output)
    wanted = _named(events, config) if kinds is None else _named_by_kind(events, kinds)
    _make_folders(folder, wanted)
    by_recording: dict[str, list[_Wanted]] = defaultdict(list)
    for clip in wanted:
        by_recording[clip.event.file].append(clip)
    finder = RecordingFinder(audio)
    top_hz(1, max_hz)  # refuses what it cannot be
    cut = partial(_cut, folder=folder, config=config, format=format, max_hz=max_hz, finder=finder)
    clips: list[SavedClip] = []
    n_done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for group, (saved, error) in zip(
                by_recording.values(), pool.map(cut, by_recording.values()), strict=True
            ):
                clips += saved
                n_done += len(group)
                if error is not None:
                    on_error(error)
                on_clip(n_done, len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            # What is done is kept after Ctrl-C too.
            clips.sort(key=lambda clip: (clip.event.label, clip.path))
            _write_index(folder / INDEX, clips, wrong_kinds)
            write_sheet(folder / SHEET, clips)
    return clips


def _named(events: EventTable, config: ChoiceConfig) -> list[_Wanted]:
    """Return the chosen events with names that are different and sort by class and score."""
    chosen = choose_events(events, config)
    return [
        _Wanted(events.event(row), f"{place}/{_name(events, row, i)}")
        for place, rows in zip(_places(events, map(len, chosen)), chosen, strict=True)
        for i, row in enumerate(rows.tolist(), start=1)
    ]


def _named_by_kind(events: EventTable, kinds: Sequence[str]) -> list[_Wanted]:
    """Return all events with names that sort by class, kind and row."""
    if len(kinds) != len(events):
        raise UsageError(f"expected a kind for each of {len(events)} events, got {len(kinds)}")
    places = _places(events, np.bincount(events.label, minlength=len(events.labels)).tolist())
    numbers: Counter[tuple[int, str]] = Counter()
    wanted = []
    for row, (label, kind) in enumerate(zip(events.label.tolist(), kinds, strict=True)):
        numbers[label, kind] += 1
        name = f"{slug(kind)}_{_name(events, row, numbers[label, kind])}"
        wanted.append(_Wanted(events.event(row), f"{places[label]}/{name}", kind))
    return wanted


def _places(events: EventTable, n_clips: Iterable[int]) -> list[str]:
    """Return a folder for each class; those of classes with clips differ, in more than case."""
    names = [slug(label) if n else "" for label, n in zip(events.labels, n_clips, strict=True)]
    own = {name.casefold() for name in names}
    taken: set[str] = set()
    places = []
    for name in names:
        place, number = name, 1
        while name and (place.casefold() in taken or (number > 1 and place.casefold() in own)):
            number += 1
            place = f"{name}-{number}"
        taken.add(place.casefold())
        places.append(place)
    return places


def _name(events: EventTable, row: int, number: int) -> str:
    event = events.event(row)
    return f"{number:03d}_{event.score:.4f}_{slug(Path(event.file).stem)}_{event.onset:.3f}"


def _make_folders(folder: Path, wanted: Iterable[_Wanted]) -> None:
    for path in dict.fromkeys([folder, *((folder / clip.stem).parent for clip in wanted)]):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(path, error) from error


def _cut(
    wanted: Sequence[_Wanted],
    *,
    folder: Path,
    config: ChoiceConfig,
    format: str,
    max_hz: float | None,
    finder: RecordingFinder,
) -> tuple[list[SavedClip], SedError | None]:
    """Write the clips of one recording; return those, and what went wrong."""
    clips: list[SavedClip] = []
    try:
        recording = finder.find(wanted[0].event.file)
        spans = [span_around(c.event, config.pad_seconds, config.max_seconds) for c in wanted]
        for excerpt in read_excerpts(recording, spans):
            clips.append(_write(wanted[excerpt.number], excerpt, folder, format, max_hz, recording))
    except SedError as error:
        return clips, error
    return clips, None


def _write(
    wanted: _Wanted,
    excerpt: Excerpt,
    folder: Path,
    format: str,
    max_hz: float | None,
    recording: str,
) -> SavedClip:
    event = wanted.event
    path, picture = f"{wanted.stem}.{format}", f"{wanted.stem}.png"
    write_sound(folder / path, excerpt.samples, excerpt.sample_rate)
    marks = event.onset - excerpt.start_seconds, event.offset - excerpt.start_seconds
    drawn = spectrogram_picture(excerpt.samples, excerpt.sample_rate, marks=marks, max_hz=max_hz)
    with written_whole(folder / picture) as part:
        part.write_bytes(drawn)
    seconds = len(excerpt.samples) / excerpt.sample_rate
    return SavedClip(
        path,
        picture,
        event,
        recording,
        excerpt.start_seconds,
        seconds,
        wanted.kind,
        top_hz(excerpt.sample_rate, max_hz),
    )


def _write_index(path: Path, clips: Sequence[SavedClip], wrong_kinds: Collection[str]) -> None:
    """Write a table of clips that `sed train` and `sed score` read as events in the clips.

    With kinds it has two columns more, by which `sed train` knows and refuses it.
    """
    with written_csv(path) as rows:
        has_kinds = any(clip.kind for clip in clips)
        rows.writerow((*COLUMNS, *KIND_COLUMNS) if has_kinds else COLUMNS)
        for clip in clips:
            event = clip.event
            label, predicted = event.label, ""
            if clip.kind in wrong_kinds:
                label, predicted = predicted, label
            # Of an event beyond the end of its recording the end of the clip is left.
            onset, offset = np.clip(
                [event.onset - clip.start_seconds, event.offset - clip.start_seconds],
                0.0,
                clip.seconds,
            )
            row = (
                *(clip.path, f"{onset:.3f}", f"{offset:.3f}", label, f"{event.score:.4f}"),
                *(iso_time(event.time), clip.recording),
                *(f"{event.onset:.3f}", f"{event.offset:.3f}", clip.picture),
            )
            rows.writerow((*row, clip.kind, predicted) if has_kinds else row)
