"""Stand-ins for a `JobRunner`, for tests of executors. Worker processes import them."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np

from sed.audio.find import Recording
from sed.errors import CheckpointError, DamagedRecordingError, SedError, UsageError
from sed.events.embedding_store.store import recording_written_whole
from sed.events.tracker import Event
from sed.files import written_whole
from streaming.offline.job import JobFinished, JobProgress, JobResult, JobRunner
from streaming.offline.job_config import JobConfig


class FakeRunner(JobRunner):
    """Does with a recording what its first word says, and writes events and a file about it."""

    log = ((logging.INFO, "an engine of tin"),)
    seconds_each = 0.0

    def __init__(self, job: JobConfig, worker: int = 0) -> None:
        self._outputs = job.outputs

    def run(self, recording: Recording) -> Generator[JobProgress | JobFinished]:
        words = Path(recording.path).read_bytes().decode().split()
        match words[:1]:
            case ["crash"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["abort"]:
                os.abort()
            case ["leave"]:
                os._exit(3)
            case ["hang"]:
                self._hang(recording)
            case ["surprise"]:
                raise TypeError("what is this?")
            case ["fail"]:
                failure = SedError(f"{recording.path}: is broken. Mend it.")
                yield JobFinished(recording, JobResult(failure=failure, was_opened=False))
                return
            case ["odd"]:
                notices = ("is loud. Lower it.", "is odd. Look.")
                self._write(recording, ())
                yield JobFinished(recording, JobResult((), 10.0, notices=notices))
                return
            case ["damaged"]:
                failure = DamagedRecordingError(recording.path, 1.0, "gone. Copy it.")
                notices = ("is odd. Look.",)
                self._write(recording, ())
                result = JobResult((), 10.0, failure, is_damaged=True, notices=notices)
                yield JobFinished(recording, result)
                return
            case ["slow"]:
                for n in range(5):
                    time.sleep(0.25)
                    yield JobProgress(recording, float(n + 1), (n + 1) / 5)
        time.sleep(self.seconds_each)
        events = events_of(recording.path, len(words))
        yield JobProgress(recording, 10.0, 1.0, events)
        self._write(recording, events)
        yield JobFinished(recording, JobResult((), 10.0))

    def _write(self, recording: Recording, events: tuple[Event, ...]) -> None:
        for path in self._outputs.paths(recording):
            with written_whole(path) as part:
                part.write_text("".join(f"{event.onset}\n" for event in events) + "end\n")

    def _hang(self, recording: Recording) -> None:
        (path,) = self._outputs.paths(recording)
        with written_whole(path) as part:
            part.write_text("half")
            time.sleep(600)


class SlowRunner(FakeRunner):
    """Takes its time, so that a kill falls into it."""

    seconds_each = 0.02


class MissingModel(FakeRunner):
    """Cannot load its model."""

    def __init__(self, job: JobConfig, worker: int = 0) -> None:
        raise CheckpointError("x.safetensors: no such file. Check --model, or leave it out.")


class StartsOnce(FakeRunner):
    """Cannot load its model where another has."""

    def __init__(self, job: JobConfig, worker: int = 0) -> None:
        super().__init__(job)
        assert job.outputs.folder is not None
        try:
            (job.outputs.folder / "started").mkdir(parents=True)
        except FileExistsError:
            raise CheckpointError("there is no memory for another one.") from None


class LateStartsOnce(StartsOnce):
    """The same, after all recordings are processed."""

    def __init__(self, job: JobConfig, worker: int = 0) -> None:
        if worker:
            time.sleep(1.0)
        super().__init__(job)


class Misused(FakeRunner):
    """Has a setting that is invalid."""

    def __init__(self, job: JobConfig, worker: int = 0) -> None:
        raise UsageError("a hop of 3 s does not divide the window")


class StillBorn(FakeRunner):
    """Dies while it loads its model."""

    def __init__(self, job: JobConfig, worker: int = 0) -> None:
        os._exit(7)


def events_of(path: str, n: int) -> tuple[Event, ...]:
    """Return what a `FakeRunner` finds in a recording."""
    return tuple(Event(k / 3, k / 3 + 0.1, f"väl{k}", 0.1 + k / 7, path) for k in range(n))


class EmbeddingRunner(SlowRunner):
    """Embeds a recording: as many rows as it has words, each a vector of the row's number."""

    def _write(self, recording: Recording, events: tuple[Event, ...]) -> None:
        assert self._outputs.embeddings is not None
        store = self._outputs.embeddings.store
        assert store is not None
        vectors = np.arange(len(events))[:, None] * np.ones((1, 4))
        with recording_written_whole(store, recording.place, 4) as writer:
            for event, vector in zip(events, vectors, strict=True):
                writer.write([event], vector[None])
                time.sleep(0.003)
