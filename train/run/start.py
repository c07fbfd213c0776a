"""Start a run: one at a time in a directory, and never over a model that is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sed.errors import OutputError, UsageError
from sed.files import locked, remove_parts
from sed.text import printable
from train.loop.distributed import Distributed
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
    best = run / "best.safetensors"
    if world.all_gather(os.path.exists(best))[0]:
        raise UsageError(
            f"{printable(str(run))} holds a trained model, {best.name}, and a new run would "
            f"replace it; it cannot be resumed, since {STATE} is missing. Train into another "
            f"folder with --output, from these weights with --init-weights {printable(str(best))}, "
            "or delete the folder."
        )
