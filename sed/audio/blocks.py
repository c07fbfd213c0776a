"""Read a recording as mono blocks at one sample rate."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from sed.audio.decode import Decoder, open_recording
from sed.audio.file_decoder import FileDecoder
from sed.audio.quality.meter import QualityMeter
from sed.audio.resample import Resampler, equal_durations, seek_period
from sed.errors import DamagedRecordingError, NoSoundError, RecordingError
from sed.types import Floats


def to_mono(block: Floats, channel: int | None = None) -> Floats:
    """Return one channel of a block, or the mean of all channels.

    Parameters
    ----------
    block
        Samples, shape (samples, channels).
    channel
        Counted from 1; None for the mean.

    Returns
    -------
    Floats
        Shape (samples,).
    """
    if channel is not None:
        return np.ascontiguousarray(block[:, channel - 1])
    mono: Floats = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    return mono


@dataclass
class SampleValidator:
    """Checks the samples of a recording block by block; `raise_errors` reports at the end."""

    position: int = 0  # of the next sample
    n_nonfinite: int = 0  # NaN or infinite samples
    first_nonfinite: int = 0  # position of the first of them
    has_sound: bool = False  # some sample was not zero
    quality: QualityMeter | None = None  # also measures the blocks of all channels

    def check(self, mono: Floats) -> Floats:
        """Check the next samples, shape (samples,); return them with zeros for NaN and Inf."""
        # One pass over the samples in the usual case: a sum is finite if all its terms are.
        if not np.isfinite(mono.sum()):
            bad = ~np.isfinite(mono)
            if bad.any():
                if not self.n_nonfinite:
                    self.first_nonfinite = self.position + int(bad.argmax())
                self.n_nonfinite += int(bad.sum())
                mono = np.where(bad, np.float32(0), mono)
        self.has_sound = self.has_sound or bool(mono.any())
        self.position += len(mono)
        return mono

    def add(self, other: SampleValidator) -> None:
        """Add what was noted in another part of the recording, without non-finite samples."""
        self.has_sound = self.has_sound or other.has_sound
        if self.quality is not None and other.quality is not None:
            self.quality.add(other.quality)

    def raise_errors(self, path: str, sample_rate: int, channel: int | None) -> None:
        """Report what is wrong with the samples that were checked.

        Parameters
        ----------
        path
            Name of the recording in the message.
        sample_rate
            Samples per second, to give the position in seconds.
        channel
            The channel that was read, counted from 1; None for the mean.

        Raises
        ------
        RecordingError
            If there were no samples.
        NoSoundError
            If there were non-finite ones, or nothing but zeros.
        """
        if self.position == 0:
            raise RecordingError(path, "holds no samples, only a header. Record or copy it again.")
        if self.n_nonfinite:
            raise NoSoundError(
                path,
                f"{self.n_nonfinite} samples are non-finite (NaN/Inf), the first at "
                f"{self.first_nonfinite / sample_rate:.3f} s; they were replaced by zeros. Check "
                "what wrote the file.",
            )
        if not self.has_sound:
            # Only the commands that read one channel have the option.
            of_it, more = "", "."
            if channel is not None:
                of_it, more = f" of channel {channel}", ", or choose another with --channel."
            raise NoSoundError(
                path,
                f"every sample{of_it} is zero (digital silence). Check the microphone{more}",
            )


def mono_blocks(
    path: str,
    decoder: Decoder,
    *,
    channel: int | None = None,
    validator: SampleValidator | None = None,
) -> Iterator[Floats]:
    """Yield mono blocks, shape (samples,), at the sample rate of the decoder.

    Non-finite samples (NaN/Inf) are replaced by zeros.

    Parameters
    ----------
    path
        Name of the recording in messages.
    decoder
        The opened recording.
    channel
        Counted from 1; the mean of all channels if not given.
    validator
        Counts of the samples before; by default a new one.

    Raises
    ------
    RecordingError
        If the channel does not exist. After the last block: if there was no sample, nothing but
        digital silence, non-finite samples, or damage.
    """
    if channel is not None and not 1 <= channel <= decoder.n_channels:
        raise RecordingError(
            path,
            f"has no channel {channel}: it has {decoder.n_channels}, counted from 1. Choose "
            "another with --channel, or leave it out for their mean.",
        )
    validator = validator or SampleValidator()
    for block in decoder.blocks():
        if validator.quality is not None:
            validator.quality.push(block)
        yield validator.check(to_mono(block, channel))
    validator.raise_errors(path, decoder.sample_rate, channel)


def read_blocks(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    channel: int | None = None,
    track: int | None = None,
    decoder: Decoder | None = None,
    start: int = 0,
    validator: SampleValidator | None = None,
) -> Generator[Floats]:
    """Yield a recording of any length as mono blocks, shape (samples,), at `sample_rate`.

    Parameters
    ----------
    path
        The recording; ``-`` for a WAV file on standard input.
    sample_rate
        Samples per second to resample to.
    channel
        Channel to read, counted from 1; the mean of all if not given.
    track
        Track of sound in a container, counted from 1; the container's default if not given.
    decoder
        The recording, already opened; it is closed here.
    start
        First sample to yield, at `sample_rate`. Needs a `FileDecoder` that seeks exactly.
    validator
        Counts of the samples before `start`; updated here.

    Raises
    ------
    RecordingError
        Before the first block if the recording cannot be read, after the last block if something
        in it is wrong.
    """
    path = os.fspath(path)
    decoder = decoder or open_recording(path, track=track)
    resampler = Resampler(decoder.sample_rate, sample_rate)
    validator = validator or SampleValidator()
    failure: RecordingError | None = None
    try:
        n_early = _seek(decoder, sample_rate, start, validator) if start else 0
        try:
            for block in mono_blocks(path, decoder, channel=channel, validator=validator):
                resampled = resampler.push(block)
                yield resampled[n_early:]
                n_early = max(0, n_early - len(resampled))
        except RecordingError as error:
            failure = error
        yield resampler.flush()[n_early:]
    finally:
        decoder.close()
    if failure is not None:
        raise failure


def _seek(decoder: Decoder, sample_rate: int, start: int, validator: SampleValidator) -> int:
    """Seek to a point before `start`; return the resampled samples to skip until `start`."""
    assert isinstance(decoder, FileDecoder)
    n_in, n_out = equal_durations(decoder.sample_rate, sample_rate)
    period, n_lead = seek_period(decoder.sample_rate, sample_rate)
    latest = max(0, start * n_in // n_out - n_lead)
    validator.position = decoder.seek(latest // period * period)
    return start - validator.position // n_in * n_out


@dataclass(frozen=True)
class Examination:
    """What a recording holds."""

    n_samples: int | None  # per channel; None if only decoding all of it would say
    n_decoded: int  # samples from the start on
    is_complete: bool  # whether all were decoded, so that length and failure are exact
    failure: RecordingError | None  # what is known to be wrong


def examine(path: str, decoder: Decoder, *, max_seconds: float | None = None) -> Examination:
    """Return length and damage of an opened recording, as an analysis of it would find them.

    Parameters
    ----------
    path
        Name of the recording in messages.
    decoder
        The opened recording, before its first block. A stream, which may be live, is not read.
    max_seconds
        Decode for about so long; beyond that, what headers say counts. Without limit if not given.
    """
    if not isinstance(decoder, FileDecoder):
        return Examination(decoder.n_samples, 0, is_complete=False, failure=None)
    expected = None if max_seconds is None else decoder.header_account()
    validator, end = SampleValidator(), time.monotonic() + (max_seconds or 0.0)
    failure: RecordingError | None = None
    is_complete = expected is None or expected.starts_soon
    try:
        for _ in mono_blocks(path, decoder, validator=validator) if is_complete else ():
            if expected is not None and time.monotonic() > end:
                is_complete = False
                break
        if validator.n_nonfinite:
            validator.raise_errors(path, decoder.sample_rate, None)
    except RecordingError as error:
        failure = error
    if is_complete or expected is None:
        return Examination(
            validator.position, validator.position, is_complete=True, failure=failure
        )
    if expected.fault and failure is None:
        failure = DamagedRecordingError(path, expected.seconds, expected.fault)
    return Examination(expected.n_samples, validator.position, is_complete=False, failure=failure)


def read_recording(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    channel: int | None = None,
    track: int | None = None,
) -> Floats:
    """Return a whole recording, shape (samples,); for clips that fit into memory.

    Parameters
    ----------
    path
        The recording.
    sample_rate
        Samples per second to resample to.
    channel
        Channel to read, counted from 1; the mean of all if not given.
    track
        Track of sound in a container, counted from 1; the container's default if not given.

    Raises
    ------
    RecordingError
        If the recording cannot be read, or something in it is wrong.
    """
    return np.concatenate(list(read_blocks(path, sample_rate, channel=channel, track=track)))
