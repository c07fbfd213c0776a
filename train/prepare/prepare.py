"""Decode recordings once: plain WAV files that load without decoding, and an index of clips."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sed.errors import OutputError, RecordingError, SedError, TableError, UsageError
from sed.text import printable, some
from sed.timeline import seconds_from_samples
from train.data.audio import clip_range
from train.data.clips import Clip
from train.data.folds import balance_report, split_clips
from train.data.tables import read_table, write_index
from train.prepare.cutting import CuttingConfig, clip_segment
from train.prepare.download import DownloadConfig
from train.prepare.links import (
    LinkCallbacks,
    download_clips,
    is_links,
    read_links,
    write_failures,
)
from train.prepare.manifest import AUDIO, INDEX, Manifest, is_stored, open_folder
from train.prepare.transcode import SourceFile, size_and_mtime, source_files, transcode

_logger = logging.getLogger("sed.prepare")

_MAX_SAVING_SHARE = 0.05  # of the time may be spent on saving the record


@dataclass(frozen=True)
class PrepareCallbacks:
    """Functions that `prepare` calls as it proceeds."""

    on_start: Callable[[int, int], None] = lambda *_: None  # recordings to decode, and reused
    on_recording: Callable[[float], None] = lambda _: None  # seconds stored of a recording
    on_error: Callable[[SedError], None] = lambda _: None  # of a recording
    links: LinkCallbacks = field(default_factory=LinkCallbacks)


@dataclass(frozen=True)
class PrepareSummary:
    """Contents of a folder after `prepare`."""

    index: Path  # the table of clips, to train from
    n_recordings: int
    n_reused: int  # recordings that were stored before
    n_clips: int
    audio_seconds: float  # stored
    n_bytes: int
    n_silent: int  # clips of zeros, left out
    n_clipped: int  # samples beyond full scale, with 16 bits
    n_clipped_recordings: int
    failures: tuple[SedError, ...]  # one per recording that was left out
    balance: str  # report of the split; empty without one
    n_unlicensed: int = 0  # clips from links without a licence
    notices: tuple[tuple[str, str], ...] = ()  # recordings that are odd, and how


class _StoppedError(Exception):
    """A worker was stopped within its recording."""


def prepare(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    sample_rate: int = 32_000,
    trim_db: float | None = None,
    max_seconds: float | None = None,
    segment_seconds: float | None = None,
    bits: int = 32,
    split: Sequence[float] | None = None,
    seed: int = 0,
    workers: int | None = None,
    table_format: str = "auto",
    download: DownloadConfig | None = None,
    callbacks: PrepareCallbacks | None = None,
) -> PrepareSummary:
    """Decode the recordings of a table once, into files that training loads without decoding.

    Called again after an interruption, it continues: a recording that is stored whole, made from
    the same file with the same options, is not decoded again. The index is written last.

    Parameters
    ----------
    source
        A table or a folder, see `train.data.tables.read_table`; or a table of links, see
        `train.prepare.links`, whose recordings are first downloaded into ``downloads/``.
    output
        A new folder: ``audio/`` for mono WAV files, ``index.csv`` for the table of clips, and
        ``prepared.json`` for the record of what was made.
    sample_rate
        Samples per second to store.
    trim_db
        Trim both ends of each clip as far as they are this much below its loudest 20 ms.
    max_seconds
        Keep no more than this of each clip, after trimming.
    segment_seconds
        Cut clips into segments of this length, each a row of the index, see
        `train.prepare.cutting.split_range`. Segments of a clip share its group.
    bits
        32 stores floats; 16 integers, at half the size, clipped at full scale.
    split
        Shares of clips for training, validation and test, as (0.7, 0.15, 0.15): the column
        ``split`` of the index. It may differ from call to call, and so may `seed`.
    seed
        Of the split.
    workers
        Threads that decode; one per processor if not given.
    table_format
        Format of the table, see `read_table`; auto chooses by its columns.
    download
        How the recordings of a table of links are downloaded.
    callbacks
        Called as recordings are stored.

    Raises
    ------
    UsageError
        If an option is invalid, or the folder is not one to prepare into.
    TableError
        If the table is faulty, or none of its recordings can be read.
    OutputError
        If the folder cannot be written or the disk is full.
    """
    config = CuttingConfig(sample_rate, trim_db, max_seconds, segment_seconds, bits)
    if workers is not None and workers < 1:
        raise UsageError(f"expected 1 worker or more, got {workers}")
    callbacks = callbacks or PrepareCallbacks()
    folder = Path(output)
    manifest = open_folder(folder, Path(source), asdict(config))
    has_links = table_format == "auto" and is_links(Path(source))
    clips = read_links(Path(source)) if has_links else read_table(source, table_format=table_format)
    _check_index(clips, split, seed)
    origins: dict[str, str] = {}
    failures: list[SedError] = []
    if has_links:
        clips, origins, failures = download_clips(
            clips, folder, manifest, download or DownloadConfig(), callbacks.links
        )
    files = source_files(clips, origins)
    _plan(manifest, folder, files)
    todo = [file for file in files if not _is_reusable(file, folder, manifest)]
    manifest.files |= {file.name: None for file in todo}
    manifest.save(folder)
    callbacks.on_start(len(todo), len(files) - len(todo))
    transcoder = _Transcoder(folder, config, manifest, callbacks)
    failures += transcoder.run(todo, workers or os.cpu_count() or 1)

    done = [file for file in files if file.origin not in manifest.failures]
    if has_links:
        write_failures(folder, manifest.failures)
    if not done:
        raise TableError(f"{printable(str(source))}: none of its recordings can be read.")
    rows, sources = index_rows(done, folder, manifest, config)
    splits, balance = _split(rows, split, seed)
    write_index(folder / INDEX, rows, splits, sources)
    manifest.finished = True
    manifest.save(folder)
    stored = [manifest.stored(file.name) for file in done]
    found = [(file.origin, facts.notices) for file, facts in zip(done, stored, strict=True)]
    return PrepareSummary(
        index=folder / INDEX,
        n_recordings=len(done),
        n_reused=len(files) - len(todo),
        n_clips=len(rows),
        audio_seconds=seconds_from_samples(sum(facts.n_samples for facts in stored), sample_rate),
        n_bytes=sum(facts.n_bytes for facts in stored),
        n_silent=sum(facts.n_silent for facts in stored),
        n_clipped=sum(facts.n_clipped for facts in stored),
        n_clipped_recordings=sum(facts.n_clipped > 0 for facts in stored),
        failures=tuple(failures),
        balance=balance,
        n_unlicensed=sum(not clip.licence for clip in rows) if has_links else 0,
        notices=tuple((origin, " ".join(notices)) for origin, notices in found if notices),
    )


def index_rows(
    files: Sequence[SourceFile], folder: Path, manifest: Manifest, config: CuttingConfig
) -> tuple[list[Clip], list[str]]:
    """Return the clips of stored recordings, and the source file of each.

    Parameters
    ----------
    files
        The recordings.
    folder
        Where they are stored.
    manifest
        The record of it.
    config
        How they were cut.
    """
    rows, sources = [], []
    rate = config.sample_rate
    for file in files:
        facts = manifest.stored(file.name)
        for i, start, end in facts.segments:
            clip = file.clips[i]
            origin, _ = clip_range(clip, rate)
            is_whole = end - start == facts.n_samples
            rows.append(
                replace(
                    clip_segment(clip, (start - origin, end - origin), rate),
                    path=str(folder / AUDIO / file.name),
                    start_seconds=seconds_from_samples(start - facts.start, rate),
                    duration_seconds=None if is_whole else seconds_from_samples(end - start, rate),
                )
            )
            sources.append(file.origin)
    return rows, sources


def _check_index(clips: Sequence[Clip], split: Sequence[float] | None, seed: int) -> None:
    """Check now what splitting and writing the index would refuse in the end."""
    _split(clips, split, seed)
    with TemporaryDirectory() as folder:
        write_index(Path(folder, INDEX), clips, None, [clip.path for clip in clips])


def _split(
    clips: Sequence[Clip], split: Sequence[float] | None, seed: int
) -> tuple[list[str] | None, str]:
    """Return the side of each clip and the report of their balance, or None and nothing."""
    if split is None:
        return None, ""
    sides = split_clips(clips, split, seed=seed)
    return sides, balance_report(clips, sides)


def _plan(manifest: Manifest, folder: Path, files: Sequence[SourceFile]) -> None:
    """Add the names of all files to be made to the record."""
    new = [file.name for file in files if file.name not in manifest.files]
    if existing := [name for name in new if (folder / AUDIO / name).exists()]:
        raise UsageError(
            f"{printable(str(folder / AUDIO))}: holds files that sed prepare did not make, and "
            f"would overwrite: {some(existing)}. Move them away."
        )
    manifest.files |= dict.fromkeys(new)


def _is_reusable(file: SourceFile, folder: Path, manifest: Manifest) -> bool:
    """Return whether a recording is stored whole, from the current file and clips."""
    facts = manifest.files[file.name]
    try:
        return (
            facts is not None
            and (facts.source_bytes, facts.source_mtime_ns) == size_and_mtime(file.path)
            and facts.spans == file.spans
            and is_stored(folder, file.name, facts)
        )
    except SedError:  # decoding it reports the reason
        return False


class _Transcoder:
    """Decodes recordings in threads, and records what they made.

    libsndfile and soxr release Python's lock, so threads are as fast as processes, and can be
    stopped at any block.
    """

    def __init__(
        self,
        folder: Path,
        config: CuttingConfig,
        manifest: Manifest,
        callbacks: PrepareCallbacks,
    ) -> None:
        self._folder = folder
        self._config = config
        self._manifest = manifest
        self._callbacks = callbacks
        self._stop = threading.Event()
        self._next_save = 0.0

    def run(self, files: Sequence[SourceFile], workers: int) -> list[SedError]:
        """Store recordings; return the errors of those that cannot be read."""
        failures: list[SedError] = []
        with ThreadPoolExecutor(workers) as pool:
            try:
                futures = {pool.submit(self._store, file): file for file in files}
                for future in as_completed(futures):
                    if (error := future.result()) is not None:
                        failures.append(error)
                        self._manifest.failures[futures[future].origin] = str(error)
                        self._callbacks.on_error(error)
                    self._save_if_due()
            except BaseException:  # Ctrl-C or a full disk: stop the other threads
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                self._manifest.save(self._folder)
                raise
        return failures

    def _store(self, file: SourceFile) -> SedError | None:
        """Store a recording and record it; return its error if it cannot be read."""
        path = self._folder / AUDIO / file.name
        try:
            stored = transcode(file, path, self._config, self._check)
        except OutputError:
            raise
        except RecordingError as error:
            return RecordingError(file.origin, error.reason) if file.origin != file.path else error
        except SedError as error:
            return error
        self._manifest.files[file.name] = stored
        seconds = stored.n_samples / self._config.sample_rate
        _logger.info("%s: %.1f s stored in %s", printable(file.path), seconds, file.name)
        self._callbacks.on_recording(seconds)
        return None

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _save_if_due(self) -> None:
        """Save the record after each recording, or less often if that takes long."""
        if (start := time.monotonic()) < self._next_save:
            return
        self._manifest.save(self._folder)
        end = time.monotonic()
        self._next_save = end + (end - start) / _MAX_SAVING_SHARE
