"""Decode MP3 files whose header does not give the length, through a pipe."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from sed.audio.decoders.layout.byte_ranges import ByteRanges
from sed.audio.decoders.libsndfile import SoundFileDecoder

BLOCK_BYTES = 1 << 16


class PipedDecoder(SoundFileDecoder):
    """Decodes a file with libsndfile, which does not guess the length of a pipe.

    Parameters
    ----------
    path
        Name of the recording in messages.
    content
        What to decode; closed at its end.
    n_skipped
        Bytes of the recording before the content.

    Raises
    ------
    LibsndfileError
        If libsndfile cannot read the format.
    """

    def __init__(self, path: str, content: ByteRanges, n_skipped: int) -> None:
        self._n_bytes_copied = n_skipped
        reading, writing = os.pipe()

        def copy() -> None:
            with suppress(OSError), content, open(writing, "wb", buffering=0) as pipe:
                while block := content.read(BLOCK_BYTES):
                    pipe.write(block)
                    self._n_bytes_copied += len(block)

        threading.Thread(target=copy, name="decode-pipe", daemon=True).start()
        super().__init__(path, reading)
        self.n_samples = None  # a header may give it, and be wrong: it is read to the end

    @property
    def n_bytes_read(self) -> int:
        """Bytes of the recording up to the last that went into the pipe."""
        return self._n_bytes_copied
