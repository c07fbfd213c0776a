"""Predict recordings window by window: tables, submissions and pseudo-labels."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from sed.audio.blocks import read_blocks
from sed.audio.decode import open_recording
from sed.audio.find import find_recordings
from sed.errors import DamagedRecordingError, OutputError, RecordingError, SedError, UsageError
from sed.files import refuse_to_replace, written_whole
from sed.models.checkpoint import load_checkpoint
from sed.text import near, printable
from sed.types import Floats
from train.data.pseudo_labels import write_pseudo_labels
from train.evaluate.ensemble import Ensemble, WindowInput, WindowPrediction

SUBMISSIONS = ("birdclef", "urban", "freesound")
BIRDCLEF_SECONDS = 5.0  # from one row to the next
FREESOUND_LABELS = 3  # labels per row, the most likely first

OnProgress = Callable[[int, int, float], None]  # recordings done, in all, seconds of sound
OnError = Callable[[SedError], None]
WriteRow = Callable[[list[str]], object]


@dataclass
class PredictSummary:
    """Counts of recordings, windows and failures."""

    n_recordings: int = 0
    n_windows: int = 0  # predicted
    n_imputed: int = 0  # rows of a submission for windows that could not be read
    audio_seconds: float = 0.0
    failures: list[SedError] = field(default_factory=list)  # also of recordings read in part


def predict(
    checkpoints: Sequence[str | os.PathLike[str]],
    sources: Iterable[str | os.PathLike[str]],
    *,
    submission: str | None = None,
    pseudo_labels: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    tta: int = 1,
    blend: str = "arithmetic",
    device: str = "auto",
    batch_size: int = 32,
    on_progress: OnProgress | None = None,
    on_error: OnError | None = None,
) -> PredictSummary:
    """Predict recordings of any length with an ensemble of models, and write the probabilities.

    Recordings are processed in consecutive windows. Those that cannot be read are reported and
    skipped. A submission is complete all the same: the rows that are missing come last and hold the
    mean of all others.

    Parameters
    ----------
    checkpoints
        Models of one class list, or run directories, of which ``best`` is used.
    sources
        Recordings, and folders that are searched for them.
    submission
        ``birdclef`` has a row every 5 s (``row_id`` is the file without its suffix and the second
        at which the window ends), ``urban`` a row per recording (``ID,Class``), ``freesound`` too
        (``fname,label``, three labels separated by spaces, with ``_`` for spaces in them). If not
        given, each window has a row: file, start, end, and the probability of each class.
    pseudo_labels
        A table (NAME.csv) of pseudo-labels for `train` to write, see `train.data.pseudo_labels`;
        they are held in memory until the end. Without submission and output nothing else is
        written.
    output
        The file to write; standard output if not given.
    tta, blend, device, batch_size
        See `train.evaluate.ensemble.Ensemble`.
    on_progress
        Called after each window with the number of recordings done and in all, and the seconds of
        sound predicted.
    on_error
        Called with the error of each recording that cannot be read whole.

    Raises
    ------
    UsageError
        If the models cannot be blended or do not fit the submission, or several recordings would
        have the same name in it.
    RecordingError
        If there is no recording.
    OutputError
        If a file cannot be written.
    """
    if submission is not None and submission not in SUBMISSIONS:
        raise UsageError(f"unknown submission {submission!r}. {near(submission, SUBMISSIONS)}")
    if pseudo_labels is not None and Path(pseudo_labels).suffix.lower() != ".csv":
        name = printable(os.fspath(pseudo_labels))
        raise UsageError(f"{name}: expected a table to write, NAME.csv")
    recordings, errors = find_recordings(sources)
    paths = [recording.path for recording in recordings]
    if not paths:
        raise errors[0] if errors else UsageError("expected at least one recording")
    refuse_to_replace(output, paths)
    ensemble = Ensemble(
        [load_checkpoint(path) for path in checkpoints],
        tta=tta,
        blend=blend,
        device=device,
        batch_size=batch_size,
    )
    if submission is not None:
        _check_submission(submission, ensemble, paths)
    predictor = _Predictor(ensemble, paths, submission, on_progress, on_error)
    for error in errors:
        predictor.add_error(error)
    table = None if pseudo_labels is None else _PseudoLabelTable(len(ensemble.frame_edges()) - 1)
    if table is not None and submission is None and output is None:
        predictor.run(None, table)
    else:
        with _opened(output) as file:
            predictor.run(csv.writer(file, lineterminator="\n").writerow, table)
    if table is not None and pseudo_labels is not None:
        table.write(pseudo_labels, paths, ensemble.labels)
    return predictor.summary


class _Predictor:
    """Predicts recordings and writes their rows."""

    def __init__(
        self,
        ensemble: Ensemble,
        paths: Sequence[str],
        submission: str | None,
        on_progress: OnProgress | None,
        on_error: OnError | None,
    ) -> None:
        self.summary = PredictSummary(n_recordings=len(paths))
        self._ensemble = ensemble
        self._paths = paths
        self._submission = submission
        self._per_recording = submission in ("urban", "freesound")
        self._on_progress, self._on_error = on_progress, on_error
        self._failed: dict[int, SedError] = {}  # also of recordings read in part
        self._n_rows = [0] * len(paths)
        self._sum = np.zeros(len(ensemble.labels))  # of the probabilities in all rows

    def run(self, write: WriteRow | None, table: _PseudoLabelTable | None) -> None:
        """Predict all recordings; write their rows, and add to the table."""
        if write is not None:
            write(self._header())
        predictions = self._ensemble.predict(self._windows())
        for source, windows in groupby(predictions, key=lambda window: window.source):
            maximum = np.zeros(len(self._ensemble.labels), np.float32)
            for window in windows:
                maximum = np.maximum(maximum, window.clip_probs)
                self._count(window)
                if table is not None:
                    table.add(window)
                if write is not None and not self._per_recording:
                    write(self._row(source, window.clip_probs, window.duration_seconds))
            if write is not None and self._per_recording:
                write(self._row(source, maximum))
        if write is not None and self._submission is not None:
            self._impute(write)

    def add_error(self, error: SedError, source: int | None = None) -> None:
        """Report the error of a recording, or of a folder of them."""
        if source is not None:
            self._failed[source] = error
        self.summary.failures.append(error)
        if self._on_error is not None:
            self._on_error(error)

    def _windows(self) -> Iterator[WindowInput]:
        for i, path in enumerate(self._paths):
            try:
                rates = self._ensemble.rates
                blocks = {rate: read_blocks(path, rate) for rate in rates}
                yield from self._ensemble.windows(i, blocks)
            except SedError as error:
                self.add_error(error, i)

    def _count(self, window: WindowPrediction) -> None:
        self.summary.n_windows += 1
        self.summary.audio_seconds += window.duration_seconds
        if self._on_progress is not None:
            self._on_progress(window.source + 1, len(self._paths), self.summary.audio_seconds)

    def _header(self) -> list[str]:
        if self._submission == "urban":
            return ["ID", "Class"]
        if self._submission == "freesound":
            return ["fname", "label"]
        first = ["file", "start", "end"] if self._submission is None else ["row_id"]
        return [*first, *self._ensemble.labels]

    def _row(self, source: int, probs: Floats, seconds: float = 0.0) -> list[str]:
        """Return the next row of a recording, and count it."""
        start = self._n_rows[source] * self._ensemble.window_seconds
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
            return [f"{path.stem}_{start + BIRDCLEF_SECONDS:.0f}", *cells]
        return [self._paths[source], f"{start:.3f}", f"{start + seconds:.3f}", *cells]

    def _impute(self, write: WriteRow) -> None:
        """Write the missing rows of recordings that could not be read to their end."""
        n_rows = sum(self._n_rows)
        n_classes = len(self._ensemble.labels)
        mean = self._sum / n_rows if n_rows else np.full(n_classes, 1 / n_classes)
        for source in sorted(self._failed):
            for _ in range(self._n_rows[source], self._n_rows_expected(source)):
                write(self._row(source, mean.astype(np.float32)))
                self.summary.n_imputed += 1

    def _n_rows_expected(self, source: int) -> int:
        """Return how many rows a recording should have that could not be read whole.

        As many as its header says; if it was read as far as that, or has no header, as many as
        most other recordings have.
        """
        n_rows = self._n_rows[source]
        damaged = isinstance(self._failed[source], DamagedRecordingError)
        if self._per_recording:
            return 1
        if n_rows and not damaged:  # read to its end, with samples that are not finite
            return n_rows
        in_header = self._n_rows_in_header(source)
        if in_header > n_rows:
            return in_header
        whole = Counter(n for i, n in enumerate(self._n_rows) if i not in self._failed)
        return whole.most_common(1)[0][0] if whole else max(1, n_rows)

    def _n_rows_in_header(self, source: int) -> int:
        """Return how many windows a recording has by its header, 0 if that does not say."""
        try:
            with closing(open_recording(self._paths[source])) as decoder:
                n_samples, rate = decoder.n_samples, decoder.sample_rate
        except SedError:
            return 0
        return self._ensemble.n_windows(n_samples / rate) if n_samples else 0


class _PseudoLabelTable:
    """Collects predictions for a table of pseudo-labels."""

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self._windows: list[WindowPrediction] = []
        self._frame_probs: list[NDArray[np.float16]] = []

    def add(self, window: WindowPrediction) -> None:
        """Add a prediction, its frames resampled to `n_frames` over the recorded part."""
        frames = window.frame_probs
        indices = (np.arange(self._n_frames) * len(frames)) // self._n_frames
        self._frame_probs.append(frames[indices].astype(np.float16))
        without_frames = np.empty((0, frames.shape[1]), np.float32)
        self._windows.append(replace(window, frame_probs=without_frames))

    def write(
        self, path: str | os.PathLike[str], files: Sequence[str], labels: Sequence[str]
    ) -> None:
        """Write the table.

        Raises
        ------
        RecordingError
            If there is no prediction.
        """
        if not self._windows:
            raise RecordingError(path, "is not written: no recording could be read.")
        write_pseudo_labels(
            path,
            [files[window.source] for window in self._windows],
            [window.start_seconds for window in self._windows],
            [window.duration_seconds for window in self._windows],
            labels,
            np.stack([window.clip_probs for window in self._windows]),
            np.stack(self._frame_probs),
        )


def _check_submission(submission: str, ensemble: Ensemble, paths: Sequence[str]) -> None:
    """Refuse models and recordings that do not fit the format of a submission."""
    if submission == "birdclef" and ensemble.window_seconds != BIRDCLEF_SECONDS:
        raise UsageError(
            f"birdclef has a row every {BIRDCLEF_SECONDS:g} s, and the windows of these models are "
            f"{ensemble.window_seconds:g} s long. Give models with windows of "
            f"{BIRDCLEF_SECONDS:g} s"
        )
    name = "name" if submission == "freesound" else "stem"
    counts = Counter(str(getattr(Path(path), name)) for path in paths)
    if several := sorted(n for n, count in counts.items() if count > 1):
        shown = ", ".join(printable(n) for n in several[:10]) + " …" * (len(several) > 10)
        raise UsageError(
            f"{submission} names recordings without their folders"
            f"{' and suffixes' * (name == 'stem')}, and there are several of: {shown}"
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
