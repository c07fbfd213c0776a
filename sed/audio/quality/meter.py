"""Notice what is odd about a recording and no damage, from a share of its samples.

::

    blocks of all channels ─▶ 1,024 samples a second ─▶ 32 such slices at a time: sums, peaks
                                                         4 of them: a spectrum

In a scan of short clips the caches hold other code when a clip is measured: each further function
of NumPy costs several times its arithmetic. A few values are therefore lists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sed.audio.quality.advice import ANALYSIS, Advice
from sed.audio.quality.measures import (
    SLICE_SAMPLES,
    Doubles,
    are_multiples,
    highest,
    median,
    moments,
    sum_of_spectra,
)
from sed.types import Floats

SPACING_SECONDS = 1.0  # from one slice to the next
LATER_SPACING_SECONDS = 4.0  # after the first that are measured at once
N_TOGETHER = 32  # slices that are measured at once

# Thresholds; 781 recordings of eight collections were measured to set them.
MAX_CANCELLED = 0.2  # power of the mean of the channels, in that of the mean of unrelated ones
MAX_QUIET = 0.0101  # power of a channel in that of the loudest: 20 dB, and a little for rounding
MIN_CLIPPED = 0.01  # share of samples that are at a limit, as their successors are
MIN_OFFSET = 0.05  # of full scale
MIN_OFFSET_ERRORS = 4.0  # standard errors: slices of low sounds have means too
MAX_PEAK = 4.0  # full scales
MIN_SILENT_SECONDS, MIN_SILENT_SHARE = 10.0, 0.05  # of nothing but zeros, where there is sound too
ALIGNED_BITS = (16, 24)  # of samples that may be right-aligned in 32 bits
MIN_BAND_HZ, MIN_BAND_SHARE = 3_000.0, 0.65  # ends of bands; the second in that of the model
MIN_EDGE_DB = 24.0  # how far the spectrum falls at the end of a band
EDGE_DB = 6.0  # how far it still falls after the end
MAX_VALUE = 1e9  # keeps squares finite


@dataclass
class _Sums:
    """Sums over slices."""

    n_slices: int
    channels: Doubles  # (4, channels): of means, squared means, mean squares, shares of clipping
    peaks: Doubles  # a value per channel
    mix_power: float  # mean squares of the mean of all channels
    n_spectra: int
    spectrum: Doubles  # dB, of the loudest channel; a value per frequency of the band
    seconds: float  # that the slices stand for
    silent: Doubles  # of these, nothing but zeros; a value per channel

    def add(self, other: _Sums) -> None:
        """Add the sums over other slices."""
        self.n_slices += other.n_slices
        self.channels = self.channels + other.channels
        self.peaks = np.maximum(self.peaks, other.peaks)
        self.mix_power += other.mix_power
        self.n_spectra += other.n_spectra
        self.spectrum = self.spectrum + other.spectrum
        self.seconds += other.seconds
        self.silent = self.silent + other.silent


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
    advice
        What the notices advise.
    """

    def __init__(
        self,
        sample_rate: int,
        model_band_hz: float,
        channel: int | None = None,
        advice: Advice = ANALYSIS,
    ) -> None:
        self._advice = advice
        self._sample_rate = sample_rate
        self._model_band_hz = model_band_hz
        self._channel = channel
        self._spacing = int(SPACING_SECONDS * sample_rate)
        self._n_until_slice = 0  # samples to skip
        self._parts: list[bytes] = []  # of slices, one after the other, each (samples, channels)
        self._n_in_parts = 0  # samples
        self._n_channels = 1  # in the parts
        # Frequencies that are looked at, and possible ends of the band; no end at a low rate.
        self._hz = sample_rate / SLICE_SAMPLES
        first = max(8, int(MIN_BAND_HZ / self._hz))
        n = min(int(model_band_hz / self._hz), SLICE_SAMPLES // 2 - 1)
        last = min(int(MIN_BAND_SHARE * model_band_hz / self._hz), n)
        self._is_low_rate = sample_rate / 2 <= MIN_BAND_SHARE * model_band_hz
        self._ends = range(first, 0 if self._is_low_rate else last, max(1, first // 25))
        self._band = slice(int(0.65 * first) - 1, n + 1)
        self._sums: _Sums | None = None
        self._are_integers = True  # all samples are multiples of 2^-31
        self._has_low_bits = False  # some sample is no multiple of 2^-23

    def like(self) -> QualityMeter:
        """Return a new meter for another part of the recording."""
        return QualityMeter(self._sample_rate, self._model_band_hz, self._channel, self._advice)

    def push(self, block: Floats) -> None:
        """Add the next block, shape (samples, channels)."""
        start, n_samples = self._n_until_slice, len(block)
        self._n_channels = block.shape[1] if self._channel is None else 1
        while start < n_samples:
            stop = start + SLICE_SAMPLES - self._n_in_parts % SLICE_SAMPLES
            part = block[start:stop] if self._channel is None else block[start:stop, self._only]
            # A copy, so that the block is not kept.
            self._parts.append(part.tobytes())
            self._n_in_parts += len(part)
            if stop > n_samples:
                self._n_until_slice = 0
                return
            if self._n_in_parts == N_TOGETHER * SLICE_SAMPLES:
                self._measure()
                self._spacing = int(LATER_SPACING_SECONDS * self._sample_rate)
            start = stop + max(0, self._spacing - SLICE_SAMPLES)
        self._n_until_slice = start - n_samples

    def add(self, other: QualityMeter) -> None:
        """Add what was measured in another part of the recording."""
        self._measure()
        other._measure()
        if other._sums is not None:
            self._add(other._sums)
            self._are_integers = self._are_integers and other._are_integers
            self._has_low_bits = self._has_low_bits or other._has_low_bits

    def notices(self) -> tuple[str, ...]:
        """Return what is odd about the blocks so far, each with what to do about it."""
        self._measure()
        sums = self._sums
        if sums is None or not (peak := max(sums.peaks.tolist())):
            return ()
        found = self._channel_notices(sums) + self._silence_notices(sums)
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
        """Measure the whole slices that wait."""
        n_slices = self._n_in_parts // SLICE_SAMPLES
        if not n_slices:
            return
        samples = np.frombuffer(b"".join(self._parts), np.float32).reshape(-1, self._n_channels)
        n_measured = n_slices * SLICE_SAMPLES
        self._n_in_parts -= n_measured
        self._parts = [samples[n_measured:].tobytes()] if self._n_in_parts else []
        # (channels, slices, samples); of one channel it is no copy.
        x = np.ascontiguousarray(samples[:n_measured].T).reshape(-1, n_slices, SLICE_SAMPLES)
        means, powers = moments(x)
        if not math.isfinite(sum(map(sum, powers))):
            x = np.nan_to_num(x, posinf=0.0, neginf=0.0).clip(-MAX_VALUE, MAX_VALUE)
            means, powers = moments(x)
        pairs = [[*zip(*both, strict=True)] for both in zip(means, powers, strict=True)]
        variances = [[power - mean * mean for mean, power in those] for those in pairs]
        levels = [*map(sum, variances)]
        peaks, shares = zip(*map(highest, x, levels), strict=True)
        squares = [sum(mean * mean for mean in those) for those in means]
        clipped = [share * n_slices for share in shares]
        sums = np.array([[*map(sum, means)], squares, [*map(sum, powers)], clipped])
        mix_power = float(sums[2, 0])
        if len(x) > 1:
            mix = np.add.reduce(x, 0) / np.float32(len(x))
            mix_power = float(np.vdot(mix, mix)) / SLICE_SAMPLES
        if self._are_integers and max(peaks) < 2.0**-8:
            self._are_integers = are_multiples(x, 31)
            self._has_low_bits = self._has_low_bits or not are_multiples(x, 23)
        n_spectra, spectrum = 0, np.zeros(1)
        loudest = levels.index(max(levels))
        if self._ends and levels[loudest] > 0:
            n_spectra, spectrum = sum_of_spectra(x[loudest], variances[loudest], self._band)
        spacing = self._spacing / self._sample_rate
        # Usually no slice is silent.
        silent = np.array([those.count(0.0) * spacing for those in powers])
        self._add(
            _Sums(
                n_slices,
                sums,
                np.array(peaks),
                mix_power,
                n_spectra,
                spectrum,
                n_slices * spacing,
                silent,
            )
        )

    def _add(self, sums: _Sums) -> None:
        if self._sums is None:
            self._sums = sums
        elif sums.channels.shape == self._sums.channels.shape:
            self._sums.add(sums)

    def _channel_notices(self, sums: _Sums) -> list[str]:
        """Return what is odd about channels in comparison with each other."""
        if sums.channels.shape[1] == 1:
            return []
        means, _, powers, _ = sums.channels / sums.n_slices
        powers -= means**2
        loudest = int(powers.argmax())
        if powers[loudest] <= 0:
            return []
        faults = []
        for n in np.flatnonzero(powers <= MAX_QUIET * powers[loudest]):
            # Of equal samples there is the rounding of the sums.
            if powers[n] <= 1e-6 * means[n] ** 2:
                what = "is dead: all its samples that were looked at are about equal"
            else:
                decibels = 10 * np.log10(powers[loudest] / powers[n])
                what = f"is {decibels:.0f} dB quieter than channel {loudest + 1}"
            faults.append(f"channel {n + 1} {what}")
        which = "the other" if len(powers) == 2 else "the loudest"
        advice = self._advice.channel.format(which=which, number=loudest + 1)
        found = [f"{', '.join(faults)}. {advice}"] if faults else []
        mix = sums.mix_power / sums.n_slices - means.mean() ** 2
        share = max(mix, 0.0) / powers.mean()
        if not found and share * len(powers) <= MAX_CANCELLED:
            decibels = -10 * np.log10(max(share, 1e-10))
            how = f"is {decibels:.0f} dB quieter than they are" if share > 1e-10 else "is silent"
            advice = self._advice.channel.format(which="the loudest", number=loudest + 1)
            found.append(f"the channels cancel in their mean, which {how}. {advice}")
        return found

    def _silence_notices(self, sums: _Sums) -> list[str]:
        """Return whether a part of the recording, or of a channel with sound, is all zeros."""
        found = []
        silent = sums.silent.tolist()
        for n, (seconds, peak) in enumerate(zip(silent, sums.peaks.tolist(), strict=True), start=1):
            share = seconds / sums.seconds
            if peak and seconds >= MIN_SILENT_SECONDS and share >= MIN_SILENT_SHARE:
                which = f"of channel {n} " * (len(silent) > 1 and seconds > min(silent))
                found.append(f"{which}about {seconds:.0f} s, {100 * share:.0f} %")
        if not found:
            return []
        found = list(dict.fromkeys(found))
        return [
            f"{', '.join(found)} are digital silence. Check the microphone, its cable and the "
            "power of the recorder."
        ]

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
        # Of a few channels much faster without NumPy.
        means, squared_means, _, shares = (sums.channels / sums.n_slices).tolist()
        clipped = max(shares)
        if clipped >= MIN_CLIPPED:
            found.append(
                f"{100 * clipped:.1f} % of the samples are clipped. Record with a lower gain."
            )
        offset = 0.0
        for mean, squared_mean in zip(means, squared_means, strict=True):
            error = math.sqrt(max(0.0, squared_mean - mean**2) / sums.n_slices)
            if abs(mean) >= max(MIN_OFFSET, MIN_OFFSET_ERRORS * error, abs(offset)):
                offset = mean
        if offset:
            found.append(
                f"the samples have an offset (DC) of {100 * offset:+.1f} % of full scale. Check "
                "the recorder, or remove the offset with a high-pass filter."
            )
        return found

    def _band_notices(self, sums: _Sums) -> list[str]:
        """Return whether the spectrum ends far below the band that the model analyses."""
        upsampled = ""
        end: float | None = self._sample_rate / 2
        if not self._is_low_rate:
            upsampled = f" in {self._sample_rate} samples per second"
            end = self._band_end(sums.spectrum / sums.n_spectra) if sums.n_spectra else None
        if end is None:
            return []
        band = self._advice.band.format(kilohertz=self._model_band_hz / 1000)
        return [
            f"there is no sound above {end / 1000:.1f} kHz{upsampled}, and {band}, and take a "
            "recording with a higher bandwidth if there is one."
        ]

    def _band_end(self, spectrum: Doubles) -> float | None:
        """Return where a spectrum in dB ends like a low-pass filter; None if it does not.

        The median of the spectrum below an end is compared with the highest value above: lines of
        tones do not count, and what falls slowly is natural.
        """
        start = self._band.start + 1
        smooth = (spectrum[:-2] + spectrum[1:-1] + spectrum[2:]) / 3
        # Most recordings end here.
        if smooth.max() - smooth[self._ends[-1] - start :].max() < MIN_EDGE_DB:
            return None
        # Or at fewer frequencies: a median is at most the highest value so far.
        highest = np.maximum.accumulate(smooth).tolist()
        floors = np.maximum.accumulate(smooth[::-1])[::-1].tolist()
        falls = {}
        for k in self._ends:
            low, high, floor = int(0.65 * k) - start, int(0.85 * k) - start, floors[k - start]
            if highest[high - 1] - floor > MIN_EDGE_DB - EDGE_DB:
                falls[k] = median(smooth[low:high]) - floor
        if not falls or (greatest := max(falls.values())) < MIN_EDGE_DB:
            return None
        # A filter falls over some frequencies: its end is where most of it is done.
        return next(k for k, fall in falls.items() if fall > greatest - EDGE_DB) * self._hz
