"""One recording to its events."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator

from sed.audio import Decoder, read_blocks
from sed.checkpoint import Checkpoint, load_model
from sed.errors import RecordingError
from sed.events import Event
from streaming.detector import Detection, Detector, DetectorConfig
from streaming.engine import TorchEngine
from streaming.readahead import read_ahead

BLOCKS_AHEAD = 64  # decoded blocks that may wait for the model, about half a minute of sound


def detect(
    recording: str | os.PathLike[str],
    model: Checkpoint | str | os.PathLike[str] | None = None,
    *,
    hop: float | None = None,
    threshold: float | None = None,
    on: float | None = None,
    off: float | None = None,
    min_length: float | None = None,
    merge_gap: float | None = None,
    look_ahead: float | None = None,
    classes: tuple[str, ...] = (),
    top: int | None = None,
    channel: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
) -> Iterator[Event]:
    """Yield the events of a recording of any length, each as soon as it is certain.

    Parameters
    ----------
    recording
        A file, or ``-`` for a WAV file on standard input.
    model
        A checkpoint or its path; the default model if not given.
    hop
        Seconds from one window to the next; half a window if not given.
    threshold, on, off, min_length, merge_gap, look_ahead, classes, top
        See `DetectorConfig`; None is what the checkpoint says.
    batch_size
        See `DetectorConfig`; 16 if not given, and 1 for standard input, which may be live.
    channel
        Counted from 1; the mean of all if not given.
    device, precision
        See `TorchEngine`.

    Raises
    ------
    UsageError
        If an option is not what it can be.
    CheckpointError
        If the model cannot be loaded.
    RecordingError
        If the recording cannot be read; if it is damaged, after the events before the damage.
    """
    config = DetectorConfig(
        hop=hop,
        threshold=threshold,
        on=on,
        off=off,
        min_length=min_length,
        merge_gap=merge_gap,
        look_ahead=look_ahead,
        classes=tuple(classes),
        top=top,
        batch_size=batch_size or batch_size_for([os.fspath(recording)]),
    )
    checkpoint = model if isinstance(model, Checkpoint) else load_model(model)
    detector = Detector(checkpoint, config, engine=TorchEngine(checkpoint.model, device, precision))
    for detection in follow(detector, os.fspath(recording), channel=channel):
        yield from detection.events


def batch_size_for(sources: Iterable[str]) -> int:
    """Return how many windows to batch: files can wait, standard input may be live."""
    return 1 if "-" in sources else 16


def follow(
    detector: Detector,
    path: str,
    *,
    channel: int | None = None,
    decoder: Decoder | None = None,
) -> Generator[Detection]:
    """Yield what a detector makes of a recording, which is decoded in a thread of its own.

    Parameters
    ----------
    detector
        Is reset, and ready for another recording afterwards.
    path
        The recording; its events carry it.
    channel
        Counted from 1; the mean of all if not given.
    decoder
        The recording, already opened.

    Raises
    ------
    RecordingError
        Before anything else if it cannot be read, after everything good if it is damaged.
    """
    detector.reset()
    timeline = detector.timeline
    trouble: RecordingError | None = None
    blocks = read_ahead(
        read_blocks(path, timeline.sample_rate, channel=channel, decoder=decoder), BLOCKS_AHEAD
    )
    try:
        for block in blocks:
            yield _named(detector.push(block), path)
    except RecordingError as error:
        trouble = error
    finally:
        blocks.close()
    if trouble is None and detector.n_samples < timeline.hop_samples:
        trouble = RecordingError(
            path,
            f"lasts {1000 * detector.n_samples / timeline.sample_rate:.3g} ms, too short to hear "
            f"anything in: expected {1000 * timeline.hop_samples / timeline.sample_rate:g} ms or "
            "more. Record it again.",
        )
    yield _named(detector.flush(), path)
    if trouble is not None:
        raise trouble


def _named(detection: Detection, path: str) -> Detection:
    return detection._replace(
        events=[Event(e.onset, e.offset, e.label, e.score, path) for e in detection.events]
    )
