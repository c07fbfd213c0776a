"""Process many recordings, in whatever executor, and sum up.

::

    files and folders ─▶ recordings ─▶ Executor: a job each ─▶ reports ─▶ shared output, progress,
                                                                          journal, summary
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from sed.audio.decode import is_pipe
from sed.audio.find import (
    Recording,
    common_root,
    find_recordings,
    iter_recordings,
    searched_root,
)
from sed.errors import RecordingError, SedError, UsageError
from sed.events.embedding_store.store import Compactor
from sed.events.tracker import Event
from sed.events.writing.writers import EventWriter
from sed.files import remove_parts
from sed.signals import sigterm_as_interrupt
from sed.text import printable, some
from streaming.offline.executor import Executor, ThreadExecutor
from streaming.offline.job import (
    JobFinished,
    JobProgress,
    JobResult,
    JobStarted,
    WorkerFailed,
)
from streaming.offline.job_config import JobConfig, journal_places, result_settings
from streaming.offline.outputs import OutputConfig
from streaming.offline.summary import (
    RecordingProblem,
    ScanCallbacks,
    Summary,
    write_problems,
)

if TYPE_CHECKING:
    from streaming.offline.journal import Journal

IN_ORDER = attrgetter("onset", "offset")  # of events of one recording


class Scan:
    """Processes many recordings and writes their results.

    A recording that cannot be read, or whose results cannot be written, costs only itself.

    With a journal a scan can be killed at any moment and resumed: no recording is finished twice,
    none is left out, and no output is partial. The journal, ``.sed-journal.sqlite``, is in the
    output folder, as is ``problems.csv`` if something failed or is odd. For an output file,
    ``birds.csv``, they are ``.birds.csv.sed-journal.sqlite`` and ``birds.csv.problems.csv``; the
    file is then written in the end, in the order of the names of the recordings.

    Parameters
    ----------
    job
        How recordings are processed, and what is written.
    executor
        Where the jobs run; in a thread of this process if not given.
    journal
        Keep a journal.
    resume
        Continue an earlier run with a journal; without this, its journal is refused.
    callbacks
        Called as the scan proceeds.

    Raises
    ------
    UsageError
        If the outputs do not go with several recordings or with a journal.
    """

    def __init__(
        self,
        job: JobConfig,
        executor: Executor | None = None,
        *,
        journal: bool = False,
        resume: bool = False,
        callbacks: ScanCallbacks | None = None,
    ) -> None:
        executor = executor or ThreadExecutor()
        if (journal or resume) and not executor.allows_journal:
            raise UsageError(
                "a journal is for one machine: leave out --resume; with an output folder, "
                "--skip-existing continues an earlier run on a cluster"
            )
        self.summary = Summary()
        self._job = job
        self._executor = executor
        self._places = journal_places(job.outputs) if journal or resume else None
        self._resume = resume
        self._callbacks = callbacks or ScanCallbacks()
        self._running: dict[str, Recording] = {}  # by name, in the order of their start
        self._progress: dict[str, JobProgress] = {}  # of running recordings
        self._events: dict[str, list[Event]] = {}  # of running recordings
        self._writer: EventWriter | None = None  # of the events of all recordings
        self._n_bytes_finished = 0
        self._compactor: Compactor | None = None

    def run(self, sources: Iterable[str | os.PathLike[str]]) -> Summary:
        """Process all recordings in files and folders.

        Ctrl-C or SIGTERM ends the scan within about a second; what is finished is kept.

        Parameters
        ----------
        sources
            Files and folders; ``-`` is standard input, for an executor that reads it.

        Raises
        ------
        UsageError
            If a setting is invalid, an earlier journal does not allow this run, or the output
            format is about one recording and there are several.
        SedError
            If the model cannot be loaded, no worker can start, or the journal or an output of all
            recordings cannot be written.
        """
        started = time.perf_counter()
        paths = [os.fspath(source) for source in sources]
        pipe = next((path for path in paths if path == "-" or is_pipe(path)), None)
        if pipe is not None and not self._executor.reads_stdin:
            name = "standard input" if pipe == "-" else f"{printable(pipe)}, a pipe,"
            raise UsageError(
                f"{name} cannot be read by worker processes or a cluster: give files or folders"
            )
        embeddings = self._job.outputs.embeddings
        if embeddings is not None and embeddings.store is not None:
            self._compactor = Compactor(embeddings.store)
        with sigterm_as_interrupt():
            if self._places is None:
                self._run(paths)
            else:
                self._run_with_journal(paths, *self._places)
            if self._compactor:
                # An interruption ends the scan at once: the next run merges.
                self._compactor.close(merge=not self.summary.interrupted)
        self.summary.wall_seconds = time.perf_counter() - started
        return self.summary

    def _run(self, sources: Sequence[str]) -> None:
        outputs = self._know_root(searched_root(sources))
        found, unreadable = find_recordings(sources)
        recordings = [r for r in found if not (outputs.skip_existing and outputs.exist(r))]
        self.summary.n_skipped = len(found) - len(recordings)
        if len(found) > 1:
            outputs.check_shared()
        for unread in unreadable:
            self._add_failure(unread)
        self._remove_parts(found)
        spec = self._executor.start(self._job)
        self._callbacks.on_start(len(recordings), sum(r.n_bytes for r in recordings))
        with outputs.open_shared(spec) as writer:
            try:
                missing = self._still_missing(recordings)
                self._process(missing, len(recordings), writer=writer)
            except KeyboardInterrupt:
                self._interrupt()
            for error in self._executor.close():
                self._add_failure(error)

    def _know_root(self, root: str) -> OutputConfig:
        """Let the outputs know which folder holds the sites."""
        outputs = dataclasses.replace(self._job.outputs, root=root)
        self._job = dataclasses.replace(self._job, outputs=outputs)
        return outputs

    def _still_missing(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        """Yield recordings; skip those that another run into the same folder has finished."""
        outputs = self._job.outputs
        for recording in recordings:
            if outputs.skip_existing and outputs.exist(recording):
                self.summary.n_skipped += 1
                self._n_bytes_finished += recording.n_bytes
            else:
                yield recording

    def _run_with_journal(self, sources: Sequence[str], path: Path, report_path: Path) -> None:
        # Loading sqlite3 takes time that a scan without a journal need not spend.
        from streaming.offline.journal import Journal

        with Journal(path) as journal:
            self._clean_up(journal)
            unreadable: list[RecordingError] = []
            try:
                root = journal.begin(
                    result_settings(self._job), common_root(sources), resume=self._resume
                )
                self._know_root(root if root != common_root(sources) else searched_root(sources))
                # One after the other: an archive need not fit into memory.
                recordings = iter_recordings(sources, root, unreadable)
                journal.plan(recordings, self._job.outputs.exist, self._add_damage)
                for unread in unreadable:
                    self._add_failure(unread)
                totals = journal.totals()
                self.summary.n_skipped = totals.n_finished
                self.summary.n_not_requested = totals.n_not_requested
                self._n_bytes_finished = totals.n_bytes_finished
                spec = self._executor.start(self._job)
                self._callbacks.on_start(totals.n_recordings, totals.n_bytes)
                n_recordings = totals.n_recordings - totals.n_finished
                self._process(journal.waiting(), n_recordings, journal=journal)
                if self._job.outputs.shared_files:
                    with self._job.outputs.open_shared(spec) as writer:
                        _write_all(writer, journal.events())
            except KeyboardInterrupt:
                self._interrupt()
            for error in self._executor.close():
                self._add_failure(error)
            self._clean_up(journal)
            unread_problems = (RecordingProblem(e.path, "failed", str(e)) for e in unreadable)
            problems = itertools.chain(unread_problems, journal.problems())
            if write_problems(report_path, problems):
                self.summary.report = report_path

    def _process(
        self,
        recordings: Iterator[Recording],
        n_recordings: int,
        *,
        writer: EventWriter | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Run a job for each recording; write its events, to the shared output or the journal."""
        if not n_recordings:
            return
        self._writer = writer
        with closing(self._executor.run(recordings, n_recordings)) as reports, self._all_written():
            for report in reports:
                match report:
                    case JobStarted(recording):
                        self._running[recording.name] = recording
                        if journal:
                            journal.start(recording)
                    case JobProgress(recording, _, _, events):
                        self._progress[recording.name] = dataclasses.replace(report, events=())
                        self.summary.n_events += len(events)
                        self._add_events(recording, events, journal)
                        self._report_progress()
                    case JobFinished(recording, result):
                        self._add_events(recording, result.events, journal)
                        self._finish(recording, result, journal)
                    case WorkerFailed(reason):
                        self._callbacks.on_error(SedError(f"{reason} The other workers continue."))

    @contextmanager
    def _all_written(self) -> Iterator[None]:
        """Write events of recordings in work when the scan is stopped."""
        try:
            yield
        finally:
            for events in self._events.values():
                _write_all(self._writer, sorted(events, key=IN_ORDER))

    def _add_events(
        self, recording: Recording, events: Sequence[Event], journal: Journal | None
    ) -> None:
        if journal or self._job.outputs.shared_files:  # sorted when it is finished
            self._events.setdefault(recording.name, []).extend(events)
        else:
            _write_all(self._writer, events)

    def _finish(self, recording: Recording, result: JobResult, journal: Journal | None) -> None:
        self._running.pop(recording.name, None)
        self._progress.pop(recording.name, None)
        events = tuple(sorted(self._events.pop(recording.name, ()), key=IN_ORDER))
        _write_all(self._writer, events)
        if journal:
            journal.finish(recording, dataclasses.replace(result, events=events))
            if result.failure is not None:
                # A process that was killed has left its unfinished outputs.
                self._remove_parts([recording])
        if self._compactor:
            self._compactor.add()
        self._n_bytes_finished += recording.n_bytes
        self.summary.add(recording.path, result)
        if result.failure is not None:
            self._add_failure(result.failure)
        self._report_progress()

    def _report_progress(self) -> None:
        running = self._progress.values()
        self._callbacks.on_progress(
            self._n_bytes_finished + sum(p.share * p.recording.n_bytes for p in running),
            self.summary.audio_seconds + sum(p.seconds for p in running),
        )

    def _add_failure(self, error: SedError) -> None:
        self.summary.add_failure(error)
        self._callbacks.on_error(error)

    def _add_damage(self, error: SedError) -> None:
        """Count the damage of a recording that an earlier run has analysed."""
        self.summary.n_damaged += 1
        self._add_failure(error)

    def _interrupt(self) -> None:
        # Without a journal the recordings in progress are processed up to here.
        if self._places is None:
            self.summary.n_files += len(self._progress)
            self.summary.audio_seconds += sum(p.seconds for p in self._progress.values())
        paths = [recording.path for recording in self._running.values()]
        self.summary.interrupted = some(paths, 3) or "between recordings"

    def _clean_up(self, journal: Journal) -> None:
        """Return recordings that were started and not finished to the list."""
        started = journal.started()
        self._remove_parts(started)
        for recording in started:
            journal.undo(recording)

    def _remove_parts(self, recordings: Sequence[Recording]) -> None:
        """Remove unfinished outputs of killed processes."""
        outputs = self._job.outputs
        paths = [path for recording in recordings for path in outputs.paths(recording)]
        paths += [path for path, _ in outputs.shared_files]
        paths += [outputs.pages_folder(r) for r in recordings if outputs.plot]
        remove_parts([*paths, *(self._places or ())])


def _write_all(writer: EventWriter | None, events: Iterable[Event]) -> None:
    if writer is not None:
        for event in events:
            writer.write(event)
