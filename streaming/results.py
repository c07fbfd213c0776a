"""What a scan writes, and where."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sed.errors import OutputError, UsageError, near
from sed.events import Event
from sed.files import written_whole
from sed.recordings import Recording, all_written, output_path
from sed.spec import ModelSpec
from sed.writers import WRITERS, EventWriter, FramesWriter
from streaming.detector import Detection, Detector
from streaming.overview import Overview

FORMATS = (*WRITERS, "npz")
PICTURE = ".png"
MOST_EVENTS_DRAWN = 1_000


@dataclass(frozen=True)
class Results:
    """What is written: one format into one stream or file, or any of them and pictures per file."""

    formats: tuple[str, ...] = ("csv",)  # of FORMATS
    output: str | os.PathLike[str] | None = None  # a folder, a file, or None: standard output
    plot: bool = False  # a picture of each recording
    skip_existing: bool = False  # leave out recordings whose results are all there

    def __post_init__(self) -> None:
        """Refuse formats and combinations that cannot be."""
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"unknown format {name!r}. {near(name, FORMATS)}")
        if self.folder is None and (len(self.formats) != 1 or self.formats == ("npz",)):
            raise UsageError(f"{' and '.join(self.formats)} need a folder: give --output DIR/")
        if self.folder is None and self.skip_existing:
            raise UsageError("--skip-existing needs a folder: give --output DIR/")

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
        events = [_extension(name) for name in self.formats] if self.folder else []
        return events + [PICTURE] * self.plot

    def are_there(self, recording: Recording) -> bool:
        """Return whether the recording may be skipped."""
        return (
            self.skip_existing
            and self.folder is not None
            and all_written(self.folder, recording, self.extensions)
        )

    @contextmanager
    def shared_writer(self, n_recordings: int, spec: ModelSpec) -> Iterator[EventWriter | None]:
        """Open what the events of all recordings go to, if they go to one place.

        Raises
        ------
        UsageError
            If the format has no room for the name of a recording, and there are several.
        OutputError
            If it cannot be written.
        """
        if self.folder is not None:
            yield None
            return
        kind = WRITERS[self.formats[0]]
        if n_recordings > 1 and not kind.many_recordings:
            raise UsageError(
                f"a file in the format {self.formats[0]} is about one recording, and there are "
                f"{n_recordings}: give --output DIR/"
            )
        with ExitStack() as stack:
            if self.output is not None:
                yield stack.enter_context(_writer_into(Path(self.output), kind, spec))
                return
            try:
                yield kind(sys.stdout, _band(spec))
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError("standard output", error) from error

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
            for name in self.formats if self.folder else ():
                path = output_path(self.folder, recording, _extension(name))  # type: ignore[arg-type]
                if name == "npz":
                    part = stack.enter_context(written_whole(path))
                    seconds = detector.timeline.frame_seconds
                    sinks.frames = stack.enter_context(
                        FramesWriter(part, detector.labels, seconds, recording.path)
                    )
                else:
                    writer = _writer_into(path, WRITERS[name], detector.spec)
                    sinks.writers.append(stack.enter_context(writer))
            if self.plot:
                sinks.picture = Picture(detector, recording)
            yield sinks
            if sinks.picture:
                sinks.picture.draw(output_path(self.picture_folder, recording, PICTURE))


@dataclass
class Sinks:
    """What takes the results of one recording."""

    writers: list[EventWriter] = field(default_factory=list)
    frames: FramesWriter | None = None
    picture: Picture | None = None

    def take(self, detection: Detection) -> None:
        """Pass on what was detected."""
        for event in detection.events:
            for writer in self.writers:
                writer.write(event)
        if self.frames:
            self.frames.write(detection.frame_probs)
        if self.picture:
            self.picture.take(detection)


class Picture:
    """What `--plot` draws, gathered in bounded memory."""

    def __init__(self, detector: Detector, recording: Recording) -> None:
        self._detector = detector
        self._recording = recording
        self._columns = Overview("mean")
        self._probs = Overview("max")
        self._events: list[Event] = []  # the first ones; more could not be told apart anyway
        self._n_events = 0

    def take(self, detection: Detection) -> None:
        """Gather."""
        self._columns.push(detection.columns)
        self._probs.push(detection.frame_probs)
        self._n_events += len(detection.events)
        self._events += detection.events[: MOST_EVENTS_DRAWN - len(self._events)]

    def draw(self, path: Path) -> None:
        """Draw."""
        from sed.plots import plot_detections  # matplotlib takes its time: only when it is needed

        timeline = self._detector.timeline
        if not len(self._probs.rows()):
            return
        plot_detections(
            path,
            title=os.path.basename(self._recording.path),
            columns=self._columns.rows(),
            column_seconds=self._columns.rows_each * timeline.hop_samples / timeline.sample_rate,
            front_end=self._detector.front_end,
            frame_probs=self._probs.rows(),
            frame_seconds=self._probs.rows_each * timeline.frame_seconds,
            labels=self._detector.labels,
            events=self._events,
            n_events=self._n_events,
        )


def _extension(name: str) -> str:
    return FramesWriter.extension if name == "npz" else WRITERS[name].extension


def _band(spec: ModelSpec) -> tuple[float, float]:
    return spec.front_end.f_min_hz, spec.front_end.f_max_hz


@contextmanager
def _writer_into(path: Path, kind: type[EventWriter], spec: ModelSpec) -> Iterator[EventWriter]:
    with (
        written_whole(path) as part,
        open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        yield kind(file, _band(spec))
