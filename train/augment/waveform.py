"""Augment the samples of clips without changing their labels.

Pure functions of numpy arrays; the random generator is an argument. Functions that move sound in
time take and return samples together with spans: where in the clip each class is active.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed.audio.find import find_recordings
from sed.audio.resample import Resampler
from sed.errors import TableError
from sed.text import printable
from sed.types import Floats
from train.augment.vocoder import time_scale
from train.data.audio import n_samples, read_clip
from train.data.clips import Clip

Spans = list[tuple[int, int, int]]  # first sample, last sample exclusive, class index
Shift = Callable[[Floats, Spans, np.random.Generator], tuple[Floats, Spans]]

BAND_LOWEST_HZ = 100.0  # lower edge of band-limited noise, at least
BAND_OCTAVES = (0.5, 3.0)  # its narrowest and widest band

_N_MASKS = 2  # masked sections of a masked copy
_MAX_MASK = 0.25  # widest mask, as a share of the copy


def roll(samples: Floats, spans: Spans, generator: np.random.Generator) -> tuple[Floats, Spans]:
    """Shift a clip, shape (samples,), circularly by a random number of samples."""
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
    """Shift a clip, shape (samples,), by up to half its length; silence fills the gap.

    The shift is drawn again from half the range until half of the clip's energy stays inside.
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
    """Return a clip unchanged."""
    return samples, spans


SHIFTS: dict[str, Shift] = {"roll": roll, "shift": shift, "none": identity}


def crop(samples: Floats, spans: Spans, start: int, length: int) -> tuple[Floats, Spans]:
    """Return `length` samples of a clip from `start` on, and the spans within them.

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
    """Apply a random gain between minus and plus `gain_db` to a clip, shape (samples,)."""
    return samples * np.float32(10 ** (generator.uniform(-gain_db, gain_db) / 20))


def time_stretch(samples: Floats, spans: Spans, speed: float) -> tuple[Floats, Spans]:
    """Play a clip faster (above 1) or slower at the same pitch, see `train.augment.vocoder`.

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
    """Shift the pitch of a clip, shape (samples,), by some semitones; its duration stays.

    The clip is stretched in time by 2^(semitones / 12), then resampled to its old length.
    """
    ratio = 2.0 ** (semitones / 12)
    stretched = time_scale(samples, 1 / ratio)
    resampler = Resampler(round(sample_rate * ratio), sample_rate)
    moved = np.concatenate([resampler.push(stretched), resampler.flush()])[: len(samples)]
    return np.pad(moved, (0, len(samples) - len(moved)))  # rounding may lose a sample or two


def noise(kind: str, n: int, sample_rate: int, generator: np.random.Generator) -> Floats:
    """Return noise of unit RMS, shape (n,).

    Parameters
    ----------
    kind
        ``white`` (flat spectrum), ``pink`` (3 dB less per octave, similar to wind, surf and
        traffic; by colorednoise, after Timmer and Koenig, 1995), or ``band`` (white within a random
        band of half an octave to three).
    n
        Samples.
    sample_rate
        Samples per second.
    generator
        Draws the noise, and the band.

    Raises
    ------
    ValueError
        If the kind is unknown, or `n` is below two.
    """
    if n < 2:
        raise ValueError(f"expected two samples of noise or more, got {n}")
    if kind == "white":
        return _unit_rms(generator.standard_normal(n, dtype=np.float32))
    if kind == "pink":
        from colorednoise import powerlaw_psd_gaussian

        return _unit_rms(powerlaw_psd_gaussian(1, n, random_state=generator))
    if kind == "band":
        low_hz = np.exp(generator.uniform(np.log(BAND_LOWEST_HZ), np.log(sample_rate / 4)))
        high_hz = min(low_hz * 2 ** generator.uniform(*BAND_OCTAVES), sample_rate / 2)
        return band_noise(n, sample_rate, low_hz, high_hz, generator)
    raise ValueError(f"expected white, pink or band noise, got {kind!r}")


def band_noise(
    n: int, sample_rate: int, low_hz: float, high_hz: float, generator: np.random.Generator
) -> Floats:
    """Return noise of unit RMS, shape (n,), that is white between two frequencies in Hz."""
    spectrum = np.fft.rfft(generator.standard_normal(n, dtype=np.float32))
    bins_hz = np.fft.rfftfreq(n, 1 / sample_rate)
    inside = (bins_hz >= low_hz) & (bins_hz <= high_hz)
    inside[np.abs(bins_hz - low_hz).argmin()] = True  # a band may lie between two bins
    return _unit_rms(np.fft.irfft(np.where(inside, spectrum, 0), n))


def add_at_snr(samples: Floats, other: Floats, snr_db: float) -> Floats:
    """Add another sound to a clip, both (samples,), at a signal-to-noise ratio in dB.

    out = clip + other · RMS(clip) / RMS(other) · 10^(−snr_db / 20). A silent clip is returned
    unchanged.

    Raises
    ------
    ValueError
        If the other sound is of another length.
    """
    if samples.shape != other.shape:
        raise ValueError(f"expected a sound of shape {samples.shape} to add, got {other.shape}")
    loudness, other_loudness = _rms(samples), _rms(other)
    if loudness == 0 or other_loudness == 0:
        return samples
    return samples + other * np.float32(loudness / other_loudness * 10 ** (-snr_db / 20))


@cache
def background_files(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the recordings in a folder and those below it, sorted by name.

    Raises
    ------
    TableError
        If there is no such folder, or no recording in it.
    """
    files = tuple(Path(found.path) for found in find_recordings([folder])[0])
    if not files or not os.path.isdir(folder):
        raise TableError(
            f"{printable(os.fspath(folder))}: not a folder with recordings to add to clips. "
            "Check `background` in the recipe, or set background_probability to 0."
        )
    return files


def random_background(
    files: Sequence[str | os.PathLike[str]],
    length: int,
    sample_rate: int,
    generator: np.random.Generator,
) -> Floats:
    """Return a random section of a random recording, looped if the recording is shorter.

    Parameters
    ----------
    files
        The recordings, from `background_files`.
    length
        Samples to return.
    sample_rate
        Samples per second of the result.
    generator
        Draws recording and position.

    Raises
    ------
    RecordingError
        If the recording cannot be read as far as needed.
    """
    path = os.fspath(files[int(generator.integers(len(files)))])
    recording = Clip(path, (), path)
    there = n_samples(recording, sample_rate)
    if there is None:  # its header does not say how long it is
        samples = read_clip(recording, sample_rate)
        start = int(generator.integers(max(1, len(samples) - length + 1)))
        return np.resize(samples[start : start + length], length)
    start = int(generator.integers(max(1, there - length + 1)))
    return np.resize(read_clip(recording, sample_rate, start=start, length=length), length)


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


def _rms(samples: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _unit_rms(samples: NDArray[np.floating]) -> Floats:
    return (samples / _rms(samples)).astype(np.float32)
