"""Ogg Vorbis through FFmpeg: the samples are libsndfile's, in two thirds of the time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import numpy as np
from av.error import FFmpegError

from sed.audio.libsndfile import Samples, SoundFileDecoder

BLOCK_SAMPLES = 65_536  # given at a time: each block costs those who take it some time
SHORTEST_SECONDS = 30.0  # to open a file twice has to be worth it
MOST_CHANNELS = 2  # beyond that FFmpeg orders them in another way
# A frame's time, which FFmpeg reckons from the pages, may be ahead by a block of Vorbis and is
# right again in the next one. What is missing from a file shifts it by more.
LARGEST_SLIP = 4_096


class VorbisDecoder(SoundFileDecoder):
    """Reads with FFmpeg as long as that agrees with what libsndfile knows of the file.

    Where it does not, libsndfile goes on from there, and tells what is wrong. Samples differ by
    the rounding of fp32.
    """

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels)."""
        position = self._position
        if position == 0 and self._is_simple:
            for block in self._agreed():
                position += len(block)
                yield block
            if position == self.n_samples:
                return
        n_given = position - self._position
        for block in super().blocks():
            if n_given < len(block):
                yield block[n_given:]
            n_given = max(0, n_given - len(block))

    @property
    def _is_simple(self) -> bool:
        """Whether it is whole, and worth it."""
        n_samples = self.n_samples or 0
        is_long = n_samples >= SHORTEST_SECONDS * self.sample_rate
        return is_long and self.n_channels <= MOST_CHANNELS and not self._shortfall(n_samples)

    def _agreed(self) -> Iterator[Samples]:
        """Yield what FFmpeg reads, up to where the two disagree."""
        n_given, n_samples = 0, self.n_samples or 0
        fifo = av.AudioFifo()
        for frame in self._frames():
            frame.pts = None  # else the fifo minds the slips
            fifo.write(frame)
            if fifo.samples >= BLOCK_SAMPLES and n_given + BLOCK_SAMPLES <= n_samples:
                n_given += BLOCK_SAMPLES
                yield _block(fifo.read(BLOCK_SAMPLES))
        if n_left := min(fifo.samples, n_samples - n_given):
            yield _block(fifo.read(n_left))

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Yield FFmpeg's frames, but for the last before a place where something is missing.

        That one was decoded with what comes after the place.
        """
        assert isinstance(self._source, bytes)
        position = 0  # behind the newest frame
        newest: av.AudioFrame | None = None
        try:
            with av.open(os.fsdecode(self._source)) as container:
                for frame in container.decode(container.streams.audio[0]):
                    pts = frame.pts or 0
                    # Before zero is what libsndfile leaves out, and FFmpeg does not.
                    is_in_its_place = pts >= 0 and abs(pts - position) <= LARGEST_SLIP
                    if not (is_in_its_place and self._is_like(frame)):
                        return
                    if newest is not None:
                        yield newest
                    newest = frame
                    position += frame.samples
        except FFmpegError:
            return
        if newest is not None:
            yield newest

    def _is_like(self, frame: av.AudioFrame) -> bool:
        """Whether a frame is still of the stream that the file began with."""
        own = self.n_channels, self.sample_rate
        return (frame.layout.nb_channels, frame.sample_rate) == own


def _block(frame: av.AudioFrame | None) -> Samples:
    assert frame is not None
    return np.ascontiguousarray(frame.to_ndarray().T, np.float32)
