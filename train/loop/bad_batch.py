"""Keep a batch whose loss is not finite."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sed.errors import SedError
from sed.files import written_whole
from sed.text import printable
from train.loop.dataset import Example


def not_finite(batch: Example, files: Sequence[str], loss: float, step: int, run: Path) -> SedError:
    """Save a batch whose loss is not finite as ``bad-batch.npz``; return the error that names it.

    Parameters
    ----------
    batch, files
        Its examples, and the file of each.
    loss
        Its loss.
    step
        Counted from 0 over the whole run.
    run
        The run directory.
    """
    path = run / "bad-batch.npz"
    with written_whole(path) as part, open(part, "wb") as file:
        np.savez(
            file,
            samples=batch.samples.cpu(),
            targets=batch.targets.cpu(),
            files=np.array(files),
        )
    names = ", ".join(printable(os.path.basename(f)) for f in files[:8])
    return SedError(
        f"the loss of step {step + 1} is {loss}; its batch ({names}"
        f"{', …' if len(files) > 8 else ''}) is saved as {printable(str(path))}. Lower "
        "learning_rate, or set precision to fp32; the epochs so far are kept."
    )
