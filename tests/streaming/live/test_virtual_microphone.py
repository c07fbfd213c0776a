"""From a sound server through PortAudio and the model, where a sound server can run."""

import subprocess
import sys
import time

import pytest
import soundfile

from sed.events.reading.events import read_events
from tests.conftest import ROOT, rising_noise

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live():
    """Return the benchmarks of live sound, if a virtual microphone can be made."""
    import benchmarks.live.equality
    import benchmarks.live.listening
    from benchmarks.live import virtual_microphone

    if missing := virtual_microphone.what_is_missing():
        pytest.skip(f"a virtual microphone needs: {missing}")
    return benchmarks.live


def test_live_events_equal_those_of_the_captured_sound(live):
    figures = live.equality.equality(minutes=0.6)
    assert figures["same_to_the_frame"]
    assert figures["live"] == figures["offline"] >= 4
    assert figures["gaps"] == 0


@pytest.mark.parametrize(("rate", "n_channels"), [(8_000, 1), (48_000, 8)])
def test_devices_of_8_khz_or_8_channels_are_recorded(live, tmp_path, rate, n_channels):
    soundfile.write(tmp_path / "noise.wav", rising_noise(5 * 16_000), 16_000)
    with live.virtual_microphone.VirtualMicrophone(rate, n_channels) as room:
        with live.listening.listening(room, "--save-audio", tmp_path / "saved"):
            room.play(tmp_path / "noise.wav")
        (saved,) = (tmp_path / "saved").iterdir()
    samples, _ = soundfile.read(saved)
    assert abs(samples).max() > 0.1
    assert len(samples) > 4 * 44_100


def test_a_device_that_is_unplugged_is_opened_again_and_the_gap_is_reported(live, tmp_path):
    out = tmp_path / "e.jsonl"
    with live.virtual_microphone.VirtualMicrophone() as room:
        process = subprocess.Popen(
            [sys.executable, "-m", "sed", "listen", "--output", out],
            env=room.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while "listening" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(4.0)
        room.unplug()
        time.sleep(3.0)
        room.plug()
        while '"gap"' not in out.read_text():
            time.sleep(0.2)
        time.sleep(2.0)
        process.terminate()
        err = process.communicate()[1]
    assert "default: disconnected; trying to connect again" in err
    assert "default: connected again" in err
    assert "missing" in err.splitlines()[-1]
    assert read_events(out, "jsonl") == []
    assert '"gap": "the device was disconnected"' in out.read_text()
