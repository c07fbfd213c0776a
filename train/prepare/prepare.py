"""Recordings decoded once: plain WAV files that load without decoding, and the index of clips."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sed.errors import OutputError, SedError, TableError, UsageError
from sed.text import printable, some
from sed.timeline import seconds_from_samples
from train.data.audio import clip_range
from train.data.clips import Clip
from train.data.tables import read_table, write_index
from train.prepare.cutting import CuttingConfig, clip_of_piece
from train.prepare.manifest import AUDIO, INDEX, Manifest, is_ours, open_folder
from train.prepare.transcode import Recording, recordings_of, stamp, transcode

_SAVING_SHARE = 0.05  # of the time may go into keeping the record


@dataclass(frozen=True)
class Progress:
    """Told what happens; each of them may be anything that takes these arguments."""

    on_start: Callable[[int, int], None] = lambda *_: (
        None
    )  # recordings to decode, and there already
    on_recording: Callable[[float], None] = lambda _: None  # seconds stored of one
    on_trouble: Callable[[SedError], None] = lambda _: None  # with a recording, as it comes


@dataclass(frozen=True)
class PreparedSummary:
    """What a folder holds after `prepare`."""

    index: Path  # the table of clips, to train from
    n_recordings: int
    n_reused: int  # of them were there already
    n_clips: int
    audio_seconds: float  # stored
    n_bytes: int
    n_silent: int  # clips of nothing but zeros, left out
    n_clipped: int  # samples beyond full scale, with 16 bits
    n_clipped_recordings: int
    failures: tuple[SedError, ...]  # one per recording that was left out
    balance: str  # report of the split; empty without one


class _StoppedError(Exception):
    """A worker was asked to leave its recording."""


def prepare(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    sample_rate: int = 32_000,
    trim_db: float | None = None,
    first_seconds: float | None = None,
    cut_seconds: float | None = None,
    bits: int = 32,
    shares: Sequence[float] | None = None,
    seed: int = 0,
    n_workers: int | None = None,
    format: str = "auto",
    progress: Progress | None = None,
) -> PreparedSummary:
    """Decode the recordings of a table once, into files that training loads without decoding.

    Called again, after whatever stopped it, it goes on: a recording that is there whole, made from
    the same file with the same options, is not decoded again. The index is written last.

    Parameters
    ----------
    source
        A table or a folder, as `train.data.tables.read_table` takes them.
    out
        A new folder: ``audio/`` for mono WAV files, ``index.csv`` for the table of clips, and
        ``prepared.json`` for the record of what was made.
    sample_rate
        Samples per second to store.
    trim_db
        Batch off both ends of each clip as far as they lie this much below its loudest 20 ms.
    first_seconds
        Keep no more than this of each clip, after trimming.
    cut_seconds
        Batch clips into pieces of this length, a row of the index each, as
        `train.prepare.cutting.pieces_of` does. Pieces of a clip share its group.
    bits
        32 stores floats; 16 integers, at half the size, clipped beyond full scale.
    shares
        Of clips to learn from, to judge by and to test with, as (0.7, 0.15, 0.15): the column
        ``split`` of the index. It may differ from call to call, and so may `seed`.
    seed
        Of the split.
    n_workers
        Threads that decode; one per processor if not given.
    format
        Kind of table, as `read_table` names them; auto tells by its columns.
    progress
        Told what happens.

    Raises
    ------
    UsageError
        If an option cannot be, or the folder is none to prepare into.
    TableError
        If the table is faulty, or not one of its recordings can be read.
    OutputError
        If the folder cannot be written or the disk is full.
    """
    config = CuttingConfig(sample_rate, trim_db, first_seconds, cut_seconds, bits)
    if n_workers is not None and n_workers < 1:
        raise UsageError(f"expected 1 worker or more, got {n_workers}")
    progress = progress or Progress()
    folder = Path(out)
    manifest = open_folder(folder, Path(source), asdict(config))
    clips = read_table(source, format=format)
    _check_index(clips, shares, seed)
    recordings = recordings_of(clips)
    _plan(manifest, folder, recordings)
    todo = [recording for recording in recordings if not _is_there(recording, folder, manifest)]
    manifest.files |= {recording.name: None for recording in todo}
    manifest.save(folder)
    progress.on_start(len(todo), len(recordings) - len(todo))
    job = _Job(folder, config, manifest, progress)
    failures = job.run(todo, n_workers or os.cpu_count() or 1)

    done = [recording for recording in recordings if recording.path not in manifest.failures]
    if not done:
        raise TableError(f"{printable(str(source))}: not one of its recordings can be read.")
    rows, sources = index_rows(done, folder, manifest, config)
    splits, balance = _split(rows, shares, seed)
    write_index(folder / INDEX, rows, splits, sources)
    manifest.finished = True
    manifest.save(folder)
    made = [manifest.made(recording.name) for recording in done]
    return PreparedSummary(
        index=folder / INDEX,
        n_recordings=len(done),
        n_reused=len(recordings) - len(todo),
        n_clips=len(rows),
        audio_seconds=seconds_from_samples(sum(facts.n_samples for facts in made), sample_rate),
        n_bytes=sum(facts.n_bytes for facts in made),
        n_silent=sum(facts.n_silent for facts in made),
        n_clipped=sum(facts.n_clipped for facts in made),
        n_clipped_recordings=sum(facts.n_clipped > 0 for facts in made),
        failures=tuple(failures),
        balance=balance,
    )


def index_rows(
    recordings: Sequence[Recording], out: Path, manifest: Manifest, config: CuttingConfig
) -> tuple[list[Clip], list[str]]:
    """Return the clips of stored recordings, and the file that each was made from."""
    rows, sources = [], []
    rate = config.sample_rate
    for recording in recordings:
        facts = manifest.made(recording.name)
        for i, begin, end in facts.pieces:
            clip = recording.clips[i]
            origin, _ = clip_range(clip, rate)
            is_whole = end - begin == facts.n_samples
            rows.append(
                replace(
                    clip_of_piece(clip, (begin - origin, end - origin), rate),
                    path=str(out / AUDIO / recording.name),
                    begin_seconds=seconds_from_samples(begin - facts.begin, rate),
                    seconds=None if is_whole else seconds_from_samples(end - begin, rate),
                )
            )
            sources.append(recording.path)
    return rows, sources


def _check_index(clips: Sequence[Clip], shares: Sequence[float] | None, seed: int) -> None:
    """Find out now what could not be split or written down in the end."""
    _split(clips, shares, seed)
    with TemporaryDirectory() as folder:
        write_index(Path(folder, INDEX), clips, None, [clip.path for clip in clips])


def _split(
    clips: Sequence[Clip], shares: Sequence[float] | None, seed: int
) -> tuple[list[str] | None, str]:
    """Return the split of each clip and the report of its balance, if a split is asked for."""
    if shares is None:
        return None, ""
    from train.data.folds import (  # torch comes with it, and takes seconds
        balance_report,
        split_clips,
    )

    splits = split_clips(clips, shares, seed=seed)
    return splits, balance_report(clips, splits)


def _plan(manifest: Manifest, out: Path, recordings: Sequence[Recording]) -> None:
    """Add the names of all that is going to be made to the record."""
    new = [recording.name for recording in recordings if recording.name not in manifest.files]
    if in_the_way := [name for name in new if (out / AUDIO / name).exists()]:
        raise UsageError(
            f"{printable(str(out / AUDIO))}: holds files that sed prepare did not make, and would "
            f"overwrite: {some(in_the_way)}. Move them away."
        )
    manifest.files |= dict.fromkeys(new)


def _is_there(recording: Recording, out: Path, manifest: Manifest) -> bool:
    """Return whether a recording is stored whole, from the file and the clips that are now."""
    facts = manifest.files[recording.name]
    try:
        return (
            facts is not None
            and (facts.source_bytes, facts.source_mtime_ns) == stamp(recording.path)
            and facts.spans == recording.spans
            and is_ours(out, recording.name, facts)
        )
    except SedError:  # whoever decodes it says why
        return False


class _Job:
    """Threads that decode, and the record of what they made.

    libsndfile and soxr run without Python's lock, so threads are as fast as processes, and can be
    stopped at any block.
    """

    def __init__(
        self, out: Path, config: CuttingConfig, manifest: Manifest, progress: Progress
    ) -> None:
        self._out = out
        self._config = config
        self._manifest = manifest
        self._progress = progress
        self._stop = threading.Event()
        self._next_save = 0.0

    def run(self, recordings: Sequence[Recording], n_workers: int) -> list[SedError]:
        """Store recordings; return what was wrong with those that could not be."""
        failures: list[SedError] = []
        with ThreadPoolExecutor(n_workers) as pool:
            try:
                futures = {pool.submit(self._store, r): r for r in recordings}
                for future in as_completed(futures):
                    if (error := future.result()) is not None:
                        failures.append(error)
                        self._manifest.failures[futures[future].path] = str(error)
                        self._progress.on_trouble(error)
                    self._save_now_and_then()
            except BaseException:  # Ctrl-C, a full disk: the others are to leave their recordings
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                self._manifest.save(self._out)
                raise
        return failures

    def _store(self, recording: Recording) -> SedError | None:
        """Store a recording and note it; return what is wrong with it, if something is."""
        path = self._out / AUDIO / recording.name
        try:
            made = transcode(recording, path, self._config, self._check)
        except OutputError:
            raise
        except SedError as error:
            return error
        self._manifest.files[recording.name] = made
        self._progress.on_recording(made.n_samples / self._config.sample_rate)
        return None

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _save_now_and_then(self) -> None:
        """Keep the record after each recording, or as often as costs little."""
        if (began := time.monotonic()) < self._next_save:
            return
        self._manifest.save(self._out)
        ended = time.monotonic()
        self._next_save = ended + (ended - began) / _SAVING_SHARE
