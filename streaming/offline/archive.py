"""A whole archive, heard by several processes, that goes on where it was killed.

In a folder for results there are afterwards, beside the results of each recording,
``.sed-journal.sqlite``, and ``failures.csv`` if something failed. For one file of results,
``birds.csv``, they are ``.birds.csv.sed-journal.sqlite`` and ``birds.csv.failures.csv``.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sed.audio.find import Recording, common_root, iter_recordings
from sed.errors import RecordingError, SedError, UsageError
from sed.files import written_whole
from sed.models.metadata import DEFAULT, checkpoint_files
from sed.text import printable, some
from streaming.offline.job import Hearer, JobConfig
from streaming.offline.journal import Journal
from streaming.offline.outputs import OutputConfig
from streaming.offline.scan import Progress, Summary
from streaming.offline.workers import (
    TIMEOUT_SECONDS,
    Fewer,
    Finished,
    Heard,
    MakeHearer,
    Ready,
    Report,
    Started,
    Workers,
)

JOURNAL = ".sed-journal.sqlite"
FAILURES = "failures.csv"
MOST_FAILURES_KEPT = 1_000  # in the summary; all are in the report


@dataclass
class ArchiveSummary(Summary):
    """What became of an archive; its `failures` are the first ones."""

    n_failures: int = 0
    report: Path | None = None  # where all of them are written
    n_left: int = 0  # recordings of an earlier run that were not asked for, and not heard


class ArchiveScan:
    """Listens to the recordings of an archive, in several processes.

    It can be killed at any moment, and run again: no recording is finished twice, none is left out,
    and no result is there in part. What crashes a process, or makes it hang, costs itself alone.

    Parameters
    ----------
    settings
        What is heard with, and what is written about each recording. OutputConfig that are one file are
        a table of all events, in the order of the names of the recordings.
    n_workers
        Processes that hear.
    resume
        Go on with what an earlier run left; without it, that is refused.
    timeout_seconds
        How long a process may say nothing about its recording until it is ended.
    progress
        Told what happens.
    on_engine
        Told what runs the model, once the first worker is ready.
    make_hearer
        What hears, in the place of a `Hearer`.

    Raises
    ------
    UsageError
        If the results go nowhere, or into a file that has no room for the names of recordings.
    """

    def __init__(
        self,
        settings: JobConfig,
        *,
        n_workers: int = 1,
        resume: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        progress: Progress | None = None,
        on_engine: Callable[[str], None] = lambda _: None,
        make_hearer: MakeHearer = Hearer,
    ) -> None:
        if n_workers < 1:
            raise UsageError(f"expected workers of 1 or more, got {n_workers}")
        if not timeout_seconds > 0:
            raise UsageError(f"expected a timeout above 0 s, got {timeout_seconds:g}")
        if settings.results.skip_existing:
            raise UsageError(
                "--skip-existing is not for --workers: --resume knows what is finished"
            )
        self.summary = ArchiveSummary()
        self._settings = settings
        self._n_workers = n_workers
        self._resume = resume
        self._timeout_seconds = timeout_seconds
        self._progress = progress or Progress()
        self._on_engine = on_engine
        self._journal_path, self._report_path = _places(settings.results)
        if settings.results.folder is None:
            settings.results.check_shared()
        self._make_hearer = make_hearer
        self._unsearched: list[RecordingError] = []
        self._heard: dict[str, Heard] = {}  # by the names of what is being heard
        self._n_bytes_finished = 0

    def run(self, sources: Iterable[str | os.PathLike[str]]) -> ArchiveSummary:
        """Listen to all recordings that files and folders name and that are not finished yet.

        Ctrl-C, or SIGTERM, ends it; what is finished is kept.

        Raises
        ------
        UsageError
            If there are results already, or of other settings; or if a worker finds a setting that
            cannot be.
        SedError
            If no worker can start, or if the journal or a table cannot be written.
        """
        began = time.perf_counter()
        with Journal(self._journal_path) as journal, _sigterm_as_ctrl_c():
            self._clean_up(journal)
            try:
                self._plan(journal, [os.fspath(source) for source in sources])
                self._hear(journal)
                self._write_table(journal)
            except KeyboardInterrupt:
                paths = [recording.path for recording in journal.started()]
                self.summary.interrupted = some(paths, 3) or "between recordings"
            self._clean_up(journal)
            self._report(journal)
        self.summary.wall_seconds = time.perf_counter() - began
        return self.summary

    def _write_table(self, journal: Journal) -> None:
        """Write the one table of all events, if there is to be one."""
        results = self._settings.results
        if results.shared_file is None:
            return
        with results.open_shared() as writer:
            assert writer is not None
            for event in journal.events():
                writer.write(event)

    def _plan(self, journal: Journal, sources: list[str]) -> None:
        """Put on the list what there is, in bounded memory."""
        if "-" in sources:
            raise UsageError("standard input cannot be heard by --workers: give files or folders")
        root = journal.begin(asked_of(self._settings), common_root(sources), resume=self._resume)
        journal.plan(iter_recordings(sources, root, self._unsearched))
        for error in self._unsearched:
            self._trouble(error)
        totals = journal.totals()
        self.summary.n_skipped, self.summary.n_left = totals.n_finished, totals.n_left
        self._n_bytes_finished = totals.n_bytes_finished
        self._progress.on_start(totals.n_recordings, totals.n_bytes)

    def _hear(self, journal: Journal) -> None:
        totals = journal.totals()
        workers = Workers(
            self._settings,
            min(self._n_workers, totals.n_recordings - totals.n_finished),
            timeout_seconds=self._timeout_seconds,
            make_hearer=self._make_hearer,
        )
        with closing(workers.hear_all(journal.waiting())) as reports:
            for report in reports:
                self._note(journal, report)

    def _note(self, journal: Journal, report: Report) -> None:
        match report:
            case Ready(engine):
                self._on_engine(engine)
                self._on_engine = lambda _: None
            case Fewer(reason):
                self._progress.on_trouble(SedError(f"{reason} The other workers go on."))
            case Started(recording):
                journal.start(recording)
            case Heard(recording):
                self._heard[recording.name] = report
                self._tell_progress()
            case Finished():
                self._finish(journal, report)

    def _finish(self, journal: Journal, finished: Finished) -> None:
        recording, outcome = finished.recording, finished.outcome
        journal.finish(recording, outcome)
        self._heard.pop(recording.name, None)
        self._n_bytes_finished += recording.n_bytes
        self.summary.n_files += bool(outcome.processed_seconds or not outcome.failure)
        self.summary.n_events += len(outcome.events)
        self.summary.audio_seconds += outcome.processed_seconds
        if outcome.failure:
            self._remove_parts(recording)
            self._trouble(SedError(outcome.failure))
        self._tell_progress()

    def _tell_progress(self) -> None:
        now = self._heard.values()
        self._progress.on_progress(
            self._n_bytes_finished + sum(h.share * h.recording.n_bytes for h in now),
            self.summary.audio_seconds + sum(h.seconds for h in now),
        )

    def _trouble(self, error: SedError) -> None:
        self.summary.n_failures += 1
        if len(self.summary.failures) < MOST_FAILURES_KEPT:
            self.summary.failures.append(error)
        self._progress.on_trouble(error)

    def _clean_up(self, journal: Journal) -> None:
        """Put what was started and not finished back on the list, and remove its parts."""
        for recording in journal.started():
            self._remove_parts(recording)
            journal.undo(recording)

    def _remove_parts(self, recording: Recording) -> None:
        """Remove what a process that was killed while it wrote could not; see `written_whole`."""
        for path in self._settings.results.paths(recording):
            for part in glob.iglob(f".{glob.escape(path.name)}.*.part*", root_dir=path.parent):
                (path.parent / part).unlink(missing_ok=True)

    def _report(self, journal: Journal) -> None:
        """Write down what failed, in this run or in an earlier one, or that nothing did."""
        unsearched = ((error.path, str(error)) for error in self._unsearched)
        failures = itertools.chain(unsearched, journal.failures())
        first = next(failures, None)
        if first is None:
            with suppress(FileNotFoundError):
                self._report_path.unlink()
            return
        write_report(self._report_path, itertools.chain([first], failures))
        self.summary.report = self._report_path


def asked_of(settings: JobConfig) -> dict[str, str]:
    """Return what the results depend on, by the names of the options."""
    results = settings.results
    asked = asdict(settings.config) | {
        "format": ",".join(sorted(results.formats)),
        "plot": results.plot,
        "time_zone": None if results.zone is None else str(results.zone),
        "engine": settings.engine,
        "precision": settings.precision,
        "channel": settings.channel,
    }
    del asked["batch_size"]  # for speed alone
    return {
        "model": _checksum(settings.model),
        **{
            name.replace("_", "-"): "default" if value is None else json.dumps(value)
            for name, value in asked.items()
        },
    }


def write_report(path: Path, failures: Iterable[tuple[str, str]]) -> None:
    """Write a table of what failed: the file, what was wrong, and what to do about it.

    Parameters
    ----------
    path
        Where to.
    failures
        Paths and messages, which name the path, say what was wrong, and end with what to do.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with (
        written_whole(path) as part,
        open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("file", "what", "remedy"))
        for name, message in failures:
            what, _, remedy = message.removeprefix(f"{printable(name)}: ").partition(". ")
            rows.writerow((name, what, remedy))


def _places(results: OutputConfig) -> tuple[Path, Path]:
    """Return where the journal and the report of failures go."""
    if results.folder is not None:
        return results.folder / JOURNAL, results.folder / FAILURES
    if results.output is None:
        raise UsageError("--workers and --resume keep a journal beside the results: give --output")
    output = Path(results.output)
    return (
        output.with_name(f".{output.name}{JOURNAL}"),
        output.with_name(f"{output.name}.{FAILURES}"),
    )


def _checksum(model: str | None) -> str:
    """Return what tells models apart: the first digits of the checksum of their files."""
    digest = hashlib.sha256()
    path = Path(model or DEFAULT)
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []  # of a graph
    for file in sorted({*checkpoint_files(model), path, *weights}):
        with suppress(OSError), open(file, "rb") as opened:  # who loads it says what is wrong
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:12]


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, where signals can be taken at all: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
