"""Say how recordings are processed, and name all that the results depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sed.errors import UsageError
from sed.events.embedding_store.store import StoreConfig, create_store
from sed.events.post_processing import PostProcessing
from sed.files import MAX_NAME_BYTES, result_path, short_name
from sed.models.metadata import library_versions
from sed.models.registry import DEFAULT_ALIAS
from sed.text import printable
from streaming.engines.base import Engine
from streaming.engines.identity import absolute_name, model_identity
from streaming.offline.outputs import OutputConfig
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint

JOURNAL = ".sed-journal.sqlite"
PROBLEMS = "problems.csv"  # the table of problems, beside a journal


@dataclass(frozen=True)
class JobConfig:
    """How recordings are processed, and what is written about them.

    Attributes
    ----------
    outputs
        What is written, and where.
    model
        Name of a model, path of a checkpoint, a run directory or an exported graph, or an encoder
        (``hf:NAME``); the default model if None. In this process also a loaded checkpoint or an
        open engine.
    config
        Options of detection.
    engine, device, precision
        See `open_engine`; of several GPUs each worker process gets its own.
    channel
        Channel to analyse, counted from 1; the mean of all if None.
    sample_rate, window_seconds
        Of an encoder whose files do not say; see `open_engine`.
    track
        Track of sound to analyse in containers, counted from 1; the container's default if None.
    """

    outputs: OutputConfig = field(default_factory=OutputConfig)
    model: str | os.PathLike[str] | Checkpoint | Engine | None = None
    config: DetectorConfig = field(default_factory=lambda: DetectorConfig(batch_size=None))
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    channel: int | None = None
    sample_rate: int | None = None
    window_seconds: float | None = None
    track: int | None = None

    @property
    def layer(self) -> str | None:
        """Layer of the network that is embedded; none if None."""
        embeddings = self.outputs.embeddings
        return None if embeddings is None else embeddings.layer


def result_settings(job: JobConfig) -> dict[str, str]:
    """Return all settings that results depend on, by the names of the options.

    Raises
    ------
    UsageError
        If the model is not a path.
    """
    outputs = job.outputs
    settings = asdict(job.config) | {
        "format": ",".join(sorted(outputs.formats)),
        "plot": outputs.plot,
        "time_zone": None if outputs.zone is None else str(outputs.zone),
        "engine": job.engine,
        "precision": job.precision,
        "channel": job.channel,
        "track": job.track,
        "sample_rate": job.sample_rate,
        "window_seconds": job.window_seconds,
    }
    del settings["batch_size"]  # it changes the speed only
    thresholds = job.config.thresholds
    if isinstance(thresholds, PostProcessing):
        settings["thresholds"] = f"{thresholds.name} {thresholds.checksum}"
    if not settings["class_thresholds"]:  # left out, as journals of earlier releases do
        del settings["class_thresholds"]
    if outputs.recorder_zone is not None:  # as the next
        settings["recorder_zone"] = str(outputs.recorder_zone)
    if outputs.columns:
        settings["columns"] = ",".join(outputs.columns)
    if outputs.combined is not None:
        settings["combined"] = os.path.abspath(outputs.combined)
    if outputs.spreadsheet_safe:  # left out otherwise, as journals of earlier releases do
        settings["spreadsheet_safe"] = True
    if (embeddings := outputs.embeddings) is not None:
        settings |= {"layer": embeddings.layer, "pool": ",".join(embeddings.pool)}
        clips = repr(sorted((embeddings.clips or {}).items())).encode("utf-8", "surrogateescape")
        checksum = hashlib.sha256(clips).hexdigest()[:12]
        settings |= {"parts to embed": f"{embeddings.cut} {checksum}"}
        if outputs.events and embeddings.store is not None:
            # The journal is elsewhere: another store would get the rest of the recordings alone.
            settings |= {"embeddings": os.path.abspath(embeddings.store)}
    return {
        "model": model_checksum(job.model),
        **{
            name.replace("_", "-").removesuffix("-seconds"): (
                "default" if value is None else json.dumps(value)
            )
            for name, value in settings.items()
        },
    }


def model_checksum(model: object) -> str:
    """Return 12 hexadecimal digits that identify a model: of its files, if it is a path."""
    if model is not None and not isinstance(model, str | os.PathLike):
        raise UsageError("a journal names the model by its file: give a path, not a loaded model")
    return model_identity(model)[:12]


def open_store(job: JobConfig, detector: Detector) -> None:
    """Create the store of embeddings that a job writes to, or check that the one there fits.

    Nothing is done if the job writes to none.

    Parameters
    ----------
    job
        Its model is a path or None.
    detector
        With the model of the job.

    Raises
    ------
    UsageError
        If the store there is of another model, layer or pooling, the engine gives another layer, or
        events are requested from an encoder, which has no classes.
    SedError
        If it cannot be written, or is no store.
    """
    if job.outputs.events and not detector.spec.labels:
        raise UsageError(f"{job.model}: has no classes, so it cannot detect: use `sed embed`")
    embeddings = job.outputs.embeddings
    if embeddings is not None and detector.engine.layer != embeddings.layer:
        raise UsageError(
            f"the engine gives the layer {detector.engine.layer or 'none'}, not "
            f"{embeddings.layer}: open it with open_engine(model, layer={embeddings.layer!r})"
        )
    if embeddings is None or embeddings.store is None:
        return
    config = StoreConfig(
        model=absolute_name(DEFAULT_ALIAS if job.model is None else str(job.model)),
        model_sha256=model_checksum(job.model),
        layer=embeddings.layer,
        pool=embeddings.pool,
        dimension=len(embeddings.pool) * detector.engine.n_features,
        cut=embeddings.cut,
        versions=library_versions(),
        sample_rate=job.sample_rate,
        window_seconds=job.window_seconds,
    )
    create_store(embeddings.store, config)


def check_resumed(
    folder: Path,
    earlier: tuple[Mapping[str, str], str],
    now: tuple[Mapping[str, str], str],
    *,
    resume: bool,
) -> None:
    """Make sure that a run may continue an earlier one.

    Parameters
    ----------
    folder
        Where the earlier run left its results.
    earlier, now
        The settings of both runs, see `result_settings`, and the folders of their recordings.
    resume
        Whether to resume an earlier run.

    Raises
    ------
    UsageError
        If not, or if settings differ, or recordings lie outside of the folder of before.
    """
    name, (old, old_root), (new, root) = printable(str(folder)), earlier, now
    if not resume:
        raise UsageError(
            f"{name}: an earlier run left results here. Give --resume to continue it, or "
            "another --output."
        )
    if os.path.commonpath([root, old_root]) != old_root:
        raise UsageError(
            f"{name}: is about recordings in {printable(old_root)}, and {printable(root)} "
            "lies outside of it. Give another --output."
        )
    for setting in sorted(old.keys() | new.keys()):
        was, is_now = old.get(setting, "nothing"), new.get(setting, "nothing")
        # The earlier release may not have had an option, which is at its default now.
        if was != is_now and {was, is_now} != {"nothing", "default"}:
            raise UsageError(
                f"{name}: was started with {setting} {was}, and now it is {is_now}. Give the "
                "same to resume, or give another --output."
            )


def journal_places(outputs: OutputConfig) -> tuple[Path, Path]:
    """Return where the journal and the table of problems go.

    Raises
    ------
    UsageError
        If the outputs have no place for them, or no room for several recordings.
    """
    if outputs.skip_existing:
        raise UsageError("--skip-existing is not for --workers: --resume knows what is finished")
    if outputs.folder is not None:
        return outputs.folder / JOURNAL, outputs.folder / PROBLEMS
    if outputs.output is None:
        raise UsageError("--workers and --resume keep a journal beside the results: give --output")
    outputs.check_shared()
    output = Path(outputs.output)
    # SQLite puts a log with a longer name beside the journal.
    room = MAX_NAME_BYTES - len(JOURNAL) - len("-journal")
    return (
        output.with_name(short_name(f".{output.name}", room) + JOURNAL),
        result_path(output.parent, output.name, f".{PROBLEMS}"),
    )
