"""One long recording, read by several threads: decoded, resampled and made columns at once.

::

    thread 0: range 0 ─┐     ┌ range 2 …
    thread 1: ───── range 1 ─┴ range 3 …      ─▶ columns in their order ─▶ Detector.cut_columns
                                                 what is left, in one stream ─▶ Detector.cut

A range is entered by a seek, so this is for formats that seek to the sample (see
`sed.audio.libsndfile.SoundFileDecoder.seeks_exactly`). Its columns are those of the stream to the last
bit, and where a resampler's blocks do not come round in a few seconds (11.025 to 16 kHz), to its
rounding. Only ranges with nothing wrong in them are given: from the first other one on, the
recording is left to whoever reads it in one stream and tells what it is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

from sed.audio.blocks import SampleValidator, read_blocks
from sed.audio.decode import Decoder
from sed.audio.libsndfile import SoundFileDecoder
from sed.errors import RecordingError
from sed.types import Floats
from streaming.pipeline.detector import Detector

RANGE_SECONDS = 60.0  # about; long beside the opening of a file, short beside a recording
FEWEST = 4  # ranges, for which threads are worth starting


def read_ranges(
    detector: Detector,
    path: str,
    decoder: Decoder,
    *,
    channel: int | None = None,
    n_readers: int = 1,
    check: SampleValidator | None = None,
) -> Generator[Floats]:
    """Yield the columns of a recording, shape (columns, mels), as far as whole ranges go.

    Nothing is yielded where that is not worth it or not possible.

    Parameters
    ----------
    detector
        Whose columns they are.
    path, decoder
        The recording, and what it says of itself; each reader opens it for itself.
    channel
        Counted from 1; the mean of all if not given.
    n_readers
        Threads. At most twice as many ranges are under way, or wait.
    check
        Takes up whether there was any sound.
    """
    check = check or SampleValidator()
    reader = _RangeReader(detector, path, channel)
    n_ranges = reader.n_ranges(decoder)
    if n_readers < 2 or n_ranges < FEWEST:
        return
    asked: deque[Future[_Range | None]] = deque()
    unasked = iter(range(n_ranges))
    with ThreadPoolExecutor(n_readers, "range-reader") as pool:
        try:
            while True:
                while len(asked) < 2 * n_readers and (n := next(unasked, None)) is not None:
                    asked.append(pool.submit(reader.read, n))
                if not asked or (whole := asked.popleft().result()) is None:
                    break
                check.has_sound = check.has_sound or whole.has_sound
                yield from whole.columns
        finally:
            reader.stop()


class _Range(NamedTuple):
    """A part of a recording with nothing wrong in it."""

    columns: list[Floats]  # stretches, each (columns, mels)
    has_sound: bool  # a sample was not zero


class _RangeReader:
    """Reads any range of a recording; each thread may."""

    def __init__(self, detector: Detector, path: str, channel: int | None) -> None:
        self._detector = detector
        self._path = path
        self._channel = channel
        stretch = detector.column_stream().stretch
        self._n_stretches = max(1, detector.timeline.nearest_columns(RANGE_SECONDS) // stretch)
        self._n_columns = self._n_stretches * stretch
        self._stopped = threading.Event()

    def n_ranges(self, decoder: Decoder) -> int:
        """Return how many whole ranges a recording has; 0 if they cannot be entered."""
        if not (isinstance(decoder, SoundFileDecoder) and decoder.seeks_exactly):
            return 0
        log_mel = self._detector.log_mel
        n_samples = (decoder.n_samples or 0) * log_mel.sample_rate // decoder.sample_rate
        return log_mel.n_columns(log_mel.left_padding + n_samples) // self._n_columns

    def read(self, n: int) -> _Range | None:
        """Return the n-th range; None if something is wrong in it, or nobody waits for it."""
        stream = self._detector.column_stream()
        stream.reset(n * self._n_columns)
        check = SampleValidator()
        columns: list[Floats] = []
        blocks = read_blocks(
            self._path,
            stream.log_mel.sample_rate,
            channel=self._channel,
            start=stream.n_samples,
            check=check,
        )
        with closing(blocks):
            try:
                while len(columns) < self._n_stretches and not self._stopped.is_set():
                    columns += stream.push(next(blocks))
            except (RecordingError, StopIteration):
                return None
        if self._stopped.is_set() or check.n_bad:
            return None
        return _Range(columns[: self._n_stretches], check.has_sound)

    def stop(self) -> None:
        """Have all ranges that are under way, or still wait, given up."""
        self._stopped.set()
