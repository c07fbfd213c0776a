"""What models say about recordings that nobody labelled: tables, submissions, pseudo-labels."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from sed.audio.blocks import read_blocks
from sed.audio.decode import open_recording
from sed.audio.find import find_recordings
from sed.errors import DamagedRecordingError, OutputError, RecordingError, SedError, UsageError
from sed.files import written_whole
from sed.models.checkpoint import load_checkpoint
from sed.text import near, printable
from sed.types import Floats
from train.data.soft import write_soft_labels
from train.evaluate.ensemble import Ensemble, Heard, Piece

SUBMISSIONS = ("birdclef", "urban", "freesound")
BIRDCLEF_SECONDS = 5.0  # from one row to the next
FREESOUND_LABELS = 3  # in a row, the likeliest first


@dataclass
class PredictSummary:
    """What became of a batch of recordings."""

    n_recordings: int = 0
    n_windows: int = 0  # heard
    n_filled: int = 0  # rows of a submission that stand for what could not be heard
    audio_seconds: float = 0.0
    failures: list[SedError] = field(default_factory=list)  # also of recordings heard in part


@dataclass(frozen=True)
class Progress:
    """Told what happens; each of them may be anything that takes these arguments."""

    on_progress: Callable[[int, int, float], None] = lambda *_: None  # recordings, all, seconds
    on_trouble: Callable[[SedError], None] = lambda _: None  # with a recording, as it comes


def predict(
    checkpoints: Sequence[str | os.PathLike[str]],
    sources: Iterable[str | os.PathLike[str]],
    *,
    submission: str | None = None,
    soft: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    tta: int = 1,
    blend: str = "arithmetic",
    device: str = "auto",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> PredictSummary:
    """Write what models, blended, say about recordings of any length.

    Recordings are heard in windows one after the other. Those that cannot be read are passed over
    and told; in a submission the rows that they lack hold the mean of all others and come last,
    so that it is complete.

    Parameters
    ----------
    checkpoints
        Models of one class list, or run directories that hold them as ``best``.
    sources
        Recordings, and folders that are searched whole for them.
    submission
        ``birdclef`` has a row every 5 s (``row_id`` is the file without its ending and the second
        at which they end), ``urban`` a row per recording (``ID,Class``), ``freesound`` too
        (``fname,label``, three labels with spaces between them, spaces in them made ``_``). If not
        given, each window has a row: file, begin, end, and the probability of each class.
    soft
        A table (NAME.csv) of pseudo-labels that `sed train` takes, see `train.data.soft`. They are held
        in memory until the end. Without submission and output nothing else is written.
    output
        The file to write; standard output if not given.
    tta, blend, device, batch_size
        See `train.evaluate.ensemble.Ensemble`.
    progress
        Told what happens.

    Raises
    ------
    UsageError
        If the models do not fit one another or the submission, or several recordings would have
        the same name in it.
    RecordingError
        If there is no recording at all.
    OutputError
        If a file cannot be written.
    """
    if submission is not None and submission not in SUBMISSIONS:
        raise UsageError(f"unknown submission {submission!r}. {near(submission, SUBMISSIONS)}")
    if soft is not None and Path(soft).suffix.lower() != ".csv":  # not after hours of hearing
        raise UsageError(f"{printable(os.fspath(soft))}: expected a table to write, NAME.csv")
    recordings, troubles = find_recordings(sources)
    paths = [recording.path for recording in recordings]
    if not paths:
        raise troubles[0] if troubles else UsageError("expected at least one recording")
    ensemble = Ensemble(
        [load_checkpoint(path) for path in checkpoints],
        tta=tta,
        blend=blend,
        device=device,
        batch_size=batch_size,
    )
    if submission is not None:
        _check_submission(submission, ensemble, paths)
    job = _Job(ensemble, paths, submission, progress or Progress())
    for error in troubles:
        job.trouble(error)
    pseudo_labels = _PseudoLabels(len(ensemble.frame_edges()) - 1) if soft is not None else None
    if soft is not None and submission is None and output is None:
        job.run(None, pseudo_labels)
    else:
        with _opened(output) as file:
            job.run(csv.writer(file, lineterminator="\n").writerow, pseudo_labels)
    if soft is not None and pseudo_labels is not None:
        pseudo_labels.write(soft, paths, ensemble.labels)
    return job.summary


class _Job:
    """Hears recordings and writes rows about them."""

    def __init__(
        self, ensemble: Ensemble, paths: Sequence[str], submission: str | None, progress: Progress
    ) -> None:
        self.summary = PredictSummary(n_recordings=len(paths))
        self._ensemble = ensemble
        self._paths = paths
        self._submission = submission
        self._per_recording = submission in ("urban", "freesound")
        self._progress = progress
        self._failed: dict[int, SedError] = {}  # also of recordings heard in part
        self._n_rows = [0] * len(paths)
        self._sum = np.zeros(len(ensemble.labels))  # of the probabilities in all rows

    def run(self, write: Callable[[list[str]], object] | None, soft: _PseudoLabels | None) -> None:
        """Hear everything once."""
        if write is not None:
            write(self._header())
        heard_all = self._ensemble.hear(self._pieces())
        for source, pieces in groupby(heard_all, key=lambda heard: heard.source):
            highest = np.zeros(len(self._ensemble.labels), np.float32)
            for heard in pieces:
                highest = np.maximum(highest, heard.clip_probs)
                self._count(heard)
                if soft is not None:
                    soft.take(heard)
                if write is not None and not self._per_recording:
                    write(self._row(source, heard.clip_probs, heard.seconds))
            if write is not None and self._per_recording:
                write(self._row(source, highest))
        if write is not None and self._submission is not None:
            self._fill(write)

    def trouble(self, error: SedError, source: int | None = None) -> None:
        """Note what is wrong with a recording, or with a folder of them."""
        if source is not None:
            self._failed[source] = error
        self.summary.failures.append(error)
        self._progress.on_trouble(error)

    def _pieces(self) -> Iterator[Piece]:
        for i, path in enumerate(self._paths):
            try:
                rates = self._ensemble.rates
                yield from self._ensemble.cut(i, {rate: read_blocks(path, rate) for rate in rates})
            except SedError as error:
                self.trouble(error, i)

    def _count(self, heard: Heard) -> None:
        self.summary.n_windows += 1
        self.summary.audio_seconds += heard.seconds
        self._progress.on_progress(heard.source + 1, len(self._paths), self.summary.audio_seconds)

    def _header(self) -> list[str]:
        if self._submission == "urban":
            return ["ID", "Class"]
        if self._submission == "freesound":
            return ["fname", "label"]
        first = ["file", "begin", "end"] if self._submission is None else ["row_id"]
        return [*first, *self._ensemble.labels]

    def _row(self, source: int, probs: Floats, seconds: float = 0.0) -> list[str]:
        """Return the next row about a recording, and remember that it is written."""
        begin = self._n_rows[source] * self._ensemble.window_seconds
        self._n_rows[source] += 1
        self._sum += probs
        path, labels = Path(self._paths[source]), self._ensemble.labels
        if self._submission == "urban":
            return [path.stem, labels[int(np.argmax(probs))]]
        if self._submission == "freesound":
            best = np.argsort(-probs, kind="stable")[:FREESOUND_LABELS]
            return [path.name, " ".join(labels[int(c)].replace(" ", "_") for c in best)]
        cells = [f"{p:.6g}" for p in probs]
        if self._submission == "birdclef":
            return [f"{path.stem}_{begin + BIRDCLEF_SECONDS:.0f}", *cells]
        return [self._paths[source], f"{begin:.3f}", f"{begin + seconds:.3f}", *cells]

    def _fill(self, write: Callable[[list[str]], object]) -> None:
        """Write the rows that recordings lack which could not be read to their end."""
        n_rows = sum(self._n_rows)
        n_classes = len(self._ensemble.labels)
        mean = self._sum / n_rows if n_rows else np.full(n_classes, 1 / n_classes)
        for source in sorted(self._failed):
            for _ in range(self._n_rows[source], self._rows_due(source)):
                write(self._row(source, mean.astype(np.float32)))
                self.summary.n_filled += 1

    def _rows_due(self, source: int) -> int:
        """Return how many rows there would be about a recording that could not be read whole.

        As many as its header promises; if it was heard as far as that, or has none, as many as
        most others have.
        """
        n_rows = self._n_rows[source]
        damaged = isinstance(self._failed[source], DamagedRecordingError)
        if self._per_recording:
            return 1
        if n_rows and not damaged:  # strange sound, heard to its end
            return n_rows
        promised = self._promised_rows(source)
        if promised > n_rows:
            return promised
        whole = Counter(n for i, n in enumerate(self._n_rows) if i not in self._failed)
        return whole.most_common(1)[0][0] if whole else max(1, n_rows)

    def _promised_rows(self, source: int) -> int:
        """Return how many windows a recording has by its header, 0 if that does not say."""
        try:
            with closing(open_recording(self._paths[source])) as decoder:
                n_samples, rate = decoder.n_samples, decoder.sample_rate
        except SedError:
            return 0
        return self._ensemble.n_pieces(n_samples / rate) if n_samples else 0


class _PseudoLabels:
    """Gathers what is heard for a table of soft labels."""

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self._heard: list[Heard] = []
        self._frame_probs: list[NDArray[np.float16]] = []

    def take(self, heard: Heard) -> None:
        """Keep what was said about a piece, its frames laid evenly over what was heard."""
        frames = heard.frame_probs
        of = (np.arange(self._n_frames) * len(frames)) // self._n_frames
        self._frame_probs.append(frames[of].astype(np.float16))
        without_frames = np.empty((0, frames.shape[1]), np.float32)
        self._heard.append(
            Heard(
                heard.source, heard.begin_seconds, heard.seconds, heard.clip_probs, without_frames
            )
        )

    def write(
        self, path: str | os.PathLike[str], files: Sequence[str], labels: Sequence[str]
    ) -> None:
        """Write the table.

        Raises
        ------
        RecordingError
            If nothing was heard.
        """
        if not self._heard:
            raise RecordingError(path, "is not written: no recording could be heard.")
        write_soft_labels(
            path,
            [files[heard.source] for heard in self._heard],
            [heard.begin_seconds for heard in self._heard],
            [heard.seconds for heard in self._heard],
            labels,
            np.stack([heard.clip_probs for heard in self._heard]),
            np.stack(self._frame_probs),
        )


def _check_submission(submission: str, ensemble: Ensemble, paths: Sequence[str]) -> None:
    """Refuse models and recordings that rows cannot be written about."""
    if submission == "birdclef" and ensemble.window_seconds != BIRDCLEF_SECONDS:
        raise UsageError(
            f"birdclef has a row every {BIRDCLEF_SECONDS:g} s, and these models hear "
            f"{ensemble.window_seconds:g} s at a time. Give models with windows of "
            f"{BIRDCLEF_SECONDS:g} s"
        )
    name = "name" if submission == "freesound" else "stem"
    counts = Counter(str(getattr(Path(path), name)) for path in paths)
    if several := sorted(n for n, count in counts.items() if count > 1):
        shown = ", ".join(printable(n) for n in several[:10]) + " …" * (len(several) > 10)
        raise UsageError(
            f"{submission} names recordings without their folders"
            f"{' and endings' * (name == 'stem')}, and there are several of: {shown}"
        )


@contextmanager
def _opened(output: str | os.PathLike[str] | None) -> Iterator[TextIO]:
    """Open a file that is written whole, or standard output."""
    if output is not None:
        with (
            written_whole(output) as part,
            open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            yield file
        return
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError("standard output", error) from error
