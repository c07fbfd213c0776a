"""Notice that a process was forked from one that had loaded a model.

Runtimes (OpenMP in torch, TBB in OpenVINO) keep threads, and a fork copies none of them: the next
computation in the child waits forever for threads that do not exist. This holds for new engines in
the child, too.
"""

from __future__ import annotations

import os

from sed.errors import UsageError

_loading_process: int | None = None  # the process that was the first to load a model


def refuse_forked() -> None:
    """Remember that this process runs models; call it before one is loaded or run.

    Raises
    ------
    UsageError
        If a parent of this process had loaded a model before it was forked.
    """
    global _loading_process
    process = os.getpid()
    if _loading_process is None:
        _loading_process = process
    elif _loading_process != process:
        raise UsageError(
            "this process was forked from one that had loaded a model, and the threads of the "
            "runtime are missing here: it would wait forever. Load models only after the fork, or "
            "start processes with multiprocessing.get_context('spawn')"
        )
