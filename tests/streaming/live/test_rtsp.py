"""RTSP cameras, from a real server (Debian: apt install gir1.2-gst-rtsp-server-1.0 python3-gi
gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly)."""

import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sed.errors import RecordingError
from streaming.live import sources as module
from streaming.live.capture import CaptureBuffer, Disconnect, SampleGap
from streaming.live.sources import open_source
from streaming.messages import Problem
from tests.conftest import until

pytest.importorskip("av")
SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"
SOUND = (
    "audiotestsrc is-live=true volume=0.3 ! audio/x-raw,rate=8000,channels=1 ! valve name=mute ! "
    "mulawenc ! rtppcmupay"
)
PICTURE = (
    "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=5/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast ! rtph264pay name=pay0 pt=96 "
)
CAMERA = f"{PICTURE} {SOUND} name=pay1"
LOSSY = f"{SOUND} ! identity drop-probability=0.2 name=pay0"
PROBE = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, "
    "GstRtspServer; Gst.init(None); assert all(map(Gst.ElementFactory.find, "
    "('x264enc', 'rtppcmupay', 'mulawenc')))"
)
until = partial(until, seconds=30.0)


@pytest.fixture(scope="module", autouse=True)
def needs_server():
    if subprocess.run([PYTHON, "-c", PROBE], capture_output=True, check=False).returncode:
        pytest.skip("needs the RTSP server of GStreamer")


class Server:
    """A server that can be restarted at its port."""

    def __init__(self, pipeline, protocol="any", password=""):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._arguments = [str(self.port), pipeline, protocol, password]
        self.url = f"rtsp://127.0.0.1:{self.port}/live"
        self.start()

    def start(self):
        self._process = subprocess.Popen(
            [PYTHON, str(SERVER), *self._arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout.readline() == "ready\n"

    def stop(self):
        self._process.kill()
        self._process.communicate()

    def mute(self, is_mute):
        self._process.stdin.write(f"mute drop {str(is_mute).lower()}\n")
        self._process.stdin.flush()


@contextmanager
def serving(*arguments):
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.stop()


class Capture:
    """What an input has delivered, which is taken all the time."""

    def __init__(self, source):
        self.source, self.items = source, []
        self.buffer = CaptureBuffer(
            hop_length=400,
            capacity_samples=600 * source.sample_rate,
            wake=threading.Condition(),
            sample_rate=source.sample_rate,
        )
        source.start(self.buffer)

    def take(self):
        while (item := self.buffer.pop(10**9)) is not None:
            self.items.append(item)
        return self.items

    def of(self, kind):
        return [item for item in self.take() if isinstance(item, kind)]

    @property
    def seconds(self):
        self.take()
        return self.buffer.n_processed / self.source.sample_rate

    @property
    def accounted_seconds(self):
        """Seconds that are delivered or missing."""
        return (self.buffer.n_delivered + self.buffer.n_missing) / self.source.sample_rate


@contextmanager
def captured(url):
    capture = Capture(open_source(url))
    try:
        yield capture
    finally:
        capture.source.stop()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_camera_with_sound_in_its_second_track_is_read(protocol):
    with serving(CAMERA, protocol) as server, captured(server.url) as capture:
        assert (capture.source.sample_rate, capture.source.n_channels) == (8_000, 1)
        until(lambda: capture.seconds > 3)
        blocks = [item.block for item in capture.items if hasattr(item, "block")]
        assert np.sqrt(np.mean(np.concatenate(blocks) ** 2)) == pytest.approx(
            0.3 / 2**0.5, abs=0.01
        )
        assert capture.of(SampleGap) == []


@pytest.mark.slow
def test_lost_packets_are_gaps_and_later_times_stay_right():
    with serving(LOSSY) as server:
        began = time.monotonic()
        with captured(server.url) as capture:
            until(lambda: capture.seconds > 6)
            elapsed = time.monotonic() - began
            assert {gap.reason for gap in capture.of(SampleGap)} == {module.DAMAGED_PACKETS}
            assert capture.buffer.n_missing > 0.1 * capture.buffer.n_delivered
            assert capture.accounted_seconds == pytest.approx(elapsed, abs=1.5)


@pytest.mark.slow
def test_a_camera_that_sends_no_sound_for_a_while_is_noticed(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 3.0)
    with serving(CAMERA) as server, captured(server.url) as capture:
        until(lambda: capture.seconds > 1)
        server.mute(True)
        until(lambda: capture.buffer.state == "lost")
        server.mute(False)
        until(lambda: capture.buffer.state == "listening")
        assert len(capture.of(Disconnect)) == 1
        (gap,) = capture.of(SampleGap)
        assert (gap.reason, gap.n_samples > 3 * 8_000) == (module.SILENT, True)
        name = capture.source.name
        assert [problem.text for problem in capture.of(Problem)] == [
            f"{name}: sends no sound; waiting for it",
            f"{name}: sends sound again",
        ]


@pytest.mark.slow
def test_a_server_that_restarts_is_connected_again(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.2)
    with serving(CAMERA) as server, captured(server.url) as capture:
        until(lambda: capture.seconds > 1)
        server.stop()
        until(lambda: capture.buffer.state == "lost")
        server.start()
        until(lambda: capture.buffer.state == "listening")
        assert {gap.reason for gap in capture.of(SampleGap)} == {module.DISCONNECTED}
        before = capture.seconds
        until(lambda: capture.seconds > before + 1)


@pytest.mark.slow
def test_several_cameras_are_read_at_once_and_passwords_are_never_shown():
    with serving(CAMERA, "any", "s3cret") as first, serving(LOSSY) as second:
        secret = first.url.replace("//", "//ada:s3cret@")
        with captured(secret) as one, captured(second.url) as other:
            until(lambda: one.seconds > 1 and other.seconds > 1)
            assert one.source.name == first.url
            first.stop()
            until(lambda: one.of(Problem))
            assert "s3cret" not in str(one.of(Problem))
        first.start()
        with pytest.raises(RecordingError, match="401 Unauthorized") as raised:
            open_source(first.url.replace("//", "//ada:wr0ng@"))
        assert "wr0ng" not in str(raised.value)
