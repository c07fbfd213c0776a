"""Decode Ogg Vorbis with PyAV: the samples of libsndfile, in two thirds of the time.

Importing this module needs the `av` extra.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import numpy as np

from sed.audio.decoders.libsndfile import SoundFileDecoder
from sed.types import Floats

# Samples per block; large, because each block costs its consumers some time.
BLOCK_SAMPLES = 65_536

# Shorter files are decoded by libsndfile alone: opening them twice costs more than it saves.
MIN_SECONDS = 30.0

# FFmpeg orders more channels differently.
MAX_CHANNELS = 2

# FFmpeg computes the time of a frame from the Ogg pages. It may be ahead by one block of Vorbis and
# is right again in the next frame. A gap in the file shifts it by more samples than this.
MAX_TIME_ERROR = 4_096


class VorbisDecoder(SoundFileDecoder):
    """Decodes Ogg Vorbis with FFmpeg, which is faster, as long as it agrees with libsndfile.

    Where the two disagree, libsndfile continues from that sample and reports the damage. Samples
    differ by the rounding of fp32.
    """

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels).

        Raises
        ------
        DamagedRecordingError
            After the last good block, if the file is damaged or cut off.
        """
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
        """Whether the file is complete and FFmpeg is worth opening it a second time."""
        n_samples = self.n_samples or 0
        is_long = n_samples >= MIN_SECONDS * self.sample_rate
        return is_long and self.n_channels <= MAX_CHANNELS and not self._shortfall(n_samples)

    def _agreed(self) -> Iterator[Floats]:
        """Yield what FFmpeg decodes, up to the sample at which the two decoders disagree."""
        n_given, n_samples = 0, self.n_samples or 0
        fifo = av.AudioFifo()
        for frame in self._frames():
            frame.pts = None  # AudioFifo refuses frames with small errors of time
            fifo.write(frame)
            if fifo.samples >= BLOCK_SAMPLES and n_given + BLOCK_SAMPLES <= n_samples:
                n_given += BLOCK_SAMPLES
                yield _block(fifo.read(BLOCK_SAMPLES))
        if n_left := min(fifo.samples, n_samples - n_given):
            yield _block(fifo.read(n_left))

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Yield the frames of FFmpeg up to a gap in the file, without the last before it.

        That frame overlaps with data from after the gap.
        """
        assert isinstance(self._source, bytes)
        position = 0  # end of the newest frame
        newest: av.AudioFrame | None = None
        try:
            # Tags may be in any encoding.
            with av.open(os.fsdecode(self._source), metadata_errors="replace") as container:
                for frame in container.decode(container.streams.audio[0]):
                    pts = frame.pts or 0
                    # Frames before zero are encoder padding, which libsndfile leaves out.
                    has_right_time = pts >= 0 and abs(pts - position) <= MAX_TIME_ERROR
                    if not (has_right_time and self._is_like(frame)):
                        return
                    if newest is not None:
                        yield newest
                    newest = frame
                    position += frame.samples
        except Exception:  # PyAV raises all kinds; libsndfile says what is wrong, if anything is
            return
        if newest is not None:
            yield newest

    def _is_like(self, frame: av.AudioFrame) -> bool:
        """Whether a frame has the channels and the sample rate of the first stream in the file."""
        own = self.n_channels, self.sample_rate
        return (frame.layout.nb_channels, frame.sample_rate) == own


def _block(frame: av.AudioFrame | None) -> Floats:
    assert frame is not None
    return np.ascontiguousarray(frame.to_ndarray().T, np.float32)
