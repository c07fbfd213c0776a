"""Embed recordings: a vector for each window, event or clip."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sed.audio.find import Recording, find_recordings
from sed.audio.remote import is_remote
from sed.errors import RecordingError, SedError, UsageError
from sed.events.tracker import Event
from sed.models.devices import n_cores
from sed.types import Floats
from streaming.engines.base import Engine
from streaming.offline.detect import batch_size_for, log_notices
from streaming.offline.detections.embedding_rows import EmbeddingConfig, EmbeddingRow
from streaming.offline.executor import ThreadExecutor
from streaming.offline.job import JobFinished, JobProgress
from streaming.offline.job_config import JobConfig
from streaming.offline.outputs import OutputConfig
from streaming.pipeline.config import DetectorConfig

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


def embed(
    recordings: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    every_seconds: float | None = None,
    clips: Sequence[Event] | None = None,
    pool: str | Sequence[str] = ("mean",),
    layer: str = "features",
    channel: int | None = None,
    track: int | None = None,
    hop_seconds: float | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    sample_rate: int | None = None,
    window_seconds: float | None = None,
    on_error: Callable[[SedError], None] | None = None,
) -> Iterator[tuple[Event, Floats]]:
    """Yield the embeddings of recordings, in their order; memory does not grow with their length.

    Parameters
    ----------
    recordings
        Recordings, and folders to search for them; those of `clips` if not given.
    model
        As in `detect`; an open engine must have been opened with the layer.
    every_seconds
        Length of consecutive parts, of which each gives a vector; a window of the model if not
        given. The last part of a recording is shorter.
    clips
        Parts of recordings, each an `Event` with `file`, that give a vector each, instead. Those
        of a recording are yielded in the order of their ends; their labels and scores are kept.
    pool
        Statistics over the frames of a part: of ``mean``, ``max``, ``std`` and ``attention``,
        which are concatenated. If empty, the frames themselves are returned.
    layer
        Layer of the network; see `sed.models.inference.layers`.
    channel
        Counted from 1; the mean of all if not given.
    track
        Track of sound in containers that have several, counted from 1; see `detect`.
    hop_seconds
        Seconds from one window to the next; frames are averaged over windows that overlap.
    engine, device, precision
        See `open_engine`.
    batch_size
        Windows to compute together; if not given, what is fastest with the engine.
    sample_rate, window_seconds
        Of an encoder whose files do not say; see `open_engine`.
    on_error
        Called with what is wrong with a recording; the others are embedded. If not given, the first
        error is raised.

    Yields
    ------
    The part, as an `Event` with its file, and its vector, float32 (statistics · features,); without
    statistics its frames, (frames, features).

    Raises
    ------
    UsageError
        If an argument is invalid.
    CheckpointError
        If the model cannot be loaded.
    RecordingError
        If a recording cannot be read, or is damaged, and `on_error` is not given.
    """
    by_file = None if clips is None else _by_file(clips)
    sources = [recordings] if isinstance(recordings, str | os.PathLike) else list(recordings)
    found, unreadable = find_recordings(sources or list(by_file or ()))
    for error in unreadable:
        _raise_or_report(error, on_error)
    if by_file is not None:
        found, by_file, absent = _matched(found, by_file)
        for file in absent:
            reason = "has clips, and is not among the recordings. Name it as they do, by its path."
            _raise_or_report(RecordingError(file, reason), on_error)
    embeddings = EmbeddingConfig(
        None, layer, (pool,) if isinstance(pool, str) else tuple(pool), every_seconds, by_file
    )
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        batch_size=batch_size or batch_size_for([os.fspath(source) for source in sources]),
    )
    outputs = OutputConfig(embeddings=embeddings, events=False)
    job = JobConfig(
        outputs,
        model,
        config,
        engine,
        device,
        precision,
        channel,
        sample_rate=sample_rate,
        window_seconds=window_seconds,
        track=track,
    )
    yield from _rows(job, found, on_error)


def place_clips(
    clips: Iterable[Event],
    table: str | os.PathLike[str],
    sources: Sequence[str] = (),
) -> tuple[dict[str, tuple[Event, ...]], list[str]]:
    """Return clips by the paths of their recordings, and the files that are not found.

    Parameters
    ----------
    clips
        As `sed.events.reading.clips.read_clips` returns them.
    table
        Their table. Without `sources` its names are paths, else relative to its folder.
    sources
        Files and folders that hold the recordings. A name of the table is then a path, the end of
        a path, or the name of a file that only one of them has.
    """
    find = _finder(sources) if sources else _finder_beside(table)
    placed: dict[str, tuple[Event, ...]] = defaultdict(tuple)
    missing = []
    for file, those in _by_file(clips).items():
        path = find(file)
        if path is None:
            missing.append(file)
        else:
            placed[path] += those  # a table may spell a path in several ways
    return dict(placed), missing


def _finder_beside(table: str | os.PathLike[str]) -> Callable[[str], str | None]:
    """Return a function from names to paths: that of the name, or relative to a table."""

    def find(file: str) -> str | None:
        if is_remote(file):
            return file
        # Without "./", so that one recording has one name.
        paths = str(Path(file)), str(Path(os.path.dirname(table), file))
        return next(filter(os.path.exists, paths), None)

    return find


def _finder(sources: Sequence[str]) -> Callable[[str], str | None]:
    """Return a function from names to the path of the only recording with that end."""
    found, _ = find_recordings(sources)
    paths: dict[str, set[str]] = defaultdict(set)  # by path, absolute path, and each end of it
    for recording in found:
        parts = Path(recording.path).parts
        for key in (recording.path, os.path.abspath(recording.path)):
            paths[key].add(recording.path)
        for n in range(len(parts)):
            paths[os.path.join(*parts[n:])].add(recording.path)

    def find(file: str) -> str | None:
        keys = file, os.path.abspath(file), str(Path(file))
        matches = next((paths[key] for key in keys if key in paths), set())
        return next(iter(matches)) if len(matches) == 1 else None

    return find


def _matched(
    found: Sequence[Recording], by_file: Mapping[str, tuple[Event, ...]]
) -> tuple[list[Recording], dict[str, tuple[Event, ...]], list[str]]:
    """Return the recordings with clips, their clips by their paths, and files without recording."""
    by_place: dict[str, tuple[Event, ...]] = defaultdict(tuple)
    for file, clips in by_file.items():
        by_place[Recording(file, file).place] += clips
    chosen = {recording.place: recording for recording in found if recording.place in by_place}
    absent = [file for file in by_file if Recording(file, file).place not in chosen]
    placed = {recording.path: by_place[place] for place, recording in chosen.items()}
    return list(chosen.values()), placed, absent


def _rows(
    job: JobConfig, recordings: Sequence[Recording], on_error: Callable[[SedError], None] | None
) -> Iterator[EmbeddingRow]:
    executor = ThreadExecutor(n_at_once=n_cores())
    executor.start(job)
    for report in executor.run(iter(recordings), len(recordings)):
        match report:
            case JobProgress():
                yield from report.embeddings
            case JobFinished(recording, result):
                log_notices(recording.path, result.notices)
                if result.failure is not None:
                    _raise_or_report(result.failure, on_error)


def _by_file(clips: Iterable[Event]) -> dict[str, tuple[Event, ...]]:
    """Return clips by the path of their recording."""
    by_file: dict[str, list[Event]] = defaultdict(list)
    for clip in clips:
        if not clip.file:
            raise UsageError("expected clips that name their recording: set file of each Event")
        by_file[clip.file].append(clip)
    return {file: tuple(those) for file, those in by_file.items()}


def _raise_or_report(error: SedError, on_error: Callable[[SedError], None] | None) -> None:
    if on_error is None:
        raise error
    on_error(error)
