"""Build sources that follow a script, and the events that are expected of them."""

import time

from sed.audio.sound_file import quantize_24bit
from sed.models.devices import DeviceError
from streaming.engines.pytorch import TorchEngine
from streaming.messages import EventEnded
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from tests.conftest import rising_noise

CONFIG = DetectorConfig(hop_seconds=0.5, lookahead_seconds=0.25)
RATE = 8_000


class Script:
    """A source that delivers its blocks and disconnections at once."""

    sample_rate, n_channels = RATE, 1

    def __init__(self, *steps, name="script"):
        self.name = name
        self._steps = steps

    def start(self, buffer):
        self._buffer = buffer
        for step in self._steps:
            if isinstance(step, int):
                buffer.disconnected("gone")
                buffer.reconnected(step, "unplugged", "back")
            else:
                buffer.push(step[:, None] if step.ndim == 1 else step)
        buffer.end()

    def stop(self):
        self._buffer.end()


class Unplugged(Script):
    def start(self, buffer):
        raise DeviceError(f"{self.name}: cannot be opened")


class SlowEngine(TorchEngine):
    """An engine that waits for `seconds` before each batch."""

    seconds = 0.0
    batches: list[int] = []  # noqa: RUF012  # of the instance that a test makes

    def infer(self, log_mel):
        time.sleep(self.seconds)
        self.batches.append(len(log_mel))
        return super().infer(log_mel)


class FailingEngine(TorchEngine):
    """An engine that fails with the calls of the given numbers, counted from 0."""

    fails: range | tuple[int, ...] = ()
    n_calls = 0

    def infer(self, log_mel):
        self.n_calls += 1
        if self.n_calls - 1 in self.fails:
            raise RuntimeError("out of order")
        return super().infer(log_mel)


def offline(checkpoint, engine, samples):
    detector = Detector(engine, CONFIG)
    return detector.push(quantize_24bit(samples)).events + detector.flush().events


def spans(events, shift=0.0):
    return [(round(e.onset + shift, 6), round(e.offset + shift, 6), e.label) for e in events]


def ended(messages):
    return [message.event for message in messages if isinstance(message, EventEnded)]


class Endless:
    sample_rate, n_channels, n_samples = RATE, 1, None

    def blocks(self):
        while True:
            yield rising_noise(4_000)[:, None]

    def close(self):
        pass


class Sound(Endless):
    def __init__(self, samples):
        self._samples = samples

    def blocks(self):
        yield self._samples[:, None]
