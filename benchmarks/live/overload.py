"""Listen with a model that is too slow, and account for every sample."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import sed
from benchmarks.live.listening import HOP, write_example
from benchmarks.live.virtual_microphone import VirtualMicrophone
from benchmarks.store import Results
from streaming.engines.base import FrameOutput
from streaming.engines.pytorch import TorchEngine
from streaming.live.listener import Listener
from streaming.live.microphone import Microphone
from streaming.messages import Gap


def overload(seconds: float = 60.0) -> Results:
    """Slow the model to half the speed it needs, listen to a microphone, and count samples."""
    with VirtualMicrophone() as microphone, tempfile.TemporaryDirectory() as name:
        os.environ.update(microphone.environment)
        write_example(Path(name) / "played.wav", seconds + 30)
        player = subprocess.Popen(
            ["paplay", "-d", "room", Path(name) / "played.wav"], env=microphone.environment
        )
        torch.set_num_threads(1)
        checkpoint = sed.load_model()
        engine = _SlowEngine(checkpoint, seconds=2 * HOP)
        source = _CountingMicrophone()
        listener = Listener([source], engine)
        started, recovered_after, dropped = time.monotonic(), None, 0
        fast_at = 0.0
        for message in listener.messages():
            now = time.monotonic()
            if isinstance(message, Gap):
                dropped += message.n_samples
            if engine.seconds and now - started > seconds:
                engine.seconds, fast_at = 0.0, now
            waiting = listener.status().sources[0].n_waiting
            if fast_at and recovered_after is None and waiting < HOP * source.sample_rate:
                recovered_after = now - fast_at
            if fast_at and now - fast_at > 5.0:
                listener.stop()
        player.terminate()
        player.wait()
    (status,) = listener.status().sources
    return {
        "slowed_seconds": seconds,
        "delivered": source.n_counted,
        "processed": status.n_processed,
        "dropped": status.n_dropped,
        "dropped_in_gaps": dropped,
        "gaps": status.n_gaps,
        "overflows": status.n_overflows,
        "difference": source.n_counted - status.n_processed - status.n_dropped,
        "recovered_after_seconds": recovered_after,
        "hop_seconds": HOP,
    }


class _SlowEngine(TorchEngine):
    """An engine that waits before each batch."""

    def __init__(self, model: Any, seconds: float) -> None:
        super().__init__(model)
        self.seconds = seconds

    def infer(self, log_mel: NDArray[np.float32]) -> FrameOutput:
        time.sleep(self.seconds)
        return super().infer(log_mel)


class _CountingMicrophone(Microphone):
    """A microphone that counts what PortAudio delivers, independent of the account under test."""

    n_counted = 0

    def _deliver(self, block: Any, n_samples: int, has_overflowed: bool) -> None:
        self.n_counted += n_samples
        super()._deliver(block, n_samples, has_overflowed)
