"""Sum up the jobs of a scan, report its progress, and list what failed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sed.errors import SedError
from sed.files import written_whole
from sed.text import printable
from streaming.offline.job import JobResult

MAX_FAILURES = 1_000  # in the summary; with a journal, the report has all


@dataclass
class Summary:
    """What became of the recordings of a scan."""

    n_files: int = 0  # analysed, whole or up to some damage
    n_skipped: int = 0  # had results already
    n_events: int = 0
    n_embeddings: int = 0
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0
    n_failures: int = 0  # recordings that failed, also in part, and other problems
    failures: list[SedError] = field(default_factory=list)  # the first `MAX_FAILURES`
    interrupted: str = ""  # recordings in progress at Ctrl-C
    report: Path | None = None  # table of all failures, of a scan with a journal
    n_not_requested: int = 0  # unprocessed recordings of an earlier run, not requested in this one

    def add(self, result: JobResult) -> None:
        """Count a recording; its failure is added with `add_failure`."""
        self.n_files += result.was_opened
        self.n_events += len(result.events)
        self.n_embeddings += result.n_embeddings
        self.audio_seconds += result.processed_seconds

    def add_failure(self, error: SedError) -> None:
        """Count a failure and keep it, if it is one of the first."""
        self.n_failures += 1
        if len(self.failures) < MAX_FAILURES:
            # A traceback would keep the recording's data in memory.
            error = error.with_traceback(None)
            error.__cause__ = error.__context__ = None
            self.failures.append(error)

    @property
    def times_real_time(self) -> float:
        """Seconds of audio per second of processing."""
        return self.audio_seconds / max(self.wall_seconds, 1e-9)


@dataclass(frozen=True)
class ScanCallbacks:
    """Functions that are called during a scan."""

    on_start: Callable[[int, int], None] = lambda *_: None  # recordings and bytes in all
    on_progress: Callable[[float, float], None] = lambda *_: None  # bytes and seconds so far
    on_error: Callable[[SedError], None] = lambda _: None  # as it occurs


def write_report(path: Path, failures: Iterable[tuple[str, str]]) -> None:
    """Write a CSV table of failures: file, what was wrong, and a remedy.

    Parameters
    ----------
    path
        The table.
    failures
        Paths and messages: the path, what was wrong, and in further sentences the remedy.

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
