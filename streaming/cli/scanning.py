"""Run a scan for a command, and report on standard error how it went."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from sed.errors import FAILED, INTERRUPTED, UsageError
from sed.text import near, pluralize
from streaming.cli.progress import (
    print_notices,
    progress_bar,
    progress_callbacks,
    summary_line,
)

if TYPE_CHECKING:
    from datetime import tzinfo

    from sed.audio.decode import Decoder
    from streaming.offline.executor import Executor
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig

BACKENDS = ("local", "ray")


def parsed_zone(name: str | None) -> tzinfo | None:
    """Return the time zone of an option; None if it is not given.

    Raises
    ------
    UsageError
        If there is no time zone of that name.
    """
    from sed.audio.start_time import time_zone

    return None if name is None else time_zone(name)


@dataclass(frozen=True)
class ScanOptions:
    """Options of commands that process recordings; see `streaming.cli.options`."""

    backend: str = "local"
    workers: int | None = None
    resume: bool = False
    timeout_seconds: float = 60.0
    stdin: Decoder | None = None
    quiet: bool = False

    @property
    def has_journal(self) -> bool:
        """Whether the scan can be resumed."""
        return self.backend == "local" and (self.workers is not None or self.resume)


def raw_stdin(
    recordings: list[str], rate: int | None, encoding: str, n_channels: int
) -> Decoder | None:
    """Return standard input as raw samples; None if no rate is given.

    Raises
    ------
    UsageError
        If standard input is none of the recordings.
    """
    if rate is None:
        return None
    from sed.audio.decode import open_raw_stdin

    if "-" not in recordings:
        raise UsageError("--raw-rate is about standard input: give - as the recording")
    return open_raw_stdin(rate, encoding, n_channels)


def run_scan(job: JobConfig, recordings: list[str], options: ScanOptions) -> None:
    """Process recordings, show progress and errors, and sum up.

    Raises
    ------
    UsageError
        If options do not go together.
    typer.Exit
        If a recording failed, or the scan was interrupted.
    """
    from streaming.offline.scan import Scan

    if options.backend not in BACKENDS:
        raise UsageError(f"unknown backend {options.backend!r}. {near(options.backend, BACKENDS)}")
    if options.backend == "ray" and options.resume:
        raise UsageError("--resume is for one machine: on a cluster, use --skip-existing")
    quiet = options.quiet
    with progress_bar(shown=not quiet and sys.stderr.isatty()) as bar:
        scan = Scan(
            job,
            _executor(options, recordings),
            journal=options.has_journal,
            resume=options.resume,
            callbacks=progress_callbacks(bar),
        )
        summary = scan.run(recordings)
    if summary.n_not_requested and not quiet:
        n_left = pluralize(summary.n_not_requested, "recording")
        print(
            f"{n_left} of an earlier run not processed: name all its folders to process them too",
            file=sys.stderr,
        )
    if not quiet:
        print_notices(summary)
    if summary.report and (summary.n_failures or not quiet):
        print(f"sed: what is wrong or odd is listed in {summary.report}", file=sys.stderr)
    if not quiet:
        print(summary_line(summary, has_events=job.outputs.events), file=sys.stderr)
    if summary.interrupted:
        hint = _resume_hint(job.outputs, has_journal=options.has_journal)
        print(
            f"sed: stopped in {summary.interrupted}; what was finished before is kept{hint}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED)
    if summary.n_failures:
        raise typer.Exit(FAILED)


def _executor(options: ScanOptions, recordings: list[str]) -> Executor:
    """Return what processes the recordings."""
    from sed.audio.decode import is_pipe
    from sed.models.devices import n_cores

    if options.backend == "ray":
        from streaming.offline.cluster import RayExecutor

        return RayExecutor(options.workers)
    if options.has_journal:
        from streaming.offline.workers import ProcessExecutor

        n_workers = n_cores() if options.workers is None else options.workers
        return ProcessExecutor(n_workers, timeout_seconds=options.timeout_seconds)
    from streaming.offline.executor import ThreadExecutor

    return ThreadExecutor(
        n_at_once=1 if any(r == "-" or is_pipe(r) for r in recordings) else n_cores(),
        n_readers=max(1, n_cores() // 2),  # the network needs cores too
        stdin=options.stdin,
    )


def _resume_hint(outputs: OutputConfig, *, has_journal: bool) -> str:
    """Return how to continue an interrupted run."""
    if has_journal:
        where = " in a journal, and written when all is done" if outputs.shared_files else ""
        return f"{where}. The same command with --resume continues"
    if outputs.folder is not None and not outputs.shared_files:
        return ". The same command with --skip-existing continues"
    return ""
