"""Stand in for sounddevice, with devices that a test describes."""

from types import SimpleNamespace

import numpy as np


class PortAudioError(Exception):
    pass


class Stream:
    """A stream that delivers samples when a test calls `deliver`."""

    def __init__(self, portaudio, *, device, samplerate, channels, callback, **_):
        self.about = portaudio.listed[device]
        self.settings = samplerate, channels
        self.callback = callback
        self.active = False
        portaudio.streams.append(self)
        if self.about.get("is_gone"):
            raise PortAudioError("Error opening InputStream: Device unavailable", -9985)

    def start(self):
        self.active = True

    def close(self):
        self.active = False

    def deliver(self, n, *, overflow=False):
        block = np.full((n, self.settings[1]), 0.5, np.float32)
        self.callback(block, n, None, SimpleNamespace(input_overflow=overflow))
        block[:] = 9.0  # PortAudio reuses its memory


class FakePortAudio:
    """The functions of sounddevice, for a list of devices."""

    PortAudioError = PortAudioError

    def __init__(self, *listed, default=0):
        self.listed = list(listed)
        self.default = SimpleNamespace(device=(default, default))
        self.streams = []
        self.n_looked = 0
        self.is_starting = False

    def query_devices(self):
        return self.listed

    def query_hostapis(self, index):
        return {"name": "ALSA"}

    def check_input_settings(self, *, device, channels, samplerate, **_):
        about = self.listed[device]
        if samplerate not in about["rates"] or channels not in about["counts"]:
            raise PortAudioError("Invalid sample rate")

    def InputStream(self, **settings):
        return Stream(self, **settings)

    def _terminate(self):
        self.n_looked += 1
        for stream in self.streams:
            stream.active = False

    def _initialize(self):
        if self.is_starting:
            self.is_starting = False
            raise PortAudioError("Host error", -9999)


def device(name, channels=2, rate=48_000, rates=None, counts=None):
    return {
        "name": name, "max_input_channels": channels, "default_samplerate": float(rate),
        "hostapi": 0, "rates": rates or (rate,), "counts": counts or range(1, channels + 1),
    }  # fmt: skip


USB = device("USB Audio: Mic (hw:2,0)")
BUILT_IN = device("HDA Intel: ALC (hw:0,0)")
SPEAKER = device("Speaker", channels=0)
