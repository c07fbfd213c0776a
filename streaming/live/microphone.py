"""Find sound devices by name, and capture audio from them through PortAudio."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from sed.audio.decode import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from sed.errors import UsageError
from sed.models.devices import DeviceError
from sed.text import deduplicate, near, some
from sed.types import Floats
from streaming.live.capture import CaptureBuffer

RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 256_000, 384_000)
BLOCK_SECONDS = 0.1  # short compared with a hop, long compared with the cost of a wake-up
FEW_CHANNELS = 2  # a sound server offers 32, most of them copies or empty
CHECK_SECONDS = 0.25  # from one check that the device still delivers to the next
SILENT_SECONDS = 4.0  # without a block, after which a device is disconnected; some start after 2
CLOSE_SECONDS = 2.0  # that a driver may take to release a device
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 10.0  # between attempts to open a device again
DISCONNECTED = "the device was disconnected"


@dataclass(frozen=True)
class Device:
    """A sound device with inputs."""

    index: int  # of PortAudio; changes when devices are plugged in and out
    name: str  # stays the same: without the numbers that the system gave it at this start
    host: str  # ALSA, Core Audio, …
    n_channels: int
    sample_rate: int  # its own, in Hz
    is_default: bool
    rates: tuple[int, ...] = ()  # those of `RATES` that it supports, in Hz, if requested


def devices(*, with_rates: bool = False) -> list[Device]:
    """Return the sound devices that have inputs.

    Parameters
    ----------
    with_rates
        Also find out which sample rates each device supports; this opens the devices.

    Raises
    ------
    DeviceError
        If PortAudio is missing.
    """
    portaudio = _portaudio()
    found = [
        _device(portaudio, index, info)
        for index, info in enumerate(portaudio.query_devices())
        if info["max_input_channels"] > 0
    ]
    names = deduplicate([device.name for device in found])
    found = [dataclasses.replace(d, name=name) for d, name in zip(found, names, strict=True)]
    return [_with_rates(portaudio, device) for device in found] if with_rates else found


def _find_device(wanted: str | None = None) -> Device:
    """Return a device by its name, a part of its name, or its number; the default one for None.

    Raises
    ------
    DeviceError
        If there is no such device, or PortAudio is missing.
    UsageError
        If a part of a name belongs to several devices.
    """
    known = devices()
    if not known:
        missing = "" if wanted is None else f"there is no file {wanted!r}, and "
        raise DeviceError(
            f"{missing}there is no microphone. Plug one in, or start the sound server, and check "
            "with `sed devices`; or listen to a file, a URL or standard input (-)."
        )
    if wanted is None:
        return next((device for device in known if device.is_default), known[0])
    return _choose(wanted, known)


def _choose(wanted: str, known: list[Device]) -> Device:
    names = {device.index: device.name.casefold() for device in known}
    sought = _without_numbers(wanted).casefold()
    matching = (
        [device for device in known if wanted == str(device.index)]
        or [device for device in known if names[device.index] == sought]
        or [device for device in known if sought in names[device.index]]
    )
    if not matching:
        raise DeviceError(
            f"there is no device or file {wanted!r}. {near(wanted, [d.name for d in known])} "
            "`sed devices` lists the devices."
        )
    found = list(dict.fromkeys(device.name for device in matching))
    if len(found) > 1:
        raise UsageError(f"{wanted!r} is part of several names: {some(found)}. Give more of one.")
    return next((device for device in matching if device.is_default), matching[0])


class Microphone:
    """Delivers what a sound device captures, and opens the device again when it was disconnected.

    Parameters
    ----------
    wanted
        Name of the device, a part of it, or its number; the default one if not given.
    channel
        The channel that will be used, counted from 1; None for all of them.

    Raises
    ------
    DeviceError
        If there is no such device, or it supports none of the usual rates.
    UsageError
        If it has no such channel.
    """

    _delivering: ClassVar[set[Microphone]] = set()  # those of this process that are connected

    def __init__(self, wanted: str | None = None, *, channel: int | None = None) -> None:
        device = _find_device(wanted)
        if channel is not None and channel > device.n_channels:
            raise UsageError(
                f"{device.name} has no channel {channel}: it has {device.n_channels}, counted "
                "from 1. Choose another with --channel."
            )
        self.name = device.name
        self.sample_rate, self.n_channels = _supported_settings(_portaudio(), device, channel or 1)
        self._wanted = None if wanted is None else device.name  # its index may change
        self._stop = threading.Event()
        self._lost_at: float | None = None  # monotonic seconds of the last sample before a gap
        self._stream: Any = None
        self._closing: threading.Thread | None = None

    def start(self, buffer: CaptureBuffer) -> None:
        """Start to deliver.

        Raises
        ------
        DeviceError
            If the device cannot be opened.
        """
        self._buffer = buffer
        self._open()
        self._thread = threading.Thread(target=self._watch, name=f"watch {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and end the buffer; what was delivered stays in it."""
        self._stop.set()
        self._thread.join()
        self._close()
        if self._lost_at is not None:
            self._buffer.reconnected(self._n_missing(), DISCONNECTED)
        self._buffer.end()

    def _open(self) -> None:
        portaudio = _portaudio()
        index = _find_device(self._wanted).index
        stream: Any = None

        def deliver(block: Floats, n_samples: int, times: Any, status: Any) -> None:
            """Take a block; PortAudio calls this in a thread that must not block."""
            # The time of a stream that was closed is already counted as missing.
            if stream is self._stream:
                self._deliver(block, n_samples, status.input_overflow)

        try:
            stream = portaudio.InputStream(
                device=index,
                samplerate=self.sample_rate,
                channels=self.n_channels,
                dtype="float32",
                blocksize=round(BLOCK_SECONDS * self.sample_rate),
                latency="high",
                callback=deliver,
            )
            self._delivered_at = time.monotonic()
            self._stream = stream
            stream.start()
        except portaudio.PortAudioError as error:
            self._close()
            raise DeviceError(
                f"{self.name}: cannot be opened: {_reason(error)}. Close the program that uses "
                "it, if there is one."
            ) from error
        Microphone._delivering.add(self)

    def _deliver(self, block: Floats, n_samples: int, has_overflowed: bool) -> None:
        self._delivered_at = time.monotonic()
        if self._lost_at is not None:
            self._buffer.reconnected(
                max(0, self._n_missing() - n_samples), DISCONNECTED, f"{self.name}: connected again"
            )
            self._lost_at = None
        if has_overflowed:
            self._buffer.overflow()
        self._buffer.push(block.copy())

    def _watch(self) -> None:
        """Check that the device still delivers; open it again when it does not."""
        while not self._stop.wait(CHECK_SECONDS):
            if not self._is_delivering():
                self._reopen()

    def _is_delivering(self) -> bool:
        # A driver may fail in any way; the device is then opened again.
        with suppress(Exception):
            silent_seconds = time.monotonic() - self._delivered_at
            return bool(self._stream.active) and silent_seconds <= SILENT_SECONDS
        return False

    def _reopen(self) -> None:
        self._close()
        if (
            self._lost_at is None
        ):  # else it was opened, and disconnected again before the first block
            self._lost_at = self._delivered_at
            self._buffer.disconnected(f"{self.name}: disconnected; trying to connect again")
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.wait(pause):
            try:
                self._refresh_devices()
                self._open()
                return
            # PortAudio and its drivers may fail in any way while devices come and go.
            except Exception:
                self._close()
                pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _refresh_devices(self) -> None:
        """Restart PortAudio, as it looks for devices only when it starts.

        A restart ends all streams. So it is left out while another one delivers or is being closed.
        """
        is_closing = self._closing is not None and self._closing.is_alive()
        if not Microphone._delivering and not is_closing:
            portaudio = _portaudio()
            try:
                portaudio._terminate()
                portaudio._initialize()
            except portaudio.PortAudioError as error:
                raise DeviceError(f"{self.name}: {_reason(error)}") from error

    def _n_missing(self) -> int:
        assert self._lost_at is not None
        return round((time.monotonic() - self._lost_at) * self.sample_rate)

    def _close(self) -> None:
        """Close the stream in a thread: a driver whose device is unplugged may never return."""
        stream, self._stream = self._stream, None
        Microphone._delivering.discard(self)
        if stream is not None:
            self._closing = threading.Thread(target=stream.close, name="close", daemon=True)
            self._closing.start()
            self._closing.join(timeout=CLOSE_SECONDS)


def _portaudio() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:
        raise DeviceError(
            "PortAudio is missing; microphones need it. On Debian: apt install libportaudio2. "
            "Files, URLs and standard input (-) work without it."
        ) from error
    except Exception as error:  # PortAudioError, a class of the module that was not imported
        raise DeviceError(
            f"PortAudio does not start: {error}. Check that the sound server runs."
        ) from error
    return sounddevice  # type: ignore[no-any-return]


def _device(portaudio: ModuleType, index: int, info: dict[str, Any]) -> Device:
    return Device(
        index=index,
        name=_without_numbers(info["name"]),
        host=portaudio.query_hostapis(info["hostapi"])["name"],
        n_channels=info["max_input_channels"],
        sample_rate=round(info["default_samplerate"]),
        is_default=index == portaudio.default.device[0],
    )


def _with_rates(portaudio: ModuleType, device: Device) -> Device:
    n_channels = min(FEW_CHANNELS, device.n_channels)
    counts = dict.fromkeys((n_channels, device.n_channels))
    rates = [r for r in RATES if any(_supports(portaudio, device, r, n) for n in counts)]
    return dataclasses.replace(device, rates=tuple(rates))


def _without_numbers(name: str) -> str:
    """Return a name without the numbers of card and device, which change between starts."""
    return re.sub(r"\s*\((?:plug)?hw:\d+,\d+\)$", "", name).rstrip(": ")


def _supported_settings(
    portaudio: ModuleType, device: Device, min_channels: int
) -> tuple[int, int]:
    """Return a rate and a number of channels that a device supports, preferably its own rate."""
    few = max(min_channels, min(FEW_CHANNELS, device.n_channels))
    counts = dict.fromkeys((few, device.n_channels, min_channels))
    for rate in dict.fromkeys((device.sample_rate, 48_000, 44_100, *RATES)):
        for n_channels in counts if MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE else ():
            if _supports(portaudio, device, rate, n_channels):
                return rate, n_channels
    raise DeviceError(
        f"{device.name}: supports none of the usual sample rates. Close the program that uses it, "
        "if there is one, or choose another device from `sed devices`."
    )


def _supports(portaudio: ModuleType, device: Device, rate: int, n_channels: int) -> bool:
    try:
        portaudio.check_input_settings(
            device=device.index, channels=n_channels, dtype="float32", samplerate=rate
        )
    except (portaudio.PortAudioError, ValueError):
        return False
    return True


def _reason(error: Exception) -> str:
    return " ".join(part for part in error.args if isinstance(part, str))
