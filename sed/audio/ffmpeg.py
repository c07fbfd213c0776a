"""Sound in containers that libsndfile does not read (m4a, mp4, wma, …), through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from sed.audio.libsndfile import SoundFileDecoder
from sed.errors import DamagedRecordingError, MissingExtraError, RecordingError
from sed.text import printable
from sed.types import Floats


class ContainerDecoder:
    """The first audio stream of a container or URL that FFmpeg reads.

    Parameters
    ----------
    path
        A file, or a URL.
    name
        What messages call it; its path if not given.
    timeout_seconds
        How long a network may say nothing; for ever if not given.
    like
        Another one, whose sample rate and channels this one's sound is converted to.

    Raises
    ------
    RecordingError
        If it cannot be opened, or holds no sound.
    MissingExtraError
        If PyAV is not installed.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        timeout_seconds: float | None = None,
        like: ContainerDecoder | None = None,
    ) -> None:
        self._path = name or path
        try:
            import av
        except ImportError:
            raise MissingExtraError(f"{printable(self._path)}: reading this", "av") from None
        self._error = av.error.FFmpegError
        options = {"rtsp_transport": "tcp"} if path.startswith("rtsp") else {}  # loses no packets
        try:
            self._container = av.open(path, options=options, timeout=timeout_seconds)
        except av.error.FFmpegError as error:
            raise RecordingError(
                self._path,
                f"cannot be read, not by FFmpeg either ({error.strerror}). Check its content, or "
                "convert it.",
            ) from error
        if not self._container.streams.audio:
            self._container.close()
            raise RecordingError(self._path, "holds no sound. Give a recording.")
        self._stream = self._container.streams.audio[0]
        own = self._stream.codec_context
        self._layout: str = like._layout if like else own.layout.name
        self.sample_rate: int = like.sample_rate if like else int(own.sample_rate)
        self.n_channels: int = like.n_channels if like else int(own.channels)
        duration = self._container.duration  # in microseconds
        self.n_samples: int | None = int(duration * self.sample_rate / 1e6) if duration else None
        self.format = f"{self._container.format.name} {self._stream.codec_context.name}"
        self._resampler = av.AudioResampler

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape (samples, channels)."""
        position, form = 0, None
        try:
            for frame in self._container.decode(self._stream):
                if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    # Radio changes it between programmes, and a resampler takes only one.
                    # Not one plane per channel: of eight, PyAV looks for a ninth, and crashes.
                    to_float = self._resampler("flt", self._layout, self.sample_rate)
                for part in to_float.resample(frame):
                    block = part.to_ndarray().astype(np.float32, copy=False)
                    block = block.reshape(-1, self.n_channels)
                    position += len(block)
                    yield block
        except self._error as error:
            raise DamagedRecordingError(
                self._path,
                position / self.sample_rate,
                "it cannot be decoded any further. What came before is kept; copy or export the "
                "file again for the rest.",
            ) from error
        expected = self.n_samples or 0
        if expected - position > self.sample_rate:
            raise DamagedRecordingError(
                self._path,
                position / self.sample_rate,
                f"it is cut off there; its header promises {expected / self.sample_rate:.3f} s. "
                "What came before is kept; copy or export the file again for the rest.",
            )

    def close(self) -> None:
        """Close the container: PyAV leaks what is left open."""
        self._container.close()


BLOCK_SAMPLES = 65_536  # given at a time: each block costs those who take it some time


SHORTEST_SECONDS = 30.0  # to open a file twice has to be worth it


MOST_CHANNELS = 2  # beyond that FFmpeg orders them in another way


# A frame's time, which FFmpeg reckons from the pages, may be ahead by a block of Vorbis and is
# right again in the next one. What is missing from a file shifts it by more.
LARGEST_SLIP = 4_096


class VorbisDecoder(SoundFileDecoder):
    """Reads with FFmpeg as long as that agrees with what libsndfile knows of the file.

    Where it does not, libsndfile goes on from there, and tells what is wrong. Floats differ by
    the rounding of fp32.
    """

    def blocks(self) -> Iterator[Floats]:
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

    def _agreed(self) -> Iterator[Floats]:
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


def _block(frame: av.AudioFrame | None) -> Floats:
    assert frame is not None
    return np.ascontiguousarray(frame.to_ndarray().T, np.float32)
