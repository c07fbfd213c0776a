"""Ogg Vorbis through FFmpeg: the samples are libsndfile's, in two thirds of the time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import numpy as np
from av.error import FFmpegError

from sed.soundfiles import Samples, SoundFileDecoder

BLOCK_SAMPLES = 65_536  # given at a time: each block costs those who take it some time
SHORTEST_SECONDS = 30.0  # to open a file twice has to be worth it
# A frame's time, which FFmpeg reckons from the pages, may be off by a block of Vorbis and is right
# again in the next one. What is missing from a file shifts it by more.
LARGEST_SLIP = 4_096


class VorbisDecoder(SoundFileDecoder):
    """Reads with FFmpeg as long as that agrees with what libsndfile knows of the file.

    Where it does not, libsndfile goes on from there, and tells what is wrong. Samples differ by
    the rounding of fp32.
    """

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels)."""
        position = self._position
        if position == 0 and self._is_whole_and_long:
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
    def _is_whole_and_long(self) -> bool:
        n_samples = self.n_samples or 0
        return n_samples >= SHORTEST_SECONDS * self.sample_rate and not self._shortfall(n_samples)

    def _agreed(self) -> Iterator[Samples]:
        """Yield what FFmpeg reads, up to where the two disagree."""
        n_samples = self.n_samples or 0
        position = 0  # behind the last frame
        n_given = 0
        fifo = av.AudioFifo()
        assert isinstance(self._source, bytes)
        try:
            with av.open(os.fsdecode(self._source)) as container:
                stream = container.streams.audio[0]
                for frame in container.decode(stream):
                    slip = abs((frame.pts or 0) - position)
                    if slip > LARGEST_SLIP or frame.layout.nb_channels != self.n_channels:
                        break
                    position += frame.samples
                    frame.pts = None  # else the fifo minds the slips
                    fifo.write(frame)
                    if fifo.samples >= BLOCK_SAMPLES and n_given + BLOCK_SAMPLES <= n_samples:
                        n_given += BLOCK_SAMPLES
                        yield _block(fifo.read(BLOCK_SAMPLES))
        except (FFmpegError, ValueError):  # ValueError: the frames became others
            pass
        if n_left := min(fifo.samples, n_samples - n_given):
            yield _block(fifo.read(n_left))


def _block(frame: av.AudioFrame | None) -> Samples:
    assert frame is not None
    return np.ascontiguousarray(frame.to_ndarray().T, np.float32)
