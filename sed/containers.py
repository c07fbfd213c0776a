"""Sound in containers that libsndfile does not read (m4a, mp4, wma, …), through PyAV."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sed.errors import DamagedRecordingError, MissingExtraError, RecordingError, printable


class ContainerDecoder:
    """The first audio stream of a container that FFmpeg reads."""

    def __init__(self, path: str) -> None:
        try:
            import av
        except ImportError:
            raise MissingExtraError(f"{printable(path)}: reading this format", "av") from None
        self._path = path
        self._error = av.error.FFmpegError
        try:
            self._container = av.open(path)
        except av.error.FFmpegError as error:
            raise RecordingError(
                path, "cannot be read, not by FFmpeg either. Check its content, or convert it."
            ) from error
        if not self._container.streams.audio:
            self._container.close()
            raise RecordingError(path, "holds no sound. Give a recording.")
        self._stream = self._container.streams.audio[0]
        self.sample_rate = int(self._stream.codec_context.sample_rate)
        self.n_channels = int(self._stream.codec_context.channels)
        duration = self._container.duration  # in microseconds
        self.n_samples = None if duration is None else int(duration * self.sample_rate / 1e6)
        self.format = f"{self._container.format.name} {self._stream.codec_context.name}"
        self._to_float = av.AudioResampler(format="fltp")

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape (samples, channels)."""
        position = 0
        try:
            for frame in self._container.decode(self._stream):
                for part in self._to_float.resample(frame):
                    block = np.ascontiguousarray(part.to_ndarray().T, np.float32)
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
