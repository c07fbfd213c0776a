"""Stand-ins for a `Hearer`, for tests of those who lead it. Worker processes import them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from sed.audio.find import Recording
from sed.errors import CheckpointError, UsageError
from sed.events.tracker import Event
from sed.files import written_whole
from streaming.offline.job import JobConfig, JobResult, OnProgress


class FakeHearer:
    """Hears in a recording what its first word says, and writes events and a file about it."""

    engine = "an ear of tin"
    seconds_each = 0.0

    def __init__(self, settings: JobConfig) -> None:
        self._results = settings.results

    def hear(self, recording: Recording, on_progress: OnProgress) -> JobResult:
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
                return JobResult(failure=f"{recording.path}: is broken. Mend it.")
            case ["slow"]:
                for n in range(5):
                    time.sleep(0.25)
                    on_progress(float(n + 1), (n + 1) / 5)
        time.sleep(self.seconds_each)
        on_progress(10.0, 1.0)
        events = events_of(recording.path, len(words))
        self._write(recording, events)
        return JobResult(events, 10.0)

    def _write(self, recording: Recording, events: tuple[Event, ...]) -> None:
        for path in self._results.paths(recording):
            with written_whole(path) as part:
                part.write_text("".join(f"{event.onset}\n" for event in events) + "end\n")

    def _hang(self, recording: Recording) -> None:
        assert self._results.folder is not None
        with written_whole(self._results.paths(recording)[0]) as part:
            part.write_text("half")
            time.sleep(600)


class SlowHearer(FakeHearer):
    """Takes its time, so that a kill falls into it."""

    seconds_each = 0.02


class MissingModel(FakeHearer):
    """Cannot load its model."""

    def __init__(self, settings: JobConfig) -> None:
        raise CheckpointError("x.safetensors: no such file. Check --model, or leave it out.")


class StartsOnce(FakeHearer):
    """Cannot load its model where another has."""

    def __init__(self, settings: JobConfig) -> None:
        super().__init__(settings)
        assert self._results.folder is not None
        try:
            (self._results.folder / "started").mkdir(parents=True)
        except FileExistsError:
            raise CheckpointError("there is no memory for another one.") from None


class LateStartsOnce(StartsOnce):
    """The same, after all is heard."""

    def __init__(self, settings: JobConfig) -> None:
        if settings.worker:
            time.sleep(1.0)
        super().__init__(settings)


class Misused(FakeHearer):
    """Is asked for what cannot be."""

    def __init__(self, settings: JobConfig) -> None:
        raise UsageError("a hop of 3 s does not divide the window")


class StillBorn(FakeHearer):
    """Dies while it loads its model."""

    def __init__(self, settings: JobConfig) -> None:
        os._exit(7)


def events_of(path: str, n: int) -> tuple[Event, ...]:
    """Return what a `FakeHearer` hears in a recording."""
    return tuple(Event(k / 3, k / 3 + 0.1, f"väl{k}", 0.1 + k / 7, path) for k in range(n))
