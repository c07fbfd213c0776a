"""A recording as mono blocks at one sample rate."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from sed.audio.decode import Decoder, open_recording
from sed.audio.libsndfile import SoundFileDecoder
from sed.audio.resample import Resampler, _period, _same_time
from sed.errors import RecordingError
from sed.types import Floats


def to_mono(block: Floats, channel: int | None = None) -> Floats:
    """Return one channel of a block, shape (samples, channels), counted from 1, or their mean."""
    if channel is not None:
        return np.ascontiguousarray(block[:, channel - 1])
    mono: Floats = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    return mono


@dataclass
class SampleValidator:
    """What there is to say of the samples of a recording, once all have passed."""

    position: int = 0  # of the next sample
    n_nonfinite: int = 0  # samples that are no number
    first_nonfinite: int = 0  # position of the first of them
    has_sound: bool = False  # a sample was not zero

    def take(self, mono: Floats) -> Floats:
        """Look at the next samples; return them, with silence for those that are no number."""
        if not np.isfinite(mono.sum()):  # one pass in the usual case
            bad = ~np.isfinite(mono)
            if bad.any():
                self.first_nonfinite = (
                    self.first_nonfinite if self.n_nonfinite else self.position + int(bad.argmax())
                )
                self.n_nonfinite += int(bad.sum())
                mono = np.where(bad, np.float32(0), mono)
        self.has_sound = self.has_sound or bool(mono.any())
        self.position += len(mono)
        return mono

    def end(self, path: str, sample_rate: int, channel: int | None) -> None:
        """Raise `RecordingError` for what is wrong with the samples."""
        if self.position == 0:
            raise RecordingError(path, "holds no samples, only a header. Record or copy it again.")
        if self.n_nonfinite:
            raise RecordingError(
                path,
                f"{self.n_nonfinite} samples are no number (NaN or infinite), the first at "
                f"{self.first_nonfinite / sample_rate:.3f} s; they were taken as silence. Check what "
                "wrote the file.",
            )
        if not self.has_sound:
            which = "" if channel is None else f" of channel {channel}"
            raise RecordingError(
                path,
                f"every sample{which} is zero (digital silence). Check the microphone, or choose "
                "another channel with --channel.",
            )


def mono_blocks(
    path: str, decoder: Decoder, *, channel: int | None = None, check: SampleValidator | None = None
) -> Iterator[Floats]:
    """Yield one-dimensional blocks: the mean of the channels, or one of them, counted from 1.

    Floats that are no number are taken as silence.

    Raises
    ------
    RecordingError
        If there is no such channel. Behind the last block: if there was no sample, nothing but
        digital silence, samples that are no number, or damage.
    """
    if channel is not None and not 1 <= channel <= decoder.n_channels:
        raise RecordingError(
            path,
            f"has no channel {channel}: it has {decoder.n_channels}, counted from 1. Choose "
            "another with --channel, or leave it out for their mean.",
        )
    check = check or SampleValidator()
    for block in decoder.blocks():
        yield check.take(to_mono(block, channel))
    check.end(path, decoder.sample_rate, channel)


def read_blocks(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    channel: int | None = None,
    decoder: Decoder | None = None,
    start: int = 0,
    check: SampleValidator | None = None,
) -> Generator[Floats]:
    """Yield a recording as mono blocks at `sample_rate`, however long it is.

    Parameters
    ----------
    path
        The recording; ``-`` for a WAV file on standard input.
    sample_rate
        Floats per second to resample to.
    channel
        Which channel to take, counted from 1; the mean of all if not given.
    decoder
        The recording, already opened; it is closed here.
    start
        Sample, at `sample_rate`, to begin with; for a `SoundFileDecoder` that seeks exactly.
    check
        What is known of the samples before `start`; takes up what is found out here.

    Raises
    ------
    RecordingError
        Before the first block if it cannot be read, behind the last if something is wrong in it.
    """
    path = os.fspath(path)
    decoder = decoder or open_recording(path)
    resampler = Resampler(decoder.sample_rate, sample_rate)
    check = check or SampleValidator()
    trouble: RecordingError | None = None
    try:
        n_early = _seek(decoder, sample_rate, start, check) if start else 0
        try:
            for block in mono_blocks(path, decoder, channel=channel, check=check):
                resampled = resampler.push(block)
                yield resampled[n_early:]
                n_early = max(0, n_early - len(resampled))
        except RecordingError as error:
            trouble = error
        yield resampler.flush()[n_early:]
    finally:
        decoder.close()
    if trouble is not None:
        raise trouble


def _seek(decoder: Decoder, sample_rate: int, start: int, check: SampleValidator) -> int:
    """Seek to before a sample of the resampled stream; return how many come before it."""
    assert isinstance(decoder, SoundFileDecoder)
    n_in, n_out = _same_time(decoder.sample_rate, sample_rate)
    period, n_lead = _period(decoder.sample_rate, sample_rate)
    latest = max(0, start * n_in // n_out - n_lead)
    check.position = decoder.seek(latest // period * period)
    return start - check.position // n_in * n_out


def read_recording(
    path: str | os.PathLike[str], sample_rate: int, *, channel: int | None = None
) -> Floats:
    """Return a whole recording, shape (samples,), mono at `sample_rate`. For clips."""
    return np.concatenate(list(read_blocks(path, sample_rate, channel=channel)))
