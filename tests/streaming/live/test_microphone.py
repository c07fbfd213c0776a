"""Sound devices are found by name, opened at a rate they support, and opened again later."""

import sys
import threading
import time

import pytest
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import UsageError
from sed.models.devices import DeviceError
from streaming.live import microphone
from streaming.live.capture import AudioChunk, CaptureBuffer, Disconnect, SampleGap
from streaming.live.microphone import Microphone, _find_device, devices
from streaming.messages import Problem
from tests.conftest import until
from tests.streaming.live.fake_portaudio import (
    BUILT_IN,
    SPEAKER,
    USB,
    FakePortAudio,
    PortAudioError,
    Stream,
    device,
)


@pytest.fixture
def portaudio(monkeypatch):
    def make(*listed, **options):
        fake = FakePortAudio(*listed, **options)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    return make


def test_device_names_do_not_contain_numbers_that_change(portaudio):
    portaudio(SPEAKER, BUILT_IN, USB, default=1)
    assert [(d.index, d.name, d.is_default) for d in devices()] == [
        (1, "HDA Intel: ALC", True),
        (2, "USB Audio: Mic", False),
    ]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (None, 1), ("2", 2), ("USB Audio: Mic", 2), ("usb", 2), ("USB Audio: Mic (hw:7,0)", 2),
        ("alc", 1),
    ],
)  # fmt: skip
def test_a_device_is_found_by_name_part_or_index(portaudio, wanted, index):
    portaudio(SPEAKER, BUILT_IN, USB, default=1)
    assert _find_device(wanted).index == index


def test_an_unknown_device_is_refused_with_the_known_ones(portaudio):
    portaudio(BUILT_IN, USB)
    with pytest.raises(DeviceError, match=r"no device or file 'USB Adio'.*Did you mean USB Audio"):
        _find_device("USB Adio")
    with pytest.raises(UsageError, match="'A' is part of several names: HDA Intel: ALC, USB"):
        _find_device("A")


def test_a_machine_without_a_microphone_is_an_error(portaudio):
    portaudio(SPEAKER)
    with pytest.raises(DeviceError, match=r"no microphone\. Plug one in"):
        _find_device()
    done = CliRunner().invoke(app(), ["devices"])
    assert done.exit_code == 1
    assert "there is no microphone" in done.stderr


def test_a_missing_portaudio_is_an_error_with_the_command_that_installs_it(monkeypatch):
    class Missing:
        def find_spec(self, name, *_):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(DeviceError, match="apt install libportaudio2"):
        devices()


def test_the_list_of_devices_marks_the_default_and_its_own_rate(portaudio):
    portaudio(device("A", rates=(16_000, 48_000)), device("Longer name", 1, 8_000), default=1)
    done = CliRunner().invoke(app(), ["devices"])
    assert done.stdout.splitlines() == [
        "   0  A            ALSA, 2 channels, Hz: 16,000 (48,000)",
        "*  1  Longer name  ALSA, 1 channels, Hz: (8,000)",
    ]


@pytest.mark.parametrize(
    ("about", "settings"),
    [
        (device("x", 1, 8_000), (8_000, 1)),
        (device("x", 8, 48_000, counts=[8]), (48_000, 8)),
        (device("x", 32, 44_100), (44_100, 2)),
        (device("x", 2, 22_050, rates=(16_000,)), (16_000, 2)),
        (device("x", 2, 4_000, rates=(4_000, 96_000)), (96_000, 2)),
    ],
)
def test_a_device_is_opened_with_settings_that_it_supports(portaudio, about, settings):
    portaudio(about)
    microphone = Microphone()
    assert (microphone.sample_rate, microphone.n_channels) == settings


def test_a_device_in_use_or_without_the_channel_is_refused(portaudio):
    portaudio(device("x", rates=(1,)))
    with pytest.raises(
        DeviceError, match=r"x: supports none of the usual sample rates\. Close the program"
    ):
        Microphone()
    portaudio(device("x", 2))
    with pytest.raises(UsageError, match="x has no channel 3: it has 2"):
        Microphone(channel=3)


def test_a_high_channel_opens_enough_channels(portaudio):
    portaudio(device("x", 32))
    assert Microphone(channel=5).n_channels == 5


@pytest.fixture
def quick(monkeypatch):
    """Let microphones notice a disconnected device at once."""
    monkeypatch.setattr(microphone, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(microphone, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(microphone, "FIRST_PAUSE_SECONDS", 0.02)


def new_buffer():
    return CaptureBuffer(
        hop_length=24_000, capacity_samples=480_000, wake=threading.Condition(), sample_rate=48_000
    )


@pytest.fixture
def started(portaudio, quick):
    """Return a microphone that listens, its buffer, and its PortAudio."""
    fake = portaudio(dict(USB))
    source, buffer = Microphone("usb"), new_buffer()
    source.start(buffer)
    yield source, buffer, fake
    if buffer.state != "ended":
        source.stop()


def test_blocks_are_copied_and_overflows_counted(started):
    _, buffer, fake = started
    fake.streams[0].deliver(2_400)
    fake.streams[0].deliver(2_400, overflow=True)
    chunk, gap, other = buffer.pop(24_000), buffer.pop(24_000), buffer.pop(24_000)
    assert chunk.block.shape == (2_400, 2)
    assert (chunk.block == 0.5).all()
    assert isinstance(gap, SampleGap)
    assert other.start == 2_400
    assert buffer.n_overflows == 1


@pytest.mark.parametrize("how", ["stops", "falls silent"])
def test_a_device_that_disconnects_is_opened_again_and_the_gap_has_its_length(started, how):
    _, buffer, fake = started
    fake.streams[0].deliver(2_400)
    gone_at = time.monotonic()
    fake.listed[0]["is_gone"] = True
    if how == "stops":
        fake.streams[0].active = False
    until(lambda: len(fake.streams) >= 3)  # two attempts failed
    fake.listed[0]["is_gone"] = False
    until(lambda: fake.streams[-1].active)
    fake.streams[-1].deliver(2_400)
    missing = round((time.monotonic() - gone_at) * 48_000)
    items = [buffer.pop(24_000) for _ in range(6)]
    assert [type(item) for item in items] == [
        AudioChunk,
        Disconnect,
        Problem,
        SampleGap,
        Problem,
        AudioChunk,
    ]
    assert items[2].text == "USB Audio: Mic: disconnected; trying to connect again"
    assert items[4].text == "USB Audio: Mic: connected again"
    assert items[5].start == 2_400 + items[3].n_samples
    assert abs(items[3].n_samples + 2_400 - missing) < 2_400
    assert fake.n_looked >= 3


def test_a_driver_that_fails_in_any_way_is_tried_again(started, monkeypatch):
    _, buffer, fake = started
    fake.streams[0].deliver(2_400)
    failures = [RuntimeError("driver"), OSError("driver")]
    find = microphone._find_device

    def fail_at_first(*given):
        if failures:
            raise failures.pop()
        return find(*given)

    monkeypatch.setattr(microphone, "_find_device", fail_at_first)
    del fake.streams[0].active
    until(lambda: len(fake.streams) == 2 and fake.streams[1].active)
    fake.streams[1].deliver(2_400)
    assert buffer.state == "listening"
    assert failures == []


def test_a_device_still_gone_at_the_end_leaves_its_gap(started):
    source, buffer, fake = started
    fake.streams[0].deliver(2_400)
    fake.listed[0]["is_gone"] = True
    fake.streams[0].active = False
    until(lambda: buffer.state == "lost")
    time.sleep(0.1)
    source.stop()
    items = [buffer.pop(24_000) for _ in range(4)]
    assert [type(item) for item in items] == [AudioChunk, Disconnect, Problem, SampleGap]
    assert 0.1 < items[3].n_samples / 48_000 < 1.0
    assert buffer.is_done


def test_devices_of_one_name_are_numbered_and_the_right_one_is_opened(portaudio):
    fake = portaudio(BUILT_IN, device("Mic (hw:1,0)", 1), device("Mic (hw:2,0)", 2))
    assert [d.name for d in devices()] == ["HDA Intel: ALC", "Mic", "Mic 2"]
    for wanted, index in (("1", 1), ("Mic", 1), ("2", 2), ("mic 2", 2)):
        source, buffer = Microphone(wanted), new_buffer()
        source.start(buffer)
        assert fake.streams[-1].about is fake.listed[index]
        source.stop()


def test_a_sound_server_that_starts_again_does_not_end_the_search(started):
    _, buffer, fake = started
    fake.streams[0].deliver(2_400)
    fake.is_starting = True
    fake.streams[0].active = False
    until(lambda: len(fake.streams) == 2 and fake.streams[1].active)
    fake.streams[1].deliver(2_400)
    assert buffer.state == "listening"
    assert fake.n_looked == 2


def test_a_stream_that_was_closed_delivers_nothing_more(started):
    """Samples delivered while it is being closed are counted as missing."""
    _, buffer, fake = started
    first = fake.streams[0]
    first.deliver(2_400)
    real_close = first.close

    def close():
        first.deliver(2_400)
        real_close()

    first.close = close
    until(lambda: len(fake.streams) == 2 and fake.streams[1].active)
    assert buffer.state == "lost"
    fake.streams[1].deliver(2_400)
    assert buffer.n_delivered == 4_800
    assert buffer.n_missing > 0.3 * 48_000 - 4_800


def test_a_microphone_that_disconnects_does_not_stop_another(portaudio, quick, monkeypatch):
    monkeypatch.setattr(microphone, "SILENT_SECONDS", 60.0)
    fake = portaudio(dict(USB), dict(BUILT_IN))
    sources = [Microphone("usb"), Microphone("hda")]
    buffers = [new_buffer() for _ in sources]
    for source, buffer in zip(sources, buffers, strict=True):
        source.start(buffer)
    usb, hda = fake.streams
    usb.active = False
    until(lambda: len(fake.streams) == 3 and fake.streams[2].active)
    assert hda.active  # PortAudio was not restarted, which would have ended it
    assert fake.n_looked == 0
    for listed in fake.listed:
        listed["is_gone"] = True
    fake.streams[2].active = hda.active = False
    until(lambda: fake.n_looked > 0)  # now that none delivers
    for source in sources:
        source.stop()


def test_a_stream_that_cannot_be_started_is_closed(portaudio, monkeypatch):
    fake = portaudio(USB)

    def refuse(stream):
        raise PortAudioError("Device unavailable", -9985)

    closed = []
    monkeypatch.setattr(Stream, "start", refuse)
    monkeypatch.setattr(Stream, "close", lambda stream: closed.append(stream))
    with pytest.raises(DeviceError, match="USB Audio: Mic: cannot be opened: Device unavailable"):
        Microphone().start(new_buffer())
    assert closed == fake.streams
