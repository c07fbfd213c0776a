"""Recordings heard by a Ray cluster: the same stages, on all the devices that it has.

::

    here: names ─▶ Ray Data ─▶ an actor per device: `Hearer` ─▶ here: results, progress, troubles

An actor whose process or machine is gone is started again, and what it was hearing is heard again;
nothing of a recording counts before all of it is here.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, NamedTuple

from sed.audio.find import Recording, find_recordings
from sed.errors import MissingExtraError, RecordingError, SedError, UsageError
from sed.events.writers import EventWriter
from sed.models.devices import DeviceError
from sed.text import printable, some
from streaming.offline.job import Hearer, JobConfig, JobResult
from streaming.offline.scan import Progress, Summary
from streaming.offline.workers import MakeHearer, Unable

MOST_TASKS = 2_000  # each is a message or two; what many recordings share, a lost one repeats
N_RETRIES = 3  # of a task whose actor is gone, and then its recordings come once more


class ClusterError(SedError):
    """A cluster that cannot be joined, or does not do its work."""


class Heard(NamedTuple):
    """What an actor answers about a recording."""

    engine: str  # for people
    outcome: JobResult


class RayScan:
    """Listens to recordings on the Ray cluster that there is, or on this machine as one.

    That is the cluster of ``RAY_ADDRESS``, or the one that ``ray start`` joined this machine to.
    A recording that cannot be heard costs itself alone. OutputConfig that go to one place come in the
    order in which recordings are finished.

    Parameters
    ----------
    settings
        What is heard with, and what is written. The model, recordings that have no protocol
        (``s3://``) and a folder for results are looked for at the same place on every machine.
    n_actors
        How many hear at the same time; as many as there are GPUs, or else CPUs, if not given.
        Several share a GPU if there are more than GPUs.
    progress
        Told what happens.
    on_engine
        Told what runs the model, each kind once.
    make_hearer
        What hears, in the place of a `Hearer`.

    Raises
    ------
    UsageError
        If an option is not what it can be.
    """

    def __init__(
        self,
        settings: JobConfig,
        *,
        n_actors: int | None = None,
        progress: Progress | None = None,
        on_engine: Callable[[str], None] = lambda _: None,
        make_hearer: MakeHearer = Hearer,
    ) -> None:
        if n_actors is not None and n_actors < 1:
            raise UsageError(f"expected workers of 1 or more, got {n_actors}")
        if settings.results.folder is None:
            settings.results.check_shared()
        if settings.device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                "a cluster gives each worker its device: choose auto, cpu or cuda, "
                f"not {settings.device}"
            )
        self.summary = Summary()
        self._settings = settings
        self._n_actors = n_actors
        self._progress = progress or Progress()
        self._on_engine = on_engine
        self._engines: set[str] = set()
        self._table: EventWriter | None = None
        self._make_hearer = make_hearer
        self._n_bytes_finished = 0
        self._heard: list[Recording] = []

    def run(self, sources: Iterable[str | os.PathLike[str]]) -> Summary:
        """Listen to all recordings that files and folders name.

        Ctrl-C ends it; what is finished is kept.

        Raises
        ------
        UsageError
            If a setting cannot be, or one place for all results cannot hold several recordings.
        MissingExtraError
            If Ray is not installed.
        ClusterError
            If the cluster cannot be joined, or an actor cannot load the model.
        OutputError
            If the one place that all results go to cannot be written.
        """
        began = time.perf_counter()
        sources = [os.fspath(source) for source in sources]
        if "-" in sources:
            raise UsageError("standard input cannot be heard by a cluster: give files or folders")
        found, errors = find_recordings(sources)
        for error in errors:
            self._trouble(error)
        results = self._settings.results
        recordings = [r for r in found if not (results.skip_existing and results.exist(r))]
        self.summary.n_skipped = len(found) - len(recordings)
        self._progress.on_start(len(recordings), sum(r.n_bytes for r in recordings))
        with self._settings.results.open_shared() as self._table:
            if recordings:
                self._hear(dict(enumerate(recordings)))
        self._look_at_results(recordings)
        self.summary.wall_seconds = time.perf_counter() - began
        return self.summary

    def _hear(self, waiting: dict[int, Recording]) -> None:
        """Hear recordings, and those that were lost once more, each by itself."""
        n_each = math.ceil(len(waiting) / MOST_TASKS)
        try:
            with _cluster() as ray, redirect_stdout(sys.stderr):  # for results: Ray talks there
                for n_together in (n_each, 1):
                    for number, answer in self._answers(ray, waiting, n_together):
                        self._take(waiting.pop(number), answer)
        except KeyboardInterrupt:
            self.summary.interrupted = some([r.path for r in waiting.values()], 3)
            return
        for recording in waiting.values():
            self._trouble(_lost(recording))

    def _answers(
        self, ray: Any, waiting: Mapping[int, Recording], n_together: int
    ) -> Iterator[tuple[int, Heard | Unable]]:
        """Yield the numbers of recordings and what actors say of them, as it comes."""
        rows = [{"number": n, "recording": pickle.dumps(r)} for n, r in waiting.items()]
        if not rows:
            return
        with _patient(ray):
            asked = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / n_together))
            answered = asked.map(
                _Ear,
                fn_constructor_args=(self._settings, self._make_hearer, os.getcwd()),
                max_restarts=-1,
                max_task_retries=N_RETRIES,
                **self._devices(ray, len(rows)),
            )
        try:
            for row in answered.iter_rows():
                yield row["number"], pickle.loads(row["answer"])
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the cluster gave up: {_first_line(error)}. `ray status` and the logs of Ray say "
                "more."
            ) from error

    def _devices(self, ray: Any, n_tasks: int) -> dict[str, Any]:
        """Return how many actors there are to be, and what each of them has for itself."""
        there = ray.cluster_resources()
        n_gpus = 0 if self._settings.device == "cpu" else int(there.get("GPU", 0))
        if self._settings.device == "cuda" and not n_gpus:
            raise DeviceError("the cluster has no GPU. Leave out --device, or choose cpu.")
        n_actors, n_gpus_each = shares(self._n_actors, int(there.get("CPU", 0)), n_gpus)
        pool = ray.data.ActorPoolStrategy(
            size=min(n_actors, n_tasks),
            max_tasks_in_flight_per_actor=1,  # a long one would keep others waiting
        )
        return {"compute": pool, "num_cpus": 1, "num_gpus": n_gpus_each or None}

    def _take(self, recording: Recording, answer: Heard | Unable) -> None:
        """Count and pass on what an actor says of a recording."""
        if isinstance(answer, Unable):
            raise UsageError(answer.reason) if answer.is_misuse else ClusterError(answer.reason)
        engine, outcome = answer
        if engine not in self._engines:
            self._engines.add(engine)
            self._on_engine(engine)
        if self._table:
            for event in outcome.events:
                self._table.write(event)
        if outcome.processed_seconds or not outcome.failure:
            self._heard.append(recording)
            self.summary.n_files += 1
        self.summary.n_events += len(outcome.events)
        self.summary.audio_seconds += outcome.processed_seconds
        if outcome.failure:
            self._trouble(SedError(outcome.failure))
        self._n_bytes_finished += recording.n_bytes
        self._progress.on_progress(self._n_bytes_finished, self.summary.audio_seconds)

    def _trouble(self, error: SedError) -> None:
        self.summary.failures.append(error)
        self._progress.on_trouble(error)

    def _look_at_results(self, recordings: list[Recording]) -> None:
        """Say if results of recordings lie elsewhere, and remove what lost actors left in part."""
        results = self._settings.results
        paths = {path for recording in recordings for path in results.paths(recording)}
        if not paths:
            return
        folder = results.folder or next(iter(paths)).parent
        elsewhere = sum(not results.exist(r) for r in self._heard)
        if elsewhere:
            self._trouble(
                SedError(
                    f"{printable(str(folder))}: the results of {elsewhere} recordings were written "
                    "on disks of other machines. Give --output a folder that all machines share, "
                    "or one file for all results."
                )
            )
        for part in folder.rglob(".*.part*"):
            if part.with_name(re.sub(r"^\.(.*)\.\d+\.part.*$", r"\1", part.name)) in paths:
                part.unlink(missing_ok=True)


class _Ear:
    """What lives in an actor: a model, loaded once, that hears a recording for each row."""

    def __init__(self, settings: JobConfig, make_hearer: MakeHearer, folder: str) -> None:
        with suppress(OSError):  # on another machine, where only absolute paths can be meant
            os.chdir(folder)
        try:
            self._hearer = make_hearer(settings)
            self._unable = None
        except (UsageError, SedError) as error:
            self._unable = Unable(str(error), isinstance(error, UsageError))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        recording = pickle.loads(row["recording"])
        return {"number": row["number"], "answer": pickle.dumps(self._answer(recording))}

    def _answer(self, recording: Recording) -> Heard | Unable:
        if self._unable:
            return self._unable
        try:
            outcome = self._hearer.hear(recording, lambda *_: None)
        except Exception as error:  # the others can do without this one
            surprise = f"met an unexpected {type(error).__name__} ({error})"
            outcome = JobResult(failure=str(_lost(recording, surprise)))
        return Heard(self._hearer.engine, outcome)


def shares(n_asked: int | None, n_cpus: int, n_gpus: int) -> tuple[int, float]:
    """Return how many actors hear, and which share of a GPU each has, which may be none."""
    n_cpus = max(1, n_cpus)  # a cluster that grows when it is asked may have none yet
    if not n_gpus:
        return min(n_asked or n_cpus, n_cpus), 0.0
    n_actors = min(n_asked or n_gpus, n_cpus)
    return n_actors, 1 / math.ceil(n_actors / n_gpus)


def _lost(
    recording: Recording, how: str = "was gone before the end, each time of several"
) -> RecordingError:
    return RecordingError(
        recording.path,
        f"the process that heard it {how}. Check the file; if it plays elsewhere, convert it.",
    )


@contextmanager
def _cluster() -> Iterator[Any]:
    """Give Ray, in the cluster that there is or in one of this machine alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it tells its makers otherwise
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters is told by us
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("a Ray cluster", "ray") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"cannot join the cluster: {_first_line(error)}. Check RAY_ADDRESS and `ray status`; "
            "`ray stop` clears away one that is gone."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _patient(ray: Any) -> Iterator[None]:
    """Have what is made meanwhile wait as long as it takes, and go on without what is lost."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = -1  # a recording may last a month
    with warnings.catch_warnings(), ray.data.DataContext.current(context):
        warnings.simplefilter("ignore", DeprecationWarning)  # there is no other way to say retries
        yield


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
