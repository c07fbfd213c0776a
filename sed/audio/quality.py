"""Notice what is odd about a recording and no damage, from a share of its samples.

::

    blocks of all channels ─▶ 1,024 samples a second ─▶ 32 such slices at a time: sums, peaks
                                                         4 of them: a spectrum
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sed.types import Floats

SLICE_SAMPLES = 1_024
SPACING_SECONDS = 1.0  # from one slice to the next
LATER_SPACING_SECONDS = 4.0  # after the first that are measured at once
N_TOGETHER = 32  # slices that are measured at once
N_SPECTRA = 4  # of these

# Thresholds; 781 recordings of eight collections were measured to set them.
MAX_CANCELLED = 0.2  # power of the mean of the channels, in that of the mean of unrelated ones
MAX_QUIET = 0.0101  # power of a channel in that of the loudest: 20 dB, and a little for rounding
MIN_CLIPPED = 0.01  # share of samples that are at a limit, as their successors are
LIMIT = 0.9999  # of full scale, or of a lower peak
MIN_CLIPPED_PEAK, MIN_CLIPPED_POWER = 0.25, 0.02  # lower limits; the power is that in peak²
MIN_OFFSET = 0.05  # of full scale
MIN_OFFSET_ERRORS = 4.0  # standard errors: slices of low sounds have means too
MAX_PEAK = 4.0  # full scales
ALIGNED_BITS = (16, 24)  # of samples that may be right-aligned in 32 bits
MIN_BAND_HZ, MIN_BAND_SHARE = 3_000.0, 0.65  # ends of bands; the second in that of the model
MIN_EDGE_DB = 24.0  # how far the spectrum falls at the end of a band
MAX_SILENCE = 1e-4  # power of a slice in that of the loudest, below which it has no spectrum
MAX_VALUE = 1e9  # keeps squares finite

Doubles = NDArray[np.float64]
_HANN = np.hanning(SLICE_SAMPLES).astype(np.float32)
_ONES = np.ones(SLICE_SAMPLES, np.float32)


@dataclass
class _Sums:
    """Sums over slices; arrays hold a value per channel."""

    n_slices: int
    means: Doubles  # of slices
    squared_means: Doubles
    powers: Doubles  # mean squares of slices
    clipped: Doubles  # shares of slices
    mix_mean: float  # of the mean of all channels
    mix_power: float
    n_spectra: int
    spectrum: Doubles  # dB, of the loudest channel; a value per frequency

    def add(self, other: _Sums) -> None:
        """Add the sums over other slices."""
        for field in fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))


class QualityMeter:
    """Measures the blocks of a recording, at a small share of the time to decode them.

    Parameters
    ----------
    sample_rate
        Samples per second of the recording.
    model_band_hz
        The highest frequency that the model analyses.
    channel
        The only channel that is analysed, counted from 1; the mean of all if not given.
    """

    def __init__(self, sample_rate: int, model_band_hz: float, channel: int | None = None) -> None:
        self._sample_rate = sample_rate
        self._model_band_hz = model_band_hz
        self._channel = channel
        self._spacing = int(SPACING_SECONDS * sample_rate)
        self._n_until_slice = 0  # samples to skip
        self._parts: list[Floats] = []  # of a slice, each (samples, channels)
        self._n_in_parts = 0
        self._slices: list[Floats] = []  # each (samples, channels)
        self._sums: _Sums | None = None
        self._peaks: Floats | None = None
        self._are_integers = True  # all samples are multiples of 2^-31
        self._has_low_bits = False  # some sample is no multiple of 2^-23

    def like(self) -> QualityMeter:
        """Return a new meter for another part of the recording."""
        return QualityMeter(self._sample_rate, self._model_band_hz, self._channel)

    def push(self, block: Floats) -> None:
        """Add the next block, shape (samples, channels)."""
        start = self._n_until_slice
        while start < len(block):
            stop = start + SLICE_SAMPLES - self._n_in_parts
            part = block[start:stop] if self._channel is None else block[start:stop, self._only]
            # A copy, so that the block is not kept.
            self._parts.append(part.copy())
            self._n_in_parts += len(part)
            if self._n_in_parts < SLICE_SAMPLES:
                start = len(block)
                break
            whole = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
            self._slices.append(whole)
            self._parts, self._n_in_parts = [], 0
            if len(self._slices) == N_TOGETHER:
                self._measure()
                self._spacing = int(LATER_SPACING_SECONDS * self._sample_rate)
            start = stop + max(0, self._spacing - SLICE_SAMPLES)
        self._n_until_slice = start - len(block)

    def add(self, other: QualityMeter) -> None:
        """Add what was measured in another part of the recording."""
        self._measure()
        other._measure()
        if other._sums is not None and other._peaks is not None:
            self._add(other._sums, other._peaks)
            self._are_integers = self._are_integers and other._are_integers
            self._has_low_bits = self._has_low_bits or other._has_low_bits

    def notices(self) -> tuple[str, ...]:
        """Return what is odd about the blocks so far, each with what to do about it."""
        self._measure()
        sums, peaks = self._sums, self._peaks
        if sums is None or peaks is None or not peaks.any():
            return ()
        found = [*self._channel_notices(sums, peaks)]
        peak = float(peaks.max())
        if peak >= MAX_PEAK:
            found.append(
                f"samples reach {peak:.4g} times full scale. Scale them to full scale: models "
                "expect samples from -1 to 1."
            )
        else:
            found += self._level_notices(sums, peak)
        found += self._band_notices(sums)
        return tuple(found)

    @property
    def _only(self) -> slice:
        assert self._channel is not None
        return slice(self._channel - 1, self._channel)

    def _measure(self) -> None:
        """Measure the slices that wait."""
        if not self._slices:
            return
        # (channels, slices, samples)
        x = np.ascontiguousarray(np.stack(self._slices).transpose(2, 0, 1))
        self._slices = []
        with np.errstate(invalid="ignore", over="ignore"):
            power = np.einsum("csn,csn->cs", x, x)
        if not np.isfinite(power.sum()):
            x = np.nan_to_num(x, posinf=0.0, neginf=0.0).clip(-MAX_VALUE, MAX_VALUE)
            power = np.einsum("csn,csn->cs", x, x)
        power = power.astype(np.float64) / SLICE_SAMPLES
        means = (x @ _ONES).astype(np.float64) / SLICE_SAMPLES
        peaks = np.maximum(x.max((1, 2)), -x.min((1, 2)))
        mix_mean, mix_power = float(means.sum()), float(power.sum())
        if len(x) > 1:
            mix = x.mean(0)
            mix_mean, mix_power = float(mix.mean()), float(np.vdot(mix, mix) / SLICE_SAMPLES)
            mix_mean *= mix.shape[0]
        if peaks.max() < 2.0**-8 and self._are_integers:
            self._are_integers = _are_multiples(x, 31)
            self._has_low_bits = self._has_low_bits or not _are_multiples(x, 23)
        variances = power - means**2
        n_spectra, spectrum = _spectrum(x, variances)
        sums = _Sums(
            x.shape[1],
            means.sum(1),
            (means**2).sum(1),
            power.sum(1),
            _clipped(x, peaks, variances.sum(1) / x.shape[1]) * x.shape[1],
            mix_mean,
            mix_power,
            n_spectra,
            spectrum,
        )
        self._add(sums, peaks)

    def _add(self, sums: _Sums, peaks: Floats) -> None:
        if self._sums is None or self._peaks is None:
            self._sums, self._peaks = sums, peaks
        elif len(peaks) == len(self._peaks):
            self._sums.add(sums)
            self._peaks = np.maximum(self._peaks, peaks)

    def _channel_notices(self, sums: _Sums, peaks: Floats) -> list[str]:
        """Return what is odd about channels in comparison with each other."""
        if len(peaks) == 1:
            return []
        powers = sums.powers / sums.n_slices - (sums.means / sums.n_slices) ** 2
        loudest = int(powers.argmax())
        if powers[loudest] <= 0:
            return []
        found = []
        for n in np.flatnonzero(powers <= MAX_QUIET * powers[loudest]):
            if powers[n] <= 0:
                what = "is dead: all its samples that were looked at are equal"
            else:
                decibels = 10 * np.log10(powers[loudest] / powers[n])
                what = f"is {decibels:.0f} dB quieter than channel {loudest + 1}"
            found.append(f"channel {n + 1} {what}. Choose the other with --channel {loudest + 1}.")
        mix = sums.mix_power / sums.n_slices - (sums.mix_mean / sums.n_slices) ** 2
        share = max(mix, 0.0) / powers.mean()
        if not found and share * len(powers) <= MAX_CANCELLED:
            decibels = -10 * np.log10(max(share, 1e-10))
            how = f"is {decibels:.0f} dB quieter than they are" if share > 1e-10 else "is silent"
            found.append(
                f"the channels cancel in their mean, which {how}. Choose one with "
                f"--channel {loudest + 1}."
            )
        return found

    def _level_notices(self, sums: _Sums, peak: float) -> list[str]:
        """Return what is odd about the range of the samples."""
        found = []
        n_bits = next((bits for bits in ALIGNED_BITS if peak <= 2.0 ** (bits - 32)), None)
        if n_bits and self._are_integers and self._has_low_bits:
            found.append(
                f"is at least {(32 - n_bits) * 6.0206:.0f} dB too quiet: {n_bits}-bit samples, "
                "right-aligned in 32 bits. Shift them to the left, or save the recording with "
                f"{n_bits} bits."
            )
        clipped = float(sums.clipped.max()) / sums.n_slices
        if clipped >= MIN_CLIPPED:
            found.append(
                f"{100 * clipped:.1f} % of the samples are clipped. Record with a lower gain."
            )
        offsets = sums.means / sums.n_slices
        variances = np.maximum(0.0, sums.squared_means / sums.n_slices - offsets**2)
        errors = np.sqrt(variances / sums.n_slices)
        is_offset = (np.abs(offsets) >= MIN_OFFSET) & (
            np.abs(offsets) >= MIN_OFFSET_ERRORS * errors
        )
        if is_offset.any():
            offset = offsets[np.abs(np.where(is_offset, offsets, 0.0)).argmax()]
            found.append(
                f"the samples have an offset (DC) of {100 * offset:+.1f} % of full scale. Check "
                "the recorder, or remove the offset with a high-pass filter."
            )
        return found

    def _band_notices(self, sums: _Sums) -> list[str]:
        """Return whether the spectrum ends far below the band that the model analyses."""
        upsampled = ""
        end: float | None = self._sample_rate / 2
        if self._sample_rate / 2 > MIN_BAND_SHARE * self._model_band_hz:
            upsampled = f" in {self._sample_rate} samples per second"
            end = self._band_end(sums.spectrum / sums.n_spectra) if sums.n_spectra else None
        if end is None:
            return []
        return [
            f"there is no sound above {end / 1000:.1f} kHz{upsampled}, and the model analyses up "
            f"to {self._model_band_hz / 1000:.1f} kHz. Expect sounds to be missed, and take a "
            "recording with a higher bandwidth if there is one."
        ]

    def _band_end(self, spectrum: Doubles) -> float | None:
        """Return where a spectrum in dB ends like a low-pass filter; None if it does not.

        The median of the spectrum below an end is compared with the highest value above: lines of
        tones do not count, and what falls slowly is natural.
        """
        hz = self._sample_rate / SLICE_SAMPLES
        n = min(int(self._model_band_hz / hz), len(spectrum) - 1)
        smooth = np.convolve(spectrum, np.full(3, 1 / 3), "same")[:n]
        above = np.maximum.accumulate(smooth[::-1])[::-1]
        first = max(8, int(MIN_BAND_HZ / hz))
        last = min(int(MIN_BAND_SHARE * self._model_band_hz / hz), n)
        # Most recordings end here.
        if first >= last or smooth[int(0.65 * first) :].max() - above[last - 1] < MIN_EDGE_DB:
            return None
        ends = range(first, last, max(1, first // 25))
        falls = [_median(spectrum[int(0.65 * k) : int(0.85 * k)]) - above[k] for k in ends]
        if max(falls) < MIN_EDGE_DB:
            return None
        # A filter falls over some frequencies: its end is where most of it is done.
        return next(k for k, fall in zip(ends, falls, strict=True) if fall > max(falls) - 6) * hz


def _median(values: Doubles) -> float:
    """Return the upper median; on a few values much faster than NumPy's."""
    return float(np.sort(values)[len(values) // 2])


def _are_multiples(samples: Floats, n_bits: int) -> bool:
    """Whether all samples are multiples of ``2 ** -n_bits``."""
    scaled = samples * np.float32(2.0**n_bits)
    return bool((scaled == np.rint(scaled)).all())


def _clipped(x: Floats, peaks: Floats, powers: Doubles) -> Doubles:
    """Return the share of clipped samples of each channel of (channels, slices, samples)."""
    shares = np.zeros(len(x))
    for n, (peak, power) in enumerate(zip(peaks, powers, strict=True)):
        # Most recordings end here.
        if peak >= MIN_CLIPPED_PEAK and power >= MIN_CLIPPED_POWER * min(1.0, peak) ** 2:
            is_high = np.abs(x[n]) >= LIMIT * min(1.0, peak)
            shares[n] = np.count_nonzero(is_high[:, 1:] & is_high[:, :-1]) / is_high.size
    return shares


def _spectrum(x: Floats, variances: Doubles) -> tuple[int, Doubles]:
    """Return the sum of the spectra in dB of a few slices of the loudest channel, and their number.

    Quiet slices have none: only what is left of a sound by a filter shows where it ends.
    """
    loudest = int(variances.sum(1).argmax())
    those = variances[loudest]
    if those.max() <= 0:
        return 0, np.zeros(SLICE_SAMPLES // 2 + 1)
    chosen = np.flatnonzero(those >= MAX_SILENCE * those.max())
    chosen = chosen[:: max(1, -(-len(chosen) // N_SPECTRA))]
    power = np.abs(np.fft.rfft(x[loudest, chosen] * _HANN)) ** 2
    return len(chosen), (10 * np.log10(power + 1e-12)).sum(0, dtype=np.float64)
