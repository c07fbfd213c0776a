"""Sum up the jobs of a scan, report its progress, and list its problems."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from sed.errors import SedError
from sed.files import written_csv
from sed.text import printable, spreadsheet_cell
from streaming.offline.job import JobResult

MAX_FAILURES = 1_000  # in the summary, and as many notices; with a journal, the report has all

_SENTENCES = re.compile(r"(?<=\.) (?=[A-Z])")
_FURTHER = re.compile(r"At \d|And \d|Silence ")  # more of what is wrong


class RecordingProblem(NamedTuple):
    """A row of the table: the recording, and what is wrong, with a remedy in further sentences."""

    path: str
    kind: Literal["failed", "damaged", "notice"]
    message: str


class Totals(NamedTuple):
    """Counts over all recordings of a journal."""

    n_recordings: int
    n_bytes: int
    n_finished: int  # of the recordings
    n_bytes_finished: int
    n_not_requested: int  # waiting in an earlier run, and not requested in this one


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
    n_damaged: int = 0  # of these, analysed but for some damage
    n_notices: int = 0  # recordings with something odd, which is no failure
    notices: list[tuple[str, str]] = field(default_factory=list)  # path and text of the first
    interrupted: str = ""  # recordings in progress at Ctrl-C
    report: Path | None = None  # table of all problems, of a scan with a journal
    n_not_requested: int = 0  # unprocessed recordings of an earlier run, not requested in this one

    def add(self, path: str, result: JobResult) -> None:
        """Count a recording, and its notices; its failure is added with `add_failure`."""
        self.n_files += result.was_opened
        self.n_damaged += result.is_damaged
        self.n_events += len(result.events)
        self.n_embeddings += result.n_embeddings
        self.audio_seconds += result.processed_seconds
        if result.notices:
            self.n_notices += 1
            if len(self.notices) < MAX_FAILURES:
                self.notices.append((path, " ".join(result.notices)))

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


def write_problems(path: Path, problems: Iterable[RecordingProblem]) -> bool:
    """Write a CSV table of problems: file, kind, what, and a remedy; remove it if there are none.

    Parameters
    ----------
    path
        The table.
    problems
        Its rows.

    Returns
    -------
    Whether there are any.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    rest = iter(problems)
    first = next(rest, None)
    if first is None:
        path.unlink(missing_ok=True)
        return False
    with written_csv(path) as rows:
        rows.writerow(("file", "kind", "what", "remedy"))
        for name, kind, message in itertools.chain([first], rest):
            what, remedy = _parted(message.removeprefix(f"{printable(name)}: "))
            rows.writerow(map(spreadsheet_cell, (name, kind, what, remedy)))
    return True


def _parted(message: str) -> tuple[str, str]:
    """Return what is wrong, at all places of a recording, and the remedy."""
    first, _, rest = message.partition(". ")
    sentences = _SENTENCES.split(rest) if rest else []
    what = [first, *(sentence for sentence in sentences if _FURTHER.match(sentence))]
    remedy = [sentence for sentence in sentences if not _FURTHER.match(sentence)]
    return ". ".join(text.removesuffix(".") for text in what), " ".join(remedy)
