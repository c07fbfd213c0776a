"""Open the files about one recording, and write its detections to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sed.audio.find import Recording
from sed.audio.start_time import recording_start
from sed.events.embedding_store.store import EmbeddingWriter, recording_written_whole
from sed.events.sites import parent_folder, site_name
from sed.events.writing.npz import FramesWriter
from sed.events.writing.writers import EventWriter
from sed.files import written_whole
from streaming.offline.detections.embedding_rows import EmbeddingRow, EmbeddingRows
from streaming.offline.detections.overview import DetectionPlot, PlotConfig
from streaming.offline.outputs import OutputConfig
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector


@contextmanager
def open_outputs(
    outputs: OutputConfig,
    recording: Recording,
    detector: Detector,
    sample_rate: int | None = None,
) -> Iterator[OutputFiles]:
    """Open the files about one recording alone; all of them are kept, or none.

    Parameters
    ----------
    outputs
        What is written.
    recording
        The recording.
    detector
        Gives the labels and the time scale.
    sample_rate
        Of the recording, in Hz, for pictures; None if it is unknown.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    files = OutputFiles()
    paths = outputs.paths(recording)
    with ExitStack() as stack:
        for path, format in zip(paths, outputs.file_formats, strict=False):
            part = stack.enter_context(written_whole(path))
            if format == "npz":
                files.frames = stack.enter_context(_open_frames(part, recording, detector))
            else:
                writer = outputs.open_writer(part, format, detector.spec)
                files.writers.append(stack.enter_context(writer))
        if outputs.plot:
            files.plot = DetectionPlot(detector, _plot_config(outputs, recording, sample_rate))
        if outputs.embeddings is not None:
            files.rows = EmbeddingRows(
                outputs.embeddings,
                detector.timeline,
                detector.spec.window_seconds,
                recording.path,
                outputs.start_time(recording),
            )
            if (store := outputs.embeddings.store) is not None:
                dimension = len(outputs.embeddings.pool) * detector.engine.n_features
                files.vectors = stack.enter_context(
                    recording_written_whole(store, recording.place, dimension)
                )
        yield files
        if files.plot:
            files.plot.draw(paths[len(outputs.file_formats)])


@dataclass
class OutputFiles:
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


def _plot_config(
    outputs: OutputConfig, recording: Recording, sample_rate: int | None
) -> PlotConfig:
    title = os.path.basename(recording.path)
    # Recordings that were named one by one, or lie in the searched folder, are of no known site.
    if outputs.root and parent_folder(recording.path) not in ("", outputs.root):
        title = f"{site_name(recording.path, outputs.root)} · {title}"
    start = recording_start(recording.path, outputs.zone, outputs.recorder_zone)
    return PlotConfig(title, start, sample_rate, outputs.pages_folder(recording))
