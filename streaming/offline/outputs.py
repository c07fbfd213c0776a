"""What a scan writes, and where."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.audio.find import Recording
from sed.audio.start_time import recording_start
from sed.errors import MissingExtraError, OutputError, UsageError
from sed.events.npz import FramesWriter
from sed.events.writers import WRITERS
from sed.files import written_whole
from sed.models.spec import ModelSpec
from sed.text import near, printable
from streaming.offline.overview import Picture
from streaming.offline.tables import PARQUET, Table, band_of, open_table, writer_kind
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector

FORMATS = (*WRITERS, "npz", PARQUET)
TABLE = "events.parquet"  # of all recordings, in a folder
OF_ENDING = {".csv": "csv", ".jsonl": "jsonl", ".tsv": "tsv", ".parquet": PARQUET}
PICTURE = ".png"


def format_of(output: str | os.PathLike[str] | None) -> str:
    """Return the format that the name of a file asks for, else csv."""
    return "csv" if output is None else OF_ENDING.get(Path(output).suffix, "csv")


def refuse_to_replace(output: str | os.PathLike[str] | None, sources: Iterable[str]) -> None:
    """Raise `UsageError` if a file of results would take the place of a recording."""
    if output is None or not os.path.isfile(output):
        return
    for source in sources:
        if os.path.isfile(source) and os.path.samefile(output, source):
            raise UsageError(
                f"--output {printable(str(output))} is one of the recordings: give another name"
            )


@dataclass(frozen=True)
class OutputConfig:
    """What is written: one format into one stream or file, or any of them and pictures per file."""

    formats: tuple[str, ...] = ("csv",)  # of FORMATS
    output: str | os.PathLike[str] | None = None  # a folder, a file, or None: standard output
    plot: bool = False  # a picture of each recording
    skip_existing: bool = False  # leave out recordings whose results are all there
    zone: tzinfo | None = None  # of the place; events then get the time of day, in Parquet always

    def __post_init__(self) -> None:
        """Refuse formats and combinations that cannot be."""
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"unknown format {name!r}. {near(name, FORMATS)}")
        if self.folder is None and (len(self.formats) != 1 or self.formats == ("npz",)):
            raise UsageError(
                f"--format {','.join(self.formats)} needs a folder: give --output DIR/"
            )
        if self.output is not None and self.folder is None:
            self._check_name(Path(self.output))
        if self.folder is None and self.skip_existing:
            raise UsageError("--skip-existing needs a folder: give --output DIR/")
        if PARQUET in self.formats and importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("the format parquet", "parquet")
        if PARQUET in self.formats and self.output is None:
            raise UsageError("parquet needs a file: give --output events.parquet, or DIR/")
        if PARQUET in self.formats and self.skip_existing:
            raise UsageError(
                "with --skip-existing the one table would lack the recordings that are left out: "
                "use --workers N and --resume"
            )

    def _check_name(self, path: Path) -> None:
        """Refuse the name of a file that would not hold what it says, or that held a recording."""
        if path.suffix.lower() in SOUND_SUFFIXES | CONTAINER_SUFFIXES:
            raise UsageError(
                f"--output {printable(str(path))} is the name of a recording, and results would "
                "take its place: give a name that ends in .csv, or DIR/"
            )
        named = OF_ENDING.get(path.suffix, self.formats[0])
        if named != self.formats[0]:
            raise UsageError(
                f"--output {printable(str(path))} ends like {named}, and --format is "
                f"{self.formats[0]}: leave out one of them"
            )

    @property
    def folder(self) -> Path | None:
        """The folder for files per recording: one that exists, or a name without an ending."""
        if self.output is None:
            return None
        path = Path(self.output)
        is_folder = path.is_dir() or not path.suffix or os.fspath(self.output).endswith("/")
        return path if is_folder else None

    @property
    def picture_folder(self) -> Path:
        """Where pictures go: the folder, else beside the one file, else here."""
        return self.folder or (Path(self.output).parent if self.output else Path())

    @property
    def extensions(self) -> list[str]:
        """The endings of all that is written about a recording."""
        return [_extension(name) for name in self.own_formats] + [PICTURE] * self.plot

    @property
    def own_formats(self) -> list[str]:
        """The formats of files about one recording each."""
        return [name for name in self.formats if name != PARQUET] if self.folder else []

    @property
    def table(self) -> tuple[Path, str] | None:
        """The file that the events of all recordings go to, and its format, if there is one."""
        if self.folder is None:
            return None if self.output is None else (Path(self.output), self.formats[0])
        return (self.folder / TABLE, PARQUET) if PARQUET in self.formats else None

    def start_of(self, recording: Recording) -> datetime | None:
        """Return when a recording began, if that is known and anybody wants to know."""
        if self.zone is None and PARQUET not in self.formats:
            return None
        return recording_start(recording.path, self.zone)

    def are_there(self, recording: Recording) -> bool:
        """Return whether the recording may be skipped."""
        return (
            self.skip_existing
            and self.folder is not None
            and all_written(self.folder, recording, self.extensions)
        )

    @contextmanager
    def shared_table(self, n_recordings: int, spec: ModelSpec) -> Iterator[Table | None]:
        """Open what the events of all recordings go to, if they go to one place.

        Raises
        ------
        UsageError
            If the format has no room for the name of a recording, and there are several.
        OutputError
            If it cannot be written.
        """
        if self.folder is None and n_recordings > 1:
            self.check_table()
        if self.table is not None:
            path, format = self.table
            with written_whole(path) as part, open_table(part, format, spec, self.zone) as table:
                yield table
        elif self.folder is not None:
            yield None
        else:
            try:
                yield writer_kind(self.formats[0], self.zone)(sys.stdout, band_of(spec))
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError("standard output", error) from error

    def check_table(self) -> None:
        """Make sure that several recordings may go to one place.

        Raises
        ------
        UsageError
            If the format has no room for the name of a recording.
        """
        name = self.formats[0]
        if name != PARQUET and not WRITERS[name].many_recordings:
            raise UsageError(
                f"a file in the format {name} is about one recording: give --output DIR/"
            )

    @contextmanager
    def own_sinks(self, recording: Recording, detector: Detector) -> Iterator[Sinks]:
        """Open what is written about one recording alone; all of it is kept, or nothing.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        sinks = Sinks()
        with ExitStack() as stack:
            for name in self.own_formats:
                path = output_path(self.folder, recording, _extension(name))  # type: ignore[arg-type]
                part = stack.enter_context(written_whole(path))
                if name == "npz":
                    sinks.frames = stack.enter_context(_frames_writer(part, recording, detector))
                else:
                    table = open_table(part, name, detector.spec, self.zone)
                    sinks.tables.append(stack.enter_context(table))
            if self.plot:
                sinks.picture = Picture(detector, recording)
            yield sinks
            if sinks.picture:
                sinks.picture.draw(output_path(self.picture_folder, recording, PICTURE))


@dataclass
class Sinks:
    """What takes the results of one recording."""

    tables: list[Table] = field(default_factory=list)
    frames: FramesWriter | None = None
    picture: Picture | None = None

    def take(self, detection: Detection) -> None:
        """Pass on what was detected."""
        for event in detection.events:
            for table in self.tables:
                table.write(event)
        if self.frames:
            self.frames.write(detection.frame_probs, detection.clip_probs)
        if self.picture:
            self.picture.take(detection)


def _extension(name: str) -> str:
    return FramesWriter.extension if name == "npz" else WRITERS[name].extension


def _frames_writer(part: Path, recording: Recording, detector: Detector) -> FramesWriter:
    frame_seconds, hop_seconds = detector.timeline.frame_seconds, detector.clip_hop_seconds
    return FramesWriter(part, detector.labels, frame_seconds, hop_seconds, recording.path)


def output_path(folder: Path, recording: Recording, extension: str) -> Path:
    """Return where a result about a recording goes: its name with one more ending.

    The ending of the recording stays, so that dawn.wav and dawn.flac do not meet.
    """
    return folder / (recording.name + extension)


def all_written(folder: Path, recording: Recording, extensions: Sequence[str]) -> bool:
    """Return whether every result about a recording is there already."""
    return all(output_path(folder, recording, e).exists() for e in extensions)
