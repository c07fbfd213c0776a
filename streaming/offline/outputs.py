"""Decide what is written about recordings and where, and open the files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.audio.find import Recording
from sed.audio.start_time import recording_start
from sed.errors import OutputError, UsageError
from sed.events.embedding_store.store import (
    EmbeddingStore,
    EmbeddingWriter,
    recording_paths,
    recording_written_whole,
)
from sed.events.writing.formats import (
    EXTENSIONS,
    FORMATS,
    WRITERS,
    check_parquet,
    format_of,
    open_writer,
)
from sed.events.writing.npz import FramesWriter
from sed.events.writing.writers import EventWriter
from sed.files import result_path, written_whole
from sed.models.spec import ModelSpec
from sed.text import near, printable, to_utf8
from streaming.offline.embedding_rows import EmbeddingConfig, EmbeddingRow, EmbeddingRows
from streaming.offline.overview import DetectionPlot
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector

TABLE = "events.parquet"  # name of the one table of all recordings, in an output folder
PLOT_EXTENSION = ".png"


@dataclass(frozen=True)
class OutputConfig:
    """What is written: one format into one file or stream, or any of them into files per recording.

    Attributes
    ----------
    formats
        Of `sed.events.writing.formats.FORMATS`; by the ending of `output`, else csv, if empty.
    output
        A folder for files per recording, one file, or standard output if None.
    plot
        Whether to draw each recording, too.
    skip_existing
        Whether to skip recordings whose results all exist.
    zone
        Time zone of the place. With it events have their time of day; in Parquet they always have.
    recorder_zone
        Time zone that the clocks of recorders were set to; that of the place if not given.
    embeddings
        Which embeddings are kept besides, if any.
    events
        Whether events are written. If not, `output` is None, or the folder of the embeddings.
    spreadsheet_safe
        Whether no cell of CSV and TSV may be a formula.
    channel
        The channel that is read, for Raven; 1 for the mean.

    Raises
    ------
    UsageError
        If a format is unknown, or formats, output and options do not go together.
    MissingExtraError
        If the format is parquet and pyarrow is not installed.
    """

    formats: tuple[str, ...] = ()
    output: str | os.PathLike[str] | None = None
    plot: bool = False
    skip_existing: bool = False
    zone: tzinfo | None = None
    recorder_zone: tzinfo | None = None
    embeddings: EmbeddingConfig | None = None
    events: bool = True
    spreadsheet_safe: bool = False
    channel: int = 1

    def __post_init__(self) -> None:
        """Refuse formats and combinations that cannot be."""
        if self.embeddings is not None and self.embeddings.store is not None:
            check_parquet(f"{printable(self.embeddings.store)}: a store of embeddings")
        if not self.events:
            return
        if self.output is not None and self.folder is None:
            self._refuse_recording(Path(self.output))
        if not self.formats:
            is_file = self.output is not None and self.folder is None
            default = format_of(self.output) if is_file else "csv"  # type: ignore[arg-type]
            object.__setattr__(self, "formats", (default,))
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"unknown format {name!r}. {near(name, FORMATS)}")
        if self.folder is None:
            self._check_file()
        if "parquet" in self.formats:
            self._check_parquet()

    def _refuse_recording(self, path: Path) -> None:
        if path.suffix.lower() in SOUND_SUFFIXES | CONTAINER_SUFFIXES:
            raise UsageError(
                f"--output {printable(str(path))} is the name of a recording, and results would "
                "take its place: give a name that ends in .csv, or DIR/"
            )

    def _check_file(self) -> None:
        """Refuse what needs a folder, and a file name that stands for another format."""
        if len(self.formats) != 1 or self.formats == ("npz",):
            raise UsageError(
                f"--format {','.join(self.formats)} needs a folder: give --output DIR/"
            )
        if self.skip_existing:
            raise UsageError("--skip-existing needs a folder: give --output DIR/")
        if self.output is None:
            return
        (format,) = self.formats
        for other, extension in EXTENSIONS.items():
            if other != format and str(self.output).lower().endswith(extension):
                raise UsageError(
                    f"--output {printable(str(self.output))} ends like {other}, and --format is "
                    f"{format}: leave out one of them"
                )

    def _check_parquet(self) -> None:
        check_parquet("the format parquet")
        if self.output is None:
            raise UsageError("parquet needs a file: give --output events.parquet, or DIR/")
        if self.skip_existing:
            raise UsageError(
                "with --skip-existing the one table would lack the recordings that are skipped: "
                "use --workers N and --resume"
            )

    @cached_property
    def folder(self) -> Path | None:
        """The folder for files per recording: one that exists, or a name without an ending."""
        if self.output is None:
            return None
        path = Path(self.output)
        is_folder = os.path.isdir(path) or not path.suffix or os.fspath(self.output).endswith("/")
        is_folder = is_folder or not self.events
        return path if is_folder else None

    @cached_property
    def file_formats(self) -> list[str]:
        """The formats of the files about one recording each."""
        return [name for name in self.formats if name != "parquet"] if self.folder else []

    @cached_property
    def shared_file(self) -> tuple[Path, str] | None:
        """The file that the events of all recordings go to and its format; None if there is none.

        There is none either if they go to standard output.
        """
        if self.output is None or not self.events:
            return None
        if self.folder is None:
            return Path(self.output), self.formats[0]
        return (self.folder / TABLE, "parquet") if "parquet" in self.formats else None

    def paths(self, recording: Recording) -> list[Path]:
        """Return the files that are written about one recording alone.

        Each is named as the recording, with one more ending: the recording keeps its own, so that
        dawn.wav and dawn.flac do not share a file.
        """
        folder = self.folder
        # Without a folder, plots go next to the one file, or into the current directory.
        plot_folder = folder or (Path(self.output).parent if self.output else Path())
        extensions = [EXTENSIONS[name] for name in self.file_formats]
        paths = [result_path(folder, recording.name, e) for e in extensions] if folder else []
        paths += [result_path(plot_folder, recording.name, e) for e in [PLOT_EXTENSION] * self.plot]
        return [*paths, *self._embedding_paths(recording)]

    def _embedding_paths(self, recording: Recording) -> tuple[Path, ...]:
        store = self.embeddings and self.embeddings.store
        return recording_paths(store, recording.place) if store else ()

    def __getstate__(self) -> dict[str, object]:
        """Return the fields alone: workers do not need what is cached, a million names perhaps."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _embedded(self) -> set[str]:
        """Names of the recordings in the store, when it is first asked for."""
        store = self.embeddings and self.embeddings.store
        return EmbeddingStore(store).recordings if store and os.path.exists(Path(store)) else set()

    def concern(self, recording: Recording) -> bool:
        """Return whether anything is to be written or returned about a recording."""
        clips = None if self.embeddings is None else self.embeddings.clips
        return self.events or clips is None or recording.path in clips

    def start_time(self, recording: Recording) -> datetime | None:
        """Return when a recording began; None if that is unknown or no output has it."""
        has_time = self.zone or self.recorder_zone or "parquet" in self.formats
        return recording_start(recording.path, self.zone, self.recorder_zone) if has_time else None

    def exist(self, recording: Recording) -> bool:
        """Return whether all files about a recording exist; its embeddings may be in a part."""
        if not self.concern(recording):
            return True
        embedding_paths = self._embedding_paths(recording)
        is_merged = to_utf8(recording.place) in self._embedded
        has_embeddings = is_merged or all(map(os.path.exists, embedding_paths))
        paths = self.paths(recording)
        others = paths[: len(paths) - len(embedding_paths)]
        return has_embeddings and all(os.path.exists(path) for path in others)

    def check_shared(self) -> None:
        """Make sure that the events of several recordings may go to one file or stream.

        Raises
        ------
        UsageError
            If events of this format do not name their recording.
        """
        if self.events and self.folder is None and not WRITERS[self.formats[0]].many_recordings:
            raise UsageError(
                f"a file in the format {self.formats[0]} is about one recording: give --output DIR/"
            )

    @contextmanager
    def open_shared(self, spec: ModelSpec | None = None) -> Iterator[EventWriter | None]:
        """Open what the events of all recordings go to; None if each has its own files.

        Parameters
        ----------
        spec
            The model, if it is known: some formats store its labels or its frequency band.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        if self.shared_file is not None:
            path, format = self.shared_file
            with written_whole(path) as part, self._open(part, format, spec) as writer:
                yield writer
        elif self.folder is not None or not self.events:
            yield None
        else:
            try:
                yield self._open(sys.stdout, self.formats[0], spec)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError("standard output", error) from error

    @contextmanager
    def open_outputs(self, recording: Recording, detector: Detector) -> Iterator[_OutputFiles]:
        """Open the files about one recording alone; all of them are kept, or none.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        files = _OutputFiles()
        paths = self.paths(recording)
        with ExitStack() as stack:
            for path, format in zip(paths, self.file_formats, strict=False):
                part = stack.enter_context(written_whole(path))
                if format == "npz":
                    files.frames = stack.enter_context(_open_frames(part, recording, detector))
                else:
                    writer = self._open(part, format, detector.spec)
                    files.writers.append(stack.enter_context(writer))
            if self.plot:
                files.plot = DetectionPlot(detector, recording)
            if self.embeddings is not None:
                files.rows = EmbeddingRows(
                    self.embeddings,
                    detector.timeline,
                    detector.spec.window_seconds,
                    recording.path,
                    self.start_time(recording),
                )
                if (store := self.embeddings.store) is not None:
                    dimension = len(self.embeddings.pool) * detector.engine.n_features
                    files.vectors = stack.enter_context(
                        recording_written_whole(store, recording.place, dimension)
                    )
            yield files
            if files.plot:
                files.plot.draw(paths[len(self.file_formats)])

    def _open(self, to: Path | TextIO, format: str, spec: ModelSpec | None) -> EventWriter:
        options: dict[str, Any] = {"channel": self.channel}
        if spec is not None:
            options["band_hz"] = spec.log_mel.f_min, spec.log_mel.f_max
            options |= {"labels": spec.labels, "species": spec.names_by_label()}
        dated, safe = bool(self.zone or self.recorder_zone), self.spreadsheet_safe
        return open_writer(to, format, dated=dated, spreadsheet_safe=safe, **options)


@dataclass
class _OutputFiles:
    """The open files about one recording."""

    writers: list[EventWriter] = field(default_factory=list)
    frames: FramesWriter | None = None
    plot: DetectionPlot | None = None
    rows: EmbeddingRows | None = None
    vectors: EmbeddingWriter | None = None
    n_rows: int = 0  # of embeddings so far

    def write(self, detection: Detection) -> tuple[EmbeddingRow, ...]:
        """Write the next detection of the recording; return embeddings that go to no store."""
        for event in detection.events:
            for writer in self.writers:
                writer.write(event)
        if self.frames:
            self.frames.write(detection.frame_probs, detection.clip_probs)
        if self.plot:
            self.plot.add(detection)
        return self._keep(self.rows.push(detection)) if self.rows else ()

    def finish(self) -> tuple[EmbeddingRow, ...]:
        """Write what the end of the recording completes; return embeddings that go to no store."""
        return self._keep(self.rows.flush()) if self.rows else ()

    def _keep(self, rows: Sequence[EmbeddingRow]) -> tuple[EmbeddingRow, ...]:
        self.n_rows += len(rows)
        if self.vectors is None or not rows:
            return tuple(rows)
        self.vectors.write([row.event for row in rows], np.stack([row.vector for row in rows]))
        return ()


def _open_frames(part: Path, recording: Recording, detector: Detector) -> FramesWriter:
    frame_seconds, hop_seconds = detector.timeline.frame_seconds, detector.clip_hop_seconds
    return FramesWriter(part, detector.labels, frame_seconds, hop_seconds, recording.path)
