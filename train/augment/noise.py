"""Add noise and background recordings to clips.

Pure functions of numpy arrays; the random generator is an argument.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed.audio.find import find_recordings
from sed.errors import TableError
from sed.text import printable
from sed.types import Floats
from train.data.audio import n_samples, read_clip
from train.data.clips import Clip

BAND_LOWEST_HZ = 100.0  # lowest edge of band-limited noise
BAND_OCTAVES = (0.5, 3.0)  # its narrowest and widest band


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
        low_hz = log_uniform((BAND_LOWEST_HZ, sample_rate / 4), generator)
        high_hz = min(low_hz * 2 ** generator.uniform(*BAND_OCTAVES), sample_rate / 2)
        return band_noise(n, sample_rate, low_hz, high_hz, generator)
    raise ValueError(f"expected white, pink or band noise, got {kind!r}")


def band_noise(
    n: int, sample_rate: int, low_hz: float, high_hz: float, generator: np.random.Generator
) -> Floats:
    """Return noise of unit RMS, shape (n,), that is white between two frequencies.

    Parameters
    ----------
    n
        Samples.
    sample_rate
        Samples per second.
    low_hz, high_hz
        Edges of the band.
    generator
        Draws the noise.
    """
    spectrum = np.fft.rfft(generator.standard_normal(n, dtype=np.float32))
    bins_hz = np.fft.rfftfreq(n, 1 / sample_rate)
    inside = (bins_hz >= low_hz) & (bins_hz <= high_hz)
    inside[np.abs(bins_hz - low_hz).argmin()] = True  # a band may lie between two bins
    return _unit_rms(np.fft.irfft(np.where(inside, spectrum, 0), n))


def octaves(n: int, sample_rate: int) -> NDArray[np.float64]:
    """Return where the bins of the spectrum of n samples lie, in octaves; narrow below 100 Hz."""
    return np.asarray(np.log2(1 + np.fft.rfftfreq(n, 1 / sample_rate) / 100))


def random_response_db(
    at_octaves: NDArray[np.float64], gain_db: float, n_bands: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return a frequency response in dB that is random and smooth over octaves.

    Parameters
    ----------
    at_octaves
        Where, as `octaves` returns it.
    gain_db
        The response lies between minus and plus this.
    n_bands
        Number of gains that are drawn; it is linear between them.
    generator
        Draws the gains.
    """
    bands = np.linspace(0, at_octaves[-1], n_bands)
    return np.interp(at_octaves, bands, generator.uniform(-gain_db, gain_db, n_bands))


def log_uniform(bounds: tuple[float, float], generator: np.random.Generator) -> float:
    """Return a number between two bounds, drawn evenly on a logarithmic scale."""
    return float(np.exp(generator.uniform(*np.log(bounds))))


def add_at_snr(samples: Floats, other: Floats, snr_db: float) -> Floats:
    """Add another sound to a clip, both (samples,), at a signal-to-noise ratio in dB.

    out = clip + other · RMS(clip) / RMS(other) · 10^(−snr_db / 20). A silent clip is returned
    unchanged.

    Parameters
    ----------
    samples, other
        Clip and sound to add, both of shape (samples,).
    snr_db
        Level of the clip over that of the other sound.

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
    """Return a random section of a random recording, shape (length,), looped if it is shorter.

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


def _rms(samples: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _unit_rms(samples: NDArray[np.floating]) -> Floats:
    return (samples / _rms(samples)).astype(np.float32)
