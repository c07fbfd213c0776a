"""Run jobs on a Ray cluster, on all the processors that it has.

::

    here: recordings ─▶ Ray Data ─▶ an actor per processor: `JobRunner` ─▶ here: reports

An actor whose process or machine is lost is started again, and its recording is processed again:
nothing of a recording counts before all of it has arrived.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from sed.audio.find import Recording
from sed.errors import MissingExtraError, RecordingError, SedError, UsageError
from sed.files import remove_parts
from sed.models.devices import DeviceError
from sed.models.spec import ModelSpec
from sed.text import pluralize, printable
from streaming.engines.graph_model import spec_of_graph
from streaming.offline.executor import Executor
from streaming.offline.job import (
    JobFinished,
    JobResult,
    JobRunner,
    JobStarted,
    WorkerFailed,
    check_portable,
    collect,
    logger,
)
from streaming.offline.job_config import JobConfig

MAX_TASKS = 2_000  # a task costs a message or two; a lost one is repeated with all its recordings
N_RETRIES = 3  # of a task whose actor is lost; then each of its recordings is tried once more


class RayExecutor(Executor):
    """Runs jobs on the Ray cluster that there is, or on this machine as a cluster of one.

    That is the cluster of ``RAY_ADDRESS``, or the one that ``ray start`` joined this machine to.
    The model, recordings without a protocol (``s3://``) and an output folder have the same path on
    all machines. Recordings are finished in any order.

    Parameters
    ----------
    n_actors
        Recordings to process at the same time; by default one per GPU, or else per CPU. Several
        share a GPU if there are more actors than GPUs.
    make_runner
        Makes what runs jobs in an actor; a class or a function at the top of a module.

    Raises
    ------
    UsageError
        If `n_actors` is not positive.
    """

    allows_journal = False  # a cluster is given all recordings at once

    def __init__(
        self,
        n_actors: int | None = None,
        *,
        make_runner: Callable[[JobConfig, int], JobRunner] = JobRunner,
    ) -> None:
        if n_actors is not None and n_actors < 1:
            raise UsageError(f"expected workers of 1 or more, got {n_actors}")
        self._n_actors = n_actors
        self._make_runner = make_runner
        self._logged: set[tuple[tuple[int, str], ...]] = set()
        self._requested: list[Recording] = []
        self._processed: list[Recording] = []

    def start(self, job: JobConfig) -> ModelSpec | None:
        """Check the job; see `Executor.start`. Each actor loads the model.

        Raises
        ------
        UsageError
            If the job names a GPU, or the outputs have no room for several recordings.
        """
        check_portable(job)
        job.outputs.check_shared()
        if job.device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                "a cluster gives each worker its device: choose auto, cpu or cuda, "
                f"not {job.device}"
            )
        self._job = job
        return spec_of_graph(job.model)

    def run(
        self, recordings: Iterator[Recording], n_recordings: int
    ) -> Generator[JobStarted | JobFinished]:
        """Yield reports as they come; see `Executor.run`.

        Raises
        ------
        UsageError
            If an actor finds an invalid setting.
        MissingExtraError
            If Ray is not installed.
        DeviceError
            If the job needs a GPU and the cluster has none.
        SedError
            If the cluster cannot be joined, or an actor cannot load the model.
        """
        self._requested = list(recordings)
        waiting = dict(enumerate(self._requested))
        for recording in self._requested:
            yield JobStarted(recording)
        n_together = math.ceil(len(waiting) / MAX_TASKS)
        # Standard output is for results, and Ray prints there.
        with _cluster() as ray, redirect_stdout(sys.stderr):
            # Recordings that are lost together are tried once more, each in a task of its own.
            for n_per_task in (n_together, 1):
                for number, log, result in self._results(ray, waiting, n_per_task):
                    self._log(log)
                    recording = waiting.pop(number)
                    if result.processed_seconds or result.failure is None:
                        self._processed.append(recording)
                    yield JobFinished(recording, result)
        for recording in waiting.values():
            yield JobFinished(recording, JobResult(failure=_lost(recording), was_opened=False))

    def close(self) -> Sequence[SedError]:
        """Remove unfinished outputs of lost actors; report outputs that are not on this machine."""
        outputs = self._job.outputs
        paths = {path for recording in self._requested for path in outputs.paths(recording)}
        if not paths:
            return ()
        folder = outputs.folder or next(iter(paths)).parent
        remove_parts(paths)
        n_missing = sum(not outputs.exist(recording) for recording in self._processed)
        if not n_missing:
            return ()
        return [
            SedError(
                f"{printable(str(folder))}: the results of {pluralize(n_missing, 'recording')} "
                "were written on disks of other machines. Give --output a folder that all machines "
                "share, or one file for all results."
            )
        ]

    def _results(
        self, ray: Any, waiting: Mapping[int, Recording], n_per_task: int
    ) -> Iterator[tuple[int, tuple[tuple[int, str], ...], JobResult]]:
        """Yield numbers of recordings, the log of their actors and results, as they come."""
        rows = [{"number": n, "recording": pickle.dumps(r)} for n, r in waiting.items()]
        if not rows:
            return
        with _ray_data_settings(ray):
            requests = ray.data.from_items(
                rows, override_num_blocks=math.ceil(len(rows) / n_per_task)
            )
            responses = requests.map(
                _Actor,
                fn_constructor_args=(self._job, self._make_runner, os.getcwd()),
                max_restarts=-1,
                max_task_retries=N_RETRIES,
                **self._resources(ray, len(rows)),
            )
        try:
            for row in responses.iter_rows():
                log, result = pickle.loads(row["response"])
                if isinstance(result, WorkerFailed):
                    raise (UsageError if result.is_misuse else SedError)(result.reason)
                yield row["number"], log, result
        except ray.exceptions.RayError as error:
            raise SedError(
                f"the cluster gave up: {_first_line(error)}. `ray status` and the logs of Ray say "
                "more."
            ) from error

    def _resources(self, ray: Any, n_tasks: int) -> dict[str, Any]:
        """Return how many actors to start, and the processors of each."""
        available = ray.cluster_resources()
        n_gpus = 0 if self._job.device == "cpu" else int(available.get("GPU", 0))
        if self._job.device == "cuda" and not n_gpus:
            raise DeviceError("the cluster has no GPU. Leave out --device, or choose cpu.")
        n_actors, gpu_share = _share_devices(self._n_actors, int(available.get("CPU", 0)), n_gpus)
        pool = ray.data.ActorPoolStrategy(
            size=min(n_actors, n_tasks),
            max_tasks_in_flight_per_actor=1,  # no task waits behind a long one
        )
        return {"compute": pool, "num_cpus": 1, "num_gpus": gpu_share or None}

    def _log(self, log: tuple[tuple[int, str], ...]) -> None:
        """Pass on what an actor has logged while it loaded the model, each kind once."""
        if log not in self._logged:
            self._logged.add(log)
            for level, text in log:
                logger.log(level, "%s", text)


class _Actor:
    """An actor's part: a model, loaded once, that processes the recording of each row."""

    def __init__(
        self, job: JobConfig, make_runner: Callable[[JobConfig, int], JobRunner], folder: str
    ) -> None:
        # On another machine the folder may be missing; paths are absolute there.
        with suppress(OSError):
            os.chdir(folder)
        self._failed: WorkerFailed | None = None
        try:
            self._runner = make_runner(job, 0)
        except (UsageError, SedError) as error:
            self._failed = WorkerFailed(str(error), isinstance(error, UsageError))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        recording = pickle.loads(row["recording"])
        return {"number": row["number"], "response": pickle.dumps(self._respond(recording))}

    def _respond(
        self, recording: Recording
    ) -> tuple[tuple[tuple[int, str], ...], JobResult | WorkerFailed]:
        if self._failed:
            return (), self._failed
        try:
            return self._runner.log, collect(self._runner.run(recording))
        except Exception as error:
            # The other recordings can do without this one.
            reason = f"met an unexpected {type(error).__name__} ({error})"
            failure = SedError(str(_lost(recording, reason)))
            return self._runner.log, JobResult(failure=failure, was_opened=False)


def _share_devices(n_requested: int | None, n_cpus: int, n_gpus: int) -> tuple[int, float]:
    """Return the number of actors and the share of a GPU of each, which may be 0."""
    n_cpus = max(1, n_cpus)  # a cluster that grows on demand may have none yet
    if not n_gpus:
        return min(n_requested or n_cpus, n_cpus), 0.0
    n_actors = min(n_requested or n_gpus, n_cpus)
    return n_actors, 1 / math.ceil(n_actors / n_gpus)


def _lost(
    recording: Recording, how: str = "was lost before the end, each time of several"
) -> RecordingError:
    return RecordingError(
        recording.path,
        f"the process that analysed it {how}. Check the file; if it plays elsewhere, convert it.",
    )


@contextmanager
def _cluster() -> Iterator[Any]:
    """Join the cluster that there is, or start one on this machine; give the module `ray`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors are reported here
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
        raise SedError(
            f"cannot join the cluster: {_first_line(error)}. Check RAY_ADDRESS and `ray status`; "
            "`ray stop` clears away one that is gone."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _ray_data_settings(ray: Any) -> Iterator[None]:
    """Let data sets that are created meanwhile wait without limit and survive lost tasks."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = -1  # a recording may last a month
    with warnings.catch_warnings(), ray.data.DataContext.current(context):
        # Other ways to set retries do not exist yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
