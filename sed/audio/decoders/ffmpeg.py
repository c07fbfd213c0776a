"""Decode containers that libsndfile cannot read (m4a, mp4, wma, …), and URLs, with PyAV."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sed.errors import DamagedRecordingError, MissingExtraError, RecordingError
from sed.text import printable
from sed.types import Floats


class ContainerDecoder:
    """Decodes the first audio stream of a file or URL that FFmpeg reads.

    Parameters
    ----------
    path
        A file, or a URL.
    name
        Its name in messages; by default the path.
    timeout_seconds
        Longest wait for data from a network; unlimited if not given.
    like
        Another decoder; samples are converted to its sample rate and channels.

    Raises
    ------
    RecordingError
        If it cannot be opened, or holds no audio stream.
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
        # TCP loses no packets, UDP does.
        options = {"rtsp_transport": "tcp"} if path.startswith("rtsp") else {}
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

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels).

        Raises
        ------
        DamagedRecordingError
            After the last good block, if the container is damaged or cut off.
        """
        position, form = 0, None
        try:
            for frame in self._container.decode(self._stream):
                if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    # Internet radio changes its format between programmes, and a resampler accepts
                    # only one. Interleaved, because PyAV crashes on planar sound of 8 channels.
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
        """Close the container; PyAV leaks open ones."""
        self._container.close()
