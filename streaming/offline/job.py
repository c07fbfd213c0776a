"""One recording after the other, each to its own results and to an outcome that can be sent.

What a worker process does, and what an actor on another machine would do: all that goes in and
comes out can be pickled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sed.audio.decode import open_recording
from sed.audio.find import Recording
from sed.errors import SedError
from sed.events.tracker import Event
from sed.models.devices import has_gpu
from streaming.engines.select import open_engine, runs_on_cpu
from streaming.offline.detect import share_of, stream_detections
from streaming.offline.outputs import OutputConfig
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector

OnProgress = Callable[[float, float], None]  # seconds, and share of the recording, heard so far


@dataclass(frozen=True)
class JobConfig:
    """What a hearer is made of."""

    results: OutputConfig  # what it writes about each recording alone
    model: str | None = None  # path of a checkpoint; None: the default model
    config: DetectorConfig = field(default_factory=lambda: DetectorConfig(batch_size=None))
    engine: str = "auto"  # what runs the model, see `open_engine`
    device: str = "auto"  # auto, cpu, cuda or cuda:N; of several GPUs each worker has its own
    precision: str = "auto"  # auto, fp32, bf16 or fp16
    channel: int | None = None  # counted from 1; None: the mean of all
    worker: int = 0  # which of the workers, counted from 0

    def of_worker(self, worker: int) -> JobConfig:
        """Return the settings for one of several workers."""
        return dataclasses.replace(self, worker=worker)


@dataclass(frozen=True)
class JobResult:
    """What became of a recording."""

    events: tuple[Event, ...] = ()  # also those before some damage
    processed_seconds: float = 0.0
    failure: str = ""  # what was wrong, and what to do; empty if nothing was


class Hearer:
    """Hears recordings with one model, loaded once.

    Parameters
    ----------
    settings
        The model, how it is led, and what is written.

    Raises
    ------
    UsageError
        If an option is not what it can be.
    SedError
        If the model or the device cannot be had.
    """

    def __init__(self, settings: JobConfig) -> None:
        engine = open_engine(
            settings.model,
            engine=settings.engine,
            device=_own_device(settings),
            precision=settings.precision,
            n_streams=1,  # other workers have the other cores
        )
        self._settings = settings
        self._detector = Detector(engine, settings.config)
        self.engine = f"{engine}, {self._detector.mode}"

    def hear(self, recording: Recording, on_progress: OnProgress = lambda *_: None) -> JobResult:
        """Hear a recording and write its own results, whole or not at all.

        Returns
        -------
        Its events, and what was wrong with it.
        """
        events: list[Event] = []
        sample_rate = self._detector.timeline.sample_rate
        processed_seconds, failure = 0.0, ""
        try:
            decoder = open_recording(recording.path)
            with self._settings.results.open_outputs(recording, self._detector) as files:
                try:
                    for detection in stream_detections(
                        self._detector,
                        recording.path,
                        channel=self._settings.channel,
                        decoder=decoder,
                        start=self._settings.results.start_time(recording),
                    ):
                        files.write(detection)
                        events += detection.events
                        processed_seconds = detection.n_samples / sample_rate
                        on_progress(processed_seconds, share_of(decoder, processed_seconds))
                except SedError as error:  # what came before it is written all the same
                    failure = str(error)
        except SedError as error:
            failure = str(error)
        return JobResult(tuple(events), processed_seconds, failure)


def _own_device(settings: JobConfig) -> str:
    """Return a GPU for a worker to have alone, if there are several and none is named."""
    path = None if settings.model is None else Path(settings.model)
    is_free = settings.device in ("auto", "cuda") and not runs_on_cpu(path, settings.engine)
    if not is_free or not has_gpu():
        return settings.device
    import torch  # heavy

    n_gpus = torch.cuda.device_count()
    return f"cuda:{settings.worker % n_gpus}" if n_gpus > 1 else settings.device
