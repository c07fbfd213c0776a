"""Check the audio files of clips before training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sed.audio.blocks import read_blocks
from sed.audio.decode import MIN_SAMPLE_RATE
from sed.errors import RecordingError, SedError, TableError
from sed.text import lines
from train.data.audio import PlainWav, n_samples, plain_wav
from train.data.clips import Clip

_BLOCK = 1 << 20  # samples checked at once


def check_files(
    clips: Sequence[Clip],
    sample_rate: int,
    on_file_checked: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Return an error message for each file that training could not use, in their order.

    Files are decoded as a whole; plain WAV files are only searched for silence and for samples
    that are not finite.

    Parameters
    ----------
    clips
        The clips to check; a file of several clips is checked once.
    sample_rate
        Samples per second that training reads.
    on_file_checked
        Called after each file with the number of files done and in all.
    """
    ranges: dict[str, list[Clip]] = {}
    for clip in clips:
        ranges.setdefault(clip.path, []).append(clip)

    def error_of(path: str) -> str:
        try:
            plain = plain_wav(path, sample_rate)
            if plain is None or not _is_audible(plain):
                for _ in read_blocks(path, MIN_SAMPLE_RATE):
                    pass
            for clip in ranges[path]:
                if n_samples(clip, sample_rate) == 0:
                    reason = f"holds no sound from {clip.start_seconds:g} s on. Check the table."
                    return str(RecordingError(path, reason))
        except SedError as error:
            return str(error)
        return ""

    pool = ThreadPoolExecutor()
    errors = []
    try:
        for n_checked, error in enumerate(pool.map(error_of, ranges), start=1):
            errors += [error] * bool(error)
            if on_file_checked is not None:
                on_file_checked(n_checked, len(ranges))
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the others
    return errors


def raise_if_any(errors: Sequence[str], n_files: int) -> None:
    """Raise an error that lists the messages of `check_files`.

    Raises
    ------
    TableError
        If there are any.
    """
    if errors:
        raise TableError(
            f"{len(errors)} of {n_files} files cannot be used for training; repair them, remove "
            f"them, or run sed prepare, which leaves them out:{lines(errors)}"
        )


def _is_audible(samples: PlainWav) -> bool:
    """Return whether samples are finite, and not all zero."""
    blocks = (samples[i : i + _BLOCK] for i in range(0, len(samples), _BLOCK))
    if samples.dtype == np.int16:
        return any(block.any() for block in blocks)
    sums = [float(np.abs(block).sum(dtype=np.float64)) for block in blocks]
    return math.isfinite(total := sum(sums)) and total > 0
