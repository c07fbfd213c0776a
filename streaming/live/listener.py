"""Run several live inputs through one model, and yield messages about all of them.

::

    source ─▶ CaptureBuffer ─┐                          ┌─▶ Detector ─▶ messages
    source ─▶ CaptureBuffer ─┼─ windows ─▶ one batch ─▶─┼─▶ Detector ─▶ messages
    source ─▶ CaptureBuffer ─┘                          └─▶ Detector ─▶ messages
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from sed.errors import SedError, UsageError
from sed.models.spec import ModelSpec
from sed.text import deduplicate
from streaming.engines.base import Engine, FrameOutput
from streaming.engines.select import open_engine
from streaming.live.capture import AudioChunk, CaptureItem, Disconnect, SampleGap
from streaming.live.clock import SystemClock, describe_step, elapsed_seconds
from streaming.live.input import InputStream
from streaming.live.load import N_RECENT, STATUS_SECONDS, Load
from streaming.live.sources import AudioSource
from streaming.messages import ClockStepped, FaultReporter, Message, Problem, Status
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from streaming.pipeline.windows import Batch

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


LIVE = DetectorConfig(hop_seconds=0.5, mode="sliding_window", lookahead_seconds=1.0)
BUFFER_SECONDS = 10.0
MAX_FAILURES = 20  # of the model in a row, after which listening ends


def live_config(config: DetectorConfig, spec: ModelSpec) -> DetectorConfig:
    """Return a configuration with a hop for live sound, if it has none.

    It is that of `LIVE`; a graph of others keeps the hop that it was registered with.
    """
    if config.hop_seconds is not None or spec.is_of_windows:
        return config
    return dataclasses.replace(config, hop_seconds=LIVE.hop_seconds)


class Listener:
    """Detects events in live inputs until they end or `stop` is called.

    Parameters
    ----------
    sources
        The inputs, not started yet.
    model
        An engine, or a checkpoint, which PyTorch then runs on the best device.
    config
        Hop, thresholds, classes; a hop of 0.5 s and a lookahead of 1 s if not given.
    channel
        Channel to analyse, counted from 1; the mean of all if not given.
    buffer_seconds
        Seconds of sound that may wait for the model before some is dropped. A caller that takes
        longer than this between two messages loses sound, too.
    clock
        The clock that gives events their time; that of the system if not given.

    Raises
    ------
    UsageError
        If there is no source, a source has no such channel, or the configuration cannot work.
    """

    def __init__(
        self,
        sources: Sequence[AudioSource],
        model: Engine | Checkpoint,
        config: DetectorConfig = LIVE,
        *,
        channel: int | None = None,
        buffer_seconds: float = BUFFER_SECONDS,
        clock: SystemClock | None = None,
    ) -> None:
        if not sources:
            raise UsageError("expected at least one input to listen to")
        config = dataclasses.replace(config, batch_size=1)
        self.engine = open_engine(model, n_streams=1)
        self._wake = threading.Condition()
        self._clock = clock or SystemClock()
        names = deduplicate([source.name for source in sources])
        self._inputs = [
            InputStream(
                source,
                Detector(self.engine, config, sample_rate=source.sample_rate),
                channel,
                self._wake,
                buffer_seconds,
                name=name,
                clock=self._clock,
            )
            for source, name in zip(sources, names, strict=True)
        ]
        self._is_stopping = False
        self._next_detectors: list[Detector] = []  # that are used from the next sound on
        self._started_at: float | None = None  # monotonic seconds
        self._n_failures, self._last_failure = 0, ""  # of the model, in a row
        self._model_faults = FaultReporter("the model works again")
        self._load = Load()
        self._latencies: deque[float] = deque(maxlen=N_RECENT)  # seconds

    @property
    def detector(self) -> Detector:
        """The detector of the first input; labels, spectrogram and lookahead are equal in all."""
        return self._inputs[0].detector

    @property
    def failures(self) -> list[str]:
        """Why inputs have ended before their end, one text for each that has."""
        return [each.failure for each in self._inputs if each.failure]

    def stop(self) -> None:
        """Stop the inputs; `messages` ends when all sound is processed. Any thread may call it."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify_all()

    def prepare(self, config: DetectorConfig) -> list[Detector]:
        """Return a detector for each input, with another configuration; see `use`.

        Parameters
        ----------
        config
            With the same hop, as the buffers depend on it.

        Raises
        ------
        UsageError
            If the configuration cannot work.
        """
        config = dataclasses.replace(config, batch_size=1)
        return [
            Detector(self.engine, config, sample_rate=each.sample_rate) for each in self._inputs
        ]

    def use(self, detectors: Sequence[Detector]) -> None:
        """Use other detectors, of `prepare`, from the next sound on; without any nothing changes.

        No sound is lost. Events that last are ended, as at the end of a recording, and the sound
        that follows is another one: its first results need a whole window. Call it between two
        messages, in the thread that receives them.
        """
        self._next_detectors = list(detectors)

    def status(self) -> Status:
        """Return the state of all inputs and of the model."""
        started = self._started_at
        return Status(
            uptime_seconds=0.0 if started is None else time.monotonic() - started,
            real_time_factor=self._load.real_time_factor(),
            latency_seconds=median(self._latencies) if self._latencies else 0.0,
            n_events=sum(each.n_events for each in self._inputs),
            sources=tuple(each.status() for each in self._inputs),
        )

    def messages(self) -> Generator[Message]:
        """Start the inputs and yield messages as they come; the last one is a `Status`.

        An input that cannot be started is reported as a `Problem`, and the others are used. Sound
        that the model fails on becomes a `Gap`.

        Raises
        ------
        SedError
            If no input can be started; after the last message, if the model fails again and again.
        """
        self._started_at = time.monotonic()
        self._n_failures = 0
        self._load = Load()
        self.engine.init_thread()
        try:
            self._start_inputs()
            yield from self._run()
            yield self.status()
        finally:
            self._stop_inputs()
            self.engine.restore_threads()
        if self._n_failures >= MAX_FAILURES:
            raise SedError(
                f"the model failed {MAX_FAILURES} times in a row, at last with "
                f"{self._last_failure}. Check its device and memory, and start again."
            )

    def _start_inputs(self) -> None:
        errors: list[SedError] = []
        for each in self._inputs:
            try:
                each.start()
            except SedError as error:
                each.buffer.fail(str(error))
                errors.append(error)
        if len(errors) == len(self._inputs):
            raise errors[0]

    def _run(self) -> Generator[Message]:
        while True:
            if self._is_stopping:
                self._stop_inputs()
            yield from self._check_clock()
            yield from self._use_next_detectors()
            items = [(each, item) for each in self._inputs if (item := each.next_item())]
            yield from self._process(items)
            for each in self._inputs:
                if each.has_just_ended:
                    each.is_open = False
                    yield from self._flush(each)
            if not any(each.is_open for each in self._inputs):
                return
            if self._n_failures >= MAX_FAILURES:
                self._stop_inputs()
                for each in self._inputs:
                    yield from each.lose()
                return
            if self._load.update([each.processed_seconds for each in self._inputs]):
                yield self.status()
            if not items:
                with self._wake, self._load.idle():
                    self._wake.wait_for(self._has_work, STATUS_SECONDS)

    def _check_clock(self) -> Generator[Message]:
        if step := self._clock.step():
            for each in self._inputs:
                each.clock_stepped(step)
            yield Problem(describe_step(step))
            yield ClockStepped(step)

    def _use_next_detectors(self) -> Generator[Message]:
        detectors, self._next_detectors = self._next_detectors, []
        for each, detector in zip(self._inputs, detectors, strict=bool(detectors)):
            yield from each.flush()
            each.detector = detector

    def _has_work(self) -> bool:
        return self._is_stopping or any(
            each.buffer.has_items or each.has_just_ended for each in self._inputs
        )

    def _stop_inputs(self) -> None:
        for each in self._inputs:
            each.stop()

    def _process(self, items: Iterable[tuple[InputStream, CaptureItem]]) -> Generator[Message]:
        chunks: list[tuple[InputStream, AudioChunk, list[Batch]]] = []
        for each, item in items:
            match item:
                case AudioChunk():
                    yield from each.check_silence(item)
                    chunks.append((each, item, each.push(item)))
                case Problem(text):
                    yield Problem(text)
                case Disconnect():
                    yield from self._flush(each)
                case SampleGap():
                    if item.n_samples:
                        yield from self._flush(each)
                    yield each.gap(item)
        batches_of_each = [batches for _, _, batches in chunks]
        n_windows = [sum(len(batch.windows) for batch in own) for own in batches_of_each]
        has_failed = False
        try:
            outputs = self._infer(batches_of_each)
        # An engine may fail in any way; the next windows may be fine.
        except Exception as error:
            has_failed = True
            outputs = [[None] * len(own) for own in batches_of_each]
            yield from self._failed(error)
        else:
            if any(n_windows):
                self._n_failures = 0
                yield from self._model_faults.update(None)
        for (each, chunk, batches), rows, n in zip(chunks, outputs, n_windows, strict=True):
            if n and has_failed:
                yield each.audio_block(chunk, each.nothing)
                yield from each.lose()
                continue
            if n:
                self._latencies.append(elapsed_seconds() - chunk.arrived)
            detection = each.decode(batches, rows)
            yield each.audio_block(chunk, detection)
            yield from each.event_messages(detection)

    def _flush(self, each: InputStream) -> list[Message]:
        try:
            return each.flush()
        # As above.
        except Exception as error:
            return [*self._failed(error), *each.lose()]

    def _failed(self, error: Exception) -> list[Message]:
        self._n_failures += 1
        self._last_failure = f"{type(error).__name__}: {error}"
        text = f"the model failed: {self._last_failure}. Sound is lost until it works again"
        return self._model_faults.update(text, kind=type(error).__name__)

    def _infer(self, batches: Sequence[Sequence[Batch]]) -> list[list[FrameOutput | None]]:
        """Run the model on the windows of all inputs together; return the output of each batch.

        The batches of one input go one after the other: the rounding of a matrix product may
        depend on its size, and an input alone must not depend on how its sound arrived.
        """
        outputs: list[list[FrameOutput | None]] = [[None] * len(own) for own in batches]
        for i in range(max(map(len, batches), default=0)):
            present = [n for n, own in enumerate(batches) if i < len(own) and own[i].windows]
            if not present:
                continue
            output = self.engine.infer(np.concatenate([batches[n][i].stack() for n in present]))
            for row, n in enumerate(present):
                outputs[n][i] = output[row : row + 1]
        return outputs
