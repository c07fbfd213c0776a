"""Augment the samples of clips without changing their labels.

Pure functions of numpy arrays; the random generator is an argument. Functions that move sound in
time take and return samples together with spans: where in the clip each class is active.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sed.audio.resample import Resampler
from sed.types import Floats
from train.augment.vocoder import time_scale

Spans = list[tuple[int, int, int]]  # first sample, last sample exclusive, class index
Shift = Callable[[Floats, Spans, np.random.Generator], tuple[Floats, Spans]]

_N_MASKS = 2  # masked sections of a masked copy
_MAX_MASK = 0.25  # widest mask, as a share of the copy


def roll(samples: Floats, spans: Spans, generator: np.random.Generator) -> tuple[Floats, Spans]:
    """Shift a clip circularly by a random number of samples.

    Parameters
    ----------
    samples
        Shape (samples,).
    spans
        Where each class is active.
    generator
        Draws the shift.

    Returns
    -------
    tuple
        Samples, of the same shape, and spans; a span that wraps around becomes two.
    """
    n = len(samples)
    by = int(generator.integers(n))
    rolled: Spans = []
    for first, last, label in spans:
        begin = (first + by) % n
        end = begin + last - first
        if last - first == n:
            rolled.append((0, n, label))
        elif end <= n:
            rolled.append((begin, end, label))
        else:
            rolled += [(begin, n, label), (0, end - n, label)]
    return np.roll(samples, by), rolled


def shift(samples: Floats, spans: Spans, generator: np.random.Generator) -> tuple[Floats, Spans]:
    """Shift a clip by up to half its length; silence fills the gap.

    The shift is drawn again from half the range until half of the clip's energy stays inside.

    Parameters
    ----------
    samples
        Shape (samples,).
    spans
        Where each class is active.
    generator
        Draws the shift.

    Returns
    -------
    tuple
        Samples, of the same shape, and spans.
    """
    n = len(samples)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    furthest = n // 2
    while furthest:
        by = int(generator.integers(-furthest, furthest + 1))
        first, last = max(0, -by), n - max(0, by)
        if energy[last] - energy[first] >= 0.5 * energy[-1]:
            moved = np.zeros_like(samples)
            moved[first + by : last + by] = samples[first:last]
            return moved, _moved(spans, by, n)
        furthest //= 2
    return samples, spans


def identity(samples: Floats, spans: Spans, generator: np.random.Generator) -> tuple[Floats, Spans]:
    """Return samples, shape (samples,), and spans unchanged, in place of `roll` and `shift`."""
    return samples, spans


SHIFTS: dict[str, Shift] = {"roll": roll, "shift": shift, "none": identity}


def crop(samples: Floats, spans: Spans, start: int, length: int) -> tuple[Floats, Spans]:
    """Return `length` samples of a clip from `start` on, and the spans within them.

    Parameters
    ----------
    samples
        Shape (samples,).
    spans
        Where each class is active.
    start, length
        First sample, and number of samples.

    Raises
    ------
    ValueError
        If they reach beyond the clip.
    """
    if not 0 <= start <= start + length <= len(samples):
        raise ValueError(
            f"expected a section within {len(samples)} samples, got {length} from sample {start}"
        )
    return np.ascontiguousarray(samples[start : start + length]), _moved(spans, -start, length)


def fit_length(
    samples: Floats,
    spans: Spans,
    length: int,
    pad_mode: str,
    generator: np.random.Generator | None,
) -> tuple[Floats, Spans]:
    """Return a clip of exactly `length` samples: crop a longer one, pad a shorter one.

    Parameters
    ----------
    samples
        Shape ``(samples,)``.
    spans
        Where in them each class is active.
    length
        Samples of the result.
    pad_mode
        ``pad`` puts silence around a short clip, ``repeat`` loops it, ``masked-copy`` loops it
        too, and masks random sections of each copy but the first.
    generator
        Draws the position of the crop, of the clip in its silence, and of masks. Without one, the
        position is the middle, and nothing is masked.
    """
    spare = len(samples) - length
    if spare < 0 and pad_mode != "pad" and len(samples):
        masking = generator if pad_mode == "masked-copy" else None
        return _looped(samples, spans, length, masking)
    start = abs(spare) // 2 if generator is None else int(generator.integers(abs(spare) + 1))
    if spare >= 0:
        return crop(samples, spans, start, length)
    return np.pad(samples, (start, -spare - start)), _moved(spans, start, length)


def random_gain(samples: Floats, gain_db: float, generator: np.random.Generator) -> Floats:
    """Apply a random gain to a clip.

    Parameters
    ----------
    samples
        Shape (samples,).
    gain_db
        Largest gain in decibels, up or down.
    generator
        Draws the gain.
    """
    return samples * np.float32(10 ** (generator.uniform(-gain_db, gain_db) / 20))


def time_stretch(samples: Floats, spans: Spans, speed: float) -> tuple[Floats, Spans]:
    """Play a clip faster (above 1) or slower at the same pitch, see `train.augment.vocoder`.

    Parameters
    ----------
    samples
        Shape (samples,).
    spans
        Where each class is active.
    speed
        Seconds of the clip per second of the result.

    Returns
    -------
    tuple
        ``round(samples / speed)`` samples, and the spans at their new times.

    Raises
    ------
    ValueError
        If the speed is not above 0.
    """
    stretched = time_scale(samples, speed)
    n = len(stretched)
    scaled = [(round(first / speed), round(last / speed), label) for first, last, label in spans]
    return stretched, _moved(scaled, 0, n)


def pitch_shift(samples: Floats, sample_rate: int, semitones: float) -> Floats:
    """Shift the pitch of a clip; its duration stays.

    The clip is stretched in time by 2^(semitones / 12), then resampled to its old length.

    Parameters
    ----------
    samples
        Shape (samples,).
    sample_rate
        Samples per second.
    semitones
        Shift, up or down.
    """
    ratio = 2.0 ** (semitones / 12)
    stretched = time_scale(samples, 1 / ratio)
    resampler = Resampler(round(sample_rate * ratio), sample_rate)
    moved = np.concatenate([resampler.push(stretched), resampler.flush()])[: len(samples)]
    return np.pad(moved, (0, len(samples) - len(moved)))  # rounding may lose a sample or two


def _moved(spans: Spans, by: int, length: int) -> Spans:
    """Return spans moved by some samples and clipped to a clip of `length` samples."""
    moved = [(max(0, first + by), min(length, last + by), label) for first, last, label in spans]
    return [(first, last, label) for first, last, label in moved if first < last]


def _without(spans: Spans, first: int, last: int) -> Spans:
    """Return the parts of spans outside of a section."""
    parts = [
        part
        for begin, end, label in spans
        for part in ((begin, min(end, first), label), (max(begin, last), end, label))
    ]
    return [part for part in parts if part[0] < part[1]]


def _looped(
    samples: Floats, spans: Spans, length: int, masking: np.random.Generator | None
) -> tuple[Floats, Spans]:
    """Return a clip repeated up to a length; with a generator, the copies are masked."""
    n = len(samples)
    looped, all_spans = samples, spans
    for begin in range(n, length, n):
        copy, copy_spans = samples, spans
        if masking is not None:
            copy, copy_spans = _masked(samples, spans, masking)
        looped = np.concatenate([looped, copy])
        all_spans = all_spans + _moved(copy_spans, begin, begin + n)
    return looped[:length], _moved(all_spans, 0, length)


def _masked(samples: Floats, spans: Spans, generator: np.random.Generator) -> tuple[Floats, Spans]:
    """Return a clip with some sections set to zero, which may overlap."""
    masked, n = samples.copy(), len(samples)
    for _ in range(_N_MASKS):
        width = int(generator.integers(int(_MAX_MASK * n) + 1))
        first = int(generator.integers(n - width + 1))
        masked[first : first + width] = 0.0
        spans = _without(spans, first, first + width)
    return masked, spans
