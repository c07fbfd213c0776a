"""Draw the spectrogram of a short sound as a PNG picture, in a few milliseconds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.types import Floats

MAGMA = (
    "#000004", "#1c1044", "#4f127b", "#812581", "#b5367a",
    "#e55064", "#fb8761", "#fec287", "#fcfdbf",
)  # fmt: skip
WIDTH, HEIGHT = 480, 192  # pixels
WINDOW_SECONDS = 0.025
MAX_FFT = 4_096  # samples of a window; longer ones are not seen in so few pixels
RANGE_DB = 60.0  # that the colours span, at most
FLATTENED = 0.5  # share of the median of each frequency, in decibels, that is taken off
MARK = (255, 255, 255)  # colour of a line at a time

Pixels = NDArray[np.uint8]


def spectrogram_picture(
    samples: Floats,
    sample_rate: int,
    *,
    marks: Sequence[float] = (),
    max_hz: float | None = None,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> bytes:
    """Return a PNG of a spectrogram: time from left to right, frequency linear from below.

    Colours span the sound's own decibels. Half of the level that a frequency has most of the time
    is taken off, so that the rumble below does not hide what is above.

    Parameters
    ----------
    samples
        Shape (samples,) or (samples, channels), whose mean is drawn.
    sample_rate
        Samples per second.
    marks
        Seconds at which a dashed line stands.
    max_hz
        Frequency of the upper edge; half of the sample rate if not given.
    width, height
        Pixels.
    """
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    power = _power(np.nan_to_num(mono), sample_rate, width)
    edges = np.linspace(0, 2 * top_hz(sample_rate, max_hz) / sample_rate, height + 1)
    levels = _rows(power, edges * (power.shape[1] - 1))
    decibels = 10 * np.log10(np.maximum(levels, 1e-20))
    decibels -= FLATTENED * np.median(decibels, axis=0)
    low, top = np.percentile(decibels, [40, 99.9])
    low = max(low, top - RANGE_DB)
    shades = np.clip((decibels - low) / max(1.0, top - low), 0, 1)
    indices = np.rint(shades * 255).astype(np.uint8).T[::-1]
    pixels = palette()[indices]
    seconds = max(len(mono), 1) / sample_rate
    for mark in marks:
        column = round(mark / seconds * width)
        if 0 < column < width:
            pixels[np.arange(height) % 6 < 3, column] = MARK
    return png(pixels)


def top_hz(sample_rate: int, max_hz: float | None = None) -> float:
    """Return the frequency of the upper edge of a picture.

    Raises
    ------
    UsageError
        If it is not above 0.
    """
    if max_hz is not None and not max_hz > 0:
        raise UsageError(f"expected a highest frequency above 0 Hz, got {max_hz:g}")
    return min(sample_rate / 2, max_hz or sample_rate / 2)


def _power(mono: Floats, sample_rate: int, width: int) -> Floats:
    """Return the power spectrum at `width` times, shape (width, bins)."""
    n_fft = min(MAX_FFT, 1 << max(6, round(np.log2(WINDOW_SECONDS * sample_rate))))
    padded = np.pad(mono.astype(np.float32), n_fft // 2)
    starts = np.linspace(0, max(0, len(mono) - 1), width).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)
    frames = windows[np.minimum(starts, len(windows) - 1)] * np.hanning(n_fft).astype(np.float32)
    spectrum = np.fft.rfft(frames, axis=1)
    power: Floats = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return power


def _rows(power: Floats, edges: NDArray[np.float64]) -> Floats:
    """Return the highest power between the edges, in bins, of each row of pixels."""
    low = np.floor(edges[:-1]).astype(np.int64)
    high = np.maximum(np.ceil(edges[1:]).astype(np.int64), low + 1)
    low = np.minimum(low, power.shape[1] - 1)
    if int((high - low).max()) == 1:
        return power[:, low]
    # reduceat takes each run of bins from its first to the next one's first.
    rows: Floats = np.maximum.reduceat(power, low, axis=1)
    return rows


@cache
def palette() -> Pixels:
    """Return 256 colours from dark to bright, shape (256, 3)."""
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in MAGMA], np.float64)
    at = np.linspace(0, len(anchors) - 1, 256)
    mixed = [np.interp(at, range(len(anchors)), channel) for channel in anchors.T]
    colours: Pixels = np.rint(np.stack(mixed, axis=1)).astype(np.uint8)
    return colours


def png(pixels: Pixels) -> bytes:
    """Return pixels, shape (height, width, 3), as a PNG file."""
    height, width, _ = pixels.shape
    # Each row starts with the number of its filter: none.
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum
