"""Read one long recording with several threads: decode, resample and compute log-mel in parallel.

::

    thread 0: range 0 ─┐     ┌ range 2 …
    thread 1: ───── range 1 ─┴ range 3 …   ─▶ columns in order ─▶ FrontEnd.push_log_mel
                                              the rest, as one stream ─▶ FrontEnd.push

Each range starts with a seek, so this works for formats that seek to the exact sample (see
`FileDecoder.seeks_exactly`). The columns equal those of the stream to the last bit; where the
blocks of the resampler repeat only after more than a few seconds (11.025 to 16 kHz), they differ by
its rounding. Only ranges without any damage are yielded: from the first damaged one on, the caller
reads the recording as one stream, which reports the damage.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

from sed.audio.blocks import SampleValidator, read_blocks
from sed.audio.decode import Decoder, open_recording
from sed.audio.file_decoder import FileDecoder
from sed.audio.quality.meter import QualityMeter
from sed.errors import RecordingError
from sed.types import Floats
from streaming.pipeline.front_end import FrontEnd

RANGE_SECONDS = 60.0  # about; long compared with opening a file, short compared with a recording
MIN_RANGES = 4  # with fewer, starting threads does not pay


def read_parallel(
    front_end: FrontEnd,
    path: str,
    decoder: Decoder,
    *,
    channel: int | None = None,
    n_readers: int = 1,
    validator: SampleValidator | None = None,
) -> Generator[Floats]:
    """Yield the log-mel columns of a recording, each chunk (columns, mels), for all whole ranges.

    Nothing is yielded where reading in parallel is not possible or does not pay.

    Parameters
    ----------
    front_end
        Computes the columns.
    path, decoder
        The recording, and its properties; each reader opens the file itself.
    channel
        Counted from 1; the mean of all if not given.
    n_readers
        Threads. At most twice as many ranges are being read or waiting.
    validator
        Notes whether there was any sound, and measures its quality if it has a meter.
    """
    validator = validator or SampleValidator()
    reader = _RangeReader(front_end, path, channel, validator.quality)
    n_ranges = reader.n_ranges(decoder)
    if n_readers < 2 or n_ranges < MIN_RANGES:
        return
    pending: deque[Future[_Range | None]] = deque()
    numbers = iter(range(n_ranges))
    with ThreadPoolExecutor(n_readers, "range-reader") as pool:
        try:
            while True:
                while len(pending) < 2 * n_readers and (n := next(numbers, None)) is not None:
                    pending.append(pool.submit(reader.read, n))
                if not pending or (whole := pending.popleft().result()) is None:
                    break
                validator.add(whole.validator)
                yield from whole.log_mel
        finally:
            reader.stop()


class _Range(NamedTuple):
    """A part of a recording without damage."""

    log_mel: list[Floats]  # chunks, each (columns, mels)
    validator: SampleValidator  # of its samples


class _RangeReader:
    """Reads any range of a recording, from any thread."""

    def __init__(
        self,
        front_end: FrontEnd,
        path: str,
        channel: int | None,
        quality: QualityMeter | None,
    ) -> None:
        self._front_end = front_end
        self._path = path
        self._channel = channel
        self._quality = quality
        stream = front_end.feature_stream()
        self._config = stream.config
        self._rate = self._config.sample_rate
        chunk = stream.chunk_columns
        n_columns = RANGE_SECONDS * self._rate / self._config.hop_length
        self._n_chunks = max(1, round(n_columns) // chunk)
        self._n_columns = self._n_chunks * chunk
        self._stopped = threading.Event()

    def n_ranges(self, decoder: Decoder) -> int:
        """Return the number of whole ranges of a recording; 0 if it does not seek exactly."""
        if not (isinstance(decoder, FileDecoder) and decoder.seeks_exactly):
            return 0
        n_samples = (decoder.n_samples or 0) * self._rate // decoder.sample_rate
        return self._config.n_columns(self._config.left_padding + n_samples) // self._n_columns

    def read(self, n: int) -> _Range | None:
        """Return the n-th range; None if it is damaged, or reading was stopped."""
        stream = self._front_end.feature_stream()
        stream.reset(n * self._n_columns)
        quality = self._quality.like() if self._quality is not None else None
        validator = SampleValidator(quality=quality)
        log_mel: list[Floats] = []
        try:
            with closing(open_recording(self._path)) as decoder:
                blocks = read_blocks(
                    self._path,
                    self._rate,
                    channel=self._channel,
                    decoder=decoder,
                    start=stream.n_samples,
                    validator=validator,
                )
                with closing(blocks):
                    while len(log_mel) < self._n_chunks and not self._stopped.is_set():
                        log_mel += stream.push(next(blocks))
                # A decoder goes on past damage, and reports it only in the end.
                is_intact = isinstance(decoder, FileDecoder) and decoder.is_intact
        except (RecordingError, StopIteration):
            return None
        if self._stopped.is_set() or validator.n_nonfinite or not is_intact:
            return None
        return _Range(log_mel[: self._n_chunks], validator)

    def stop(self) -> None:
        """Stop all reads that are running or waiting."""
        self._stopped.set()
