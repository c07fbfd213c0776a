"""Start a run: one at a time in a directory, never over a model, with a metric that is defined."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sed.errors import OutputError, UsageError
from sed.files import locked, remove_parts
from sed.models.checkpoint import Checkpoint
from sed.text import printable
from train.config.optim import EVENT_METRICS
from train.data.clips import Clip
from train.evaluate.events import frame_event_metrics
from train.loop.distributed import Distributed
from train.loop.trainer import Trainer
from train.loop.validation import Validation
from train.run.directory import STATE

LOCK = ".lock"


@contextmanager
def locked_run(run: Path, world: Distributed) -> Iterator[None]:
    """Keep other trainings out of a run directory, and remove what killed ones left in it.

    Parameters
    ----------
    run
        The directory; it is created.
    world
        The processes that train together.

    Raises
    ------
    UsageError
        If another training uses it, which is named.
    OutputError
        If the directory cannot be written.
    """

    def refuse(holder: str) -> None:
        raise UsageError(
            f"{printable(str(run))}: another training is using this folder ({holder}). Wait for "
            "it, end it, or train into another folder with --output."
        )

    with ExitStack() as stack:
        problem: UsageError | OutputError | None = None
        if world.is_first:
            try:
                stack.enter_context(locked(run / LOCK, refuse))
                remove_parts([run])
            except (UsageError, OutputError) as error:
                problem = error
        # The other processes would wait for ever for the first one.
        if any(world.all_gather(problem is not None)):
            raise problem or UsageError(f"{printable(str(run))}: see the first process.")
        yield


def refuse_finished_model(run: Path, world: Distributed) -> None:
    """Refuse to start a run where there is a model, whose state is missing.

    Raises
    ------
    UsageError
        If there is one.
    """
    names = ("best.safetensors", "last.safetensors")
    there = next((run / name for name in names if os.path.exists(run / name)), None)
    # All processes do as the first one finds.
    if (model := world.all_gather(there)[0]) is not None:
        raise UsageError(
            f"{printable(str(run))} holds a trained model, {model.name}, and a new run would "
            f"replace it; it cannot be resumed, since {STATE} is missing. Train into another "
            "folder with --output, from these weights with --init-weights "
            f"{printable(str(model))}, or delete the folder."
        )


def check_monitor(metric: str, clips: Sequence[Clip]) -> None:
    """Refuse to monitor a metric that validation clips do not define.

    Parameters
    ----------
    metric
        One of `METRIC_NAMES`.
    clips
        The validation clips.

    Raises
    ------
    UsageError
        If it is one of events, and no clip has labels with times; or accuracy, and clips have
        several labels.
    """
    if metric in EVENT_METRICS and not any(clip.events for clip in clips):
        raise UsageError(
            f"cannot monitor {metric}: the labels of the validation clips have no times. Monitor "
            "padded_cmap_5 or map, or give a table with onsets and offsets."
        )
    if metric == "accuracy" and any(len({*clip.labels}) > 1 for clip in clips):
        raise UsageError(
            "cannot monitor accuracy: validation clips have several labels. Monitor padded_cmap_5 "
            "or map."
        )


def event_metrics(trainer: Trainer, validation: Validation) -> dict[str, float]:
    """Return the metrics of the events in validation clips; NaN if labels have no times."""
    if not len(validation.frame_targets):
        return dict.fromkeys(EVENT_METRICS, float("nan"))
    spec = Checkpoint(trainer.model, trainer.data.labels, trainer.config.data.window_seconds).spec
    return frame_event_metrics(
        validation.frame_targets,
        validation.frame_probs,
        labels=trainer.data.labels,
        timeline=spec.timeline,
        config=trainer.tracker_config(validation),
        hierarchy=trainer.hierarchy,
    )
