"""Audio files checked before training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.audio.blocks import read_blocks
from sed.audio.decode import MIN_SAMPLE_RATE
from sed.errors import RecordingError, SedError, TableError
from sed.text import lines
from train.data.audio import n_samples, open_samples
from train.data.clips import Clip

_BLOCK = 1 << 20  # samples looked at at once


def find_faults(
    clips: Sequence[Clip],
    sample_rate: int,
    on_checked: Callable[[int, int], None] = lambda *_: None,
) -> list[str]:
    """Return what is wrong with the files of clips: look into all, before hours are spent on some.

    Plain WAV files are only looked through for silence and for samples that are no number.
    """
    ranges: dict[str, list[Clip]] = {}
    for clip in clips:
        ranges.setdefault(clip.path, []).append(clip)

    def fault(path: str) -> str:
        try:
            plain = open_samples(path, sample_rate)
            if plain is None or not _sounds(plain):
                for _ in read_blocks(path, MIN_SAMPLE_RATE):
                    pass
            for clip in ranges[path]:
                if n_samples(clip, sample_rate) == 0:
                    reason = f"holds no sound from {clip.begin_seconds:g} s on. Check the table."
                    return str(RecordingError(path, reason))
        except SedError as error:
            return str(error)
        return ""

    pool = ThreadPoolExecutor()
    faults = []
    try:
        for n_checked, found in enumerate(pool.map(fault, ranges), start=1):
            faults += [found] * bool(found)
            on_checked(n_checked, len(ranges))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the others
    return faults


def refuse_faults(faults: Sequence[str], n_files: int) -> None:
    """Raise a `TableError` that lists what is wrong with files, if anything is."""
    if faults:
        raise TableError(
            f"{len(faults)} of {n_files} files cannot be learnt from; mend them, take them out, or "
            f"run sed prepare, which leaves them out:{lines(faults)}"
        )


def _sounds(samples: NDArray[Any]) -> bool:
    """Return whether samples are numbers, and not all zero."""
    blocks = (samples[i : i + _BLOCK] for i in range(0, len(samples), _BLOCK))
    if samples.dtype == np.int16:
        return any(block.any() for block in blocks)
    sums = [float(np.abs(block).sum(dtype=np.float64)) for block in blocks]
    return math.isfinite(total := sum(sums)) and total > 0
