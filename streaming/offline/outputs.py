"""Decide what is written about recordings and where, and open the files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.audio.find import Recording
from sed.audio.start_time import recording_start
from sed.errors import OutputError, UsageError, check_extra
from sed.events.embedding_store.store import EmbeddingStore, recording_paths
from sed.events.writing.formats import (
    COLUMN_FORMATS,
    EXTENSIONS,
    FORMATS,
    TABLE_FORMATS,
    WRITERS,
    format_of,
    open_writer,
)
from sed.events.writing.writers import COLUMNS, EventWriter, EventWriters
from sed.files import result_path, written_whole
from sed.models.spec import ModelSpec
from sed.text import near, printable, to_utf8
from streaming.offline.detections.embedding_rows import EmbeddingConfig

TABLE = "events.parquet"  # name of the one table of all recordings, in an output folder
PLOT_EXTENSION = ".png"
SKIPS = (
    "with --skip-existing the one table would lack the recordings that are skipped: "
    "use --workers N and --resume"
)


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
        The channel that is read, for Raven and Kaleidoscope; 1 for the mean.
    columns
        More columns of tables, of ``date``, ``time`` and ``site``; see `sed.events.writing`.
        A column ``time`` takes the place of that of `zone`.
    combined
        One table of the events of all recordings, besides the files about each in a folder; its
        ending names the format.
    root
        Absolute path or address of the folder that is searched, which holds the sites; a scan
        sets it.

    Raises
    ------
    UsageError
        If a format or a column is unknown, or formats, output and options do not go together.
    MissingExtraError
        If a format is parquet and pyarrow is not installed, or `plot` and matplotlib is not.
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
    columns: tuple[str, ...] = ()
    combined: str | os.PathLike[str] | None = None
    root: str = ""

    def __post_init__(self) -> None:
        """Refuse formats and combinations that cannot be."""
        if self.embeddings is not None and self.embeddings.store is not None:
            check_extra("pyarrow", f"{printable(self.embeddings.store)}: a store of embeddings")
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
        if self.combined is not None:
            self._check_combined(Path(self.combined))
        self._check_columns()
        if self.plot:
            check_extra("matplotlib", "--plot")
        if any(format == "parquet" for _, format in self.shared_files) or "parquet" in self.formats:
            self._check_parquet()

    def _refuse_recording(self, path: Path, option: str = "--output") -> None:
        if path.suffix.lower() in SOUND_SUFFIXES | CONTAINER_SUFFIXES:
            raise UsageError(
                f"{option} {printable(str(path))} is the name of a recording, and results would "
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
            # A table for Kaleidoscope is also named id.csv, as its own.
            is_end = EXTENSIONS[format].endswith(extension)
            if not is_end and str(self.output).lower().endswith(extension):
                raise UsageError(
                    f"--output {printable(str(self.output))} ends like {other}, and --format is "
                    f"{format}: leave out one of them"
                )

    def _check_parquet(self) -> None:
        check_extra("pyarrow", "the format parquet")
        if self.output is None:
            raise UsageError("parquet needs a file: give --output events.parquet, or DIR/")
        if self.skip_existing:
            raise UsageError(SKIPS)

    def _check_columns(self) -> None:
        for name in self.columns:
            if name not in COLUMNS:
                raise UsageError(f"unknown column {name!r}. {near(name, COLUMNS)}")
        formats = {*self.formats, *(format for _, format in self.shared_files)}
        if self.columns and formats.isdisjoint(COLUMN_FORMATS):
            raise UsageError(
                f"--columns is about {', '.join(COLUMN_FORMATS)}, and --format is "
                f"{','.join(self.formats)}"
            )

    def _check_combined(self, path: Path) -> None:
        if self.folder is None:
            raise UsageError(
                "--combined is one table besides the files about each recording: give "
                "--output DIR/ too, or --output for the one table alone"
            )
        self._refuse_recording(path, "--combined")
        format_of(path, TABLE_FORMATS)
        if self.skip_existing:
            raise UsageError(SKIPS)

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
    def shared_files(self) -> list[tuple[Path, str]]:
        """The files that the events of all recordings go to, and their formats.

        There are none if they go to standard output.
        """
        if self.output is None or not self.events:
            return []
        if self.folder is None:
            return [(Path(self.output), self.formats[0])]
        files = [(self.folder / TABLE, "parquet")] if "parquet" in self.formats else []
        if self.combined is not None:
            files.append((Path(self.combined), format_of(self.combined, TABLE_FORMATS)))
        return files

    def paths(self, recording: Recording) -> list[Path]:
        """Return the files that are written about one recording alone.

        Each is named as the recording, with one more ending: the recording keeps its own, so that
        dawn.wav and dawn.flac do not share a file.
        """
        folder = self.folder
        extensions = [EXTENSIONS[name] for name in self.file_formats]
        paths = [result_path(folder, recording.name, e) for e in extensions] if folder else []
        paths += [
            result_path(self._plot_folder, recording.name, e) for e in [PLOT_EXTENSION] * self.plot
        ]
        return [*paths, *self._embedding_paths(recording)]

    def pages_folder(self, recording: Recording) -> Path:
        """Return the folder for the pages of the picture of a long recording."""
        return result_path(self._plot_folder, recording.name, ".pages")

    @property
    def _plot_folder(self) -> Path:
        """Without a folder, plots go next to the one file, or into the current directory."""
        return self.folder or (Path(self.output).parent if self.output else Path())

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
        formats = {*self.formats, *(format for _, format in self.shared_files)}
        has_time = self.zone or self.recorder_zone or formats & {"parquet", "kaleidoscope"}
        has_time = has_time or {"date", "time"} & {*self.columns}
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
        if files := self.shared_files:
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(
                        self.open_writer(stack.enter_context(written_whole(path)), format, spec)
                    )
                    for path, format in files
                ]
                yield writers[0] if len(writers) == 1 else EventWriters(writers)
        elif self.folder is not None or not self.events:
            yield None
        else:
            try:
                yield self.open_writer(sys.stdout, self.formats[0], spec)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError("standard output", error) from error

    def open_writer(self, to: Path | TextIO, format: str, spec: ModelSpec | None) -> EventWriter:
        """Open a writer of events with these options; see `sed.events.writing.formats`."""
        options: dict[str, Any] = {
            "channel": self.channel,
            "columns": self.columns,
            "root": self.root,
        }
        if spec is not None:
            options["band_hz"] = spec.log_mel.f_min, spec.log_mel.f_max
            options |= {"labels": spec.labels, "species": spec.names_by_label()}
        dated, safe = bool(self.zone or self.recorder_zone), self.spreadsheet_safe
        return open_writer(to, format, dated=dated, spreadsheet_safe=safe, **options)
