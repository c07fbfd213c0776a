"""Sound devices, through PortAudio: finding them by name, and hearing what they give."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from sed.audio.decode import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from sed.errors import UsageError
from sed.models.devices import DeviceError
from sed.text import near, some
from sed.types import Floats
from streaming.live.capture import CaptureBuffer
from streaming.names import deduplicate

RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 256_000, 384_000)
BLOCK_SECONDS = 0.05  # short beside a hop, long beside what waking up costs
FEW_CHANNELS = 2  # a sound server offers 32, most of them copies or empty
LOOK_SECONDS = 0.25  # from one look at whether a device still delivers to the next
SILENT_SECONDS = 4.0  # one that delivers nothing for so long is gone; some need 2 to begin
CLOSE_SECONDS = 2.0  # a driver may take so long to let go of a device
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0  # between attempts to open one again
GONE = "the device was gone"


@dataclass(frozen=True)
class Device:
    """Something that can be heard."""

    index: int  # of PortAudio; changes when devices come and go
    name: str  # stays: without the numbers that the system gave it at this start
    host: str  # ALSA, Core Audio, …
    n_channels: int
    sample_rate: int  # its own
    is_default: bool
    rates: tuple[int, ...] = ()  # those of `RATES` that it takes, if that was asked for


def devices(*, with_rates: bool = False) -> list[Device]:
    """Return what can be heard.

    Raises
    ------
    DeviceError
        If PortAudio is missing.
    """
    portaudio = _portaudio()
    found = [
        _device(portaudio, index, about)
        for index, about in enumerate(portaudio.query_devices())
        if about["max_input_channels"] > 0
    ]
    names = deduplicate([device.name for device in found])
    found = [dataclasses.replace(d, name=name) for d, name in zip(found, names, strict=True)]
    return [_with_rates(portaudio, device) for device in found] if with_rates else found


def find_device(wanted: str | None = None) -> Device:
    """Return a device by its name, a part of it, or its index; the default one for None.

    Raises
    ------
    DeviceError
        If there is no such device, or none at all, or PortAudio is missing.
    UsageError
        If a part of a name belongs to several.
    """
    known = devices()
    if not known:
        missing = "" if wanted is None else f"there is no file {wanted!r}, and "
        raise DeviceError(
            f"{missing}there is no microphone. Plug one in, or start the sound server, and look "
            "for it with `sed devices`; or listen to a file, a URL or standard input (-)."
        )
    if wanted is None:
        return next((device for device in known if device.is_default), known[0])
    return _chosen(wanted, known)


def _chosen(wanted: str, known: list[Device]) -> Device:
    names = {device.index: device.name.casefold() for device in known}
    sought = _stable(wanted).casefold()
    matching = (
        [device for device in known if wanted == str(device.index)]
        or [device for device in known if names[device.index] == sought]
        or [device for device in known if sought in names[device.index]]
    )
    if not matching:
        raise DeviceError(
            f"there is no device or file {wanted!r}. {near(wanted, [d.name for d in known])} "
            "`sed devices` lists what can be heard."
        )
    found = list(dict.fromkeys(device.name for device in matching))
    if len(found) > 1:
        raise UsageError(f"{wanted!r} is part of several names: {some(found)}. Give more of one.")
    return next((device for device in matching if device.is_default), matching[0])


class Microphone:
    """A sound device: what it delivers goes into an intake until it is stopped.

    A device that stops delivering is told of, and opened again as soon as it can be; what was
    missed meanwhile is in the account.

    Parameters
    ----------
    wanted
        See `find_device`.
    channel
        Counted from 1, if only one will be heard.

    Raises
    ------
    DeviceError
        If it is not there, or takes none of the usual rates.
    UsageError
        If it has no such channel.
    """

    _delivering: ClassVar[set[Microphone]] = set()  # of this process, those that are not lost

    def __init__(self, wanted: str | None = None, *, channel: int | None = None) -> None:
        device = find_device(wanted)
        if channel is not None and channel > device.n_channels:
            raise UsageError(
                f"{device.name} has no channel {channel}: it has {device.n_channels}, counted "
                "from 1. Choose another with --channel."
            )
        self.name = device.name
        self.sample_rate, self.n_channels = _settings(_portaudio(), device, channel or 1)
        self._wanted = None if wanted is None else device.name  # its index may change
        self._stop = threading.Event()
        self._lost_at: float | None = None  # when the last sample before a gap was here
        self._stream: Any = None
        self._closing: threading.Thread | None = None

    def start(self, intake: CaptureBuffer) -> None:
        """Begin to deliver.

        Raises
        ------
        DeviceError
            If the device cannot be opened after all.
        """
        self._intake = intake
        self._open()
        self._thread = threading.Thread(target=self._watch, name=f"watch {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing any more; what was delivered stays in the intake."""
        self._stop.set()
        self._thread.join()
        self._close()
        if self._lost_at is not None:
            self._intake.found(self._n_missing(), GONE)
        self._intake.end()

    def _open(self) -> None:
        portaudio = _portaudio()
        index = find_device(self._wanted).index
        stream: Any = None

        def deliver(block: Floats, n_samples: int, times: Any, status: Any) -> None:
            """Take a block. PortAudio calls this in a thread that must not wait."""
            if stream is self._stream:  # else it was given up, and its time counted as missing
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
                f"{self.name}: cannot be opened: {_reason(error)}. Is another program using it?"
            ) from error
        Microphone._delivering.add(self)

    def _deliver(self, block: Floats, n_samples: int, has_overflowed: bool) -> None:
        self._delivered_at = time.monotonic()
        if self._lost_at is not None:
            self._intake.found(max(0, self._n_missing() - n_samples), GONE, f"{self.name}: is back")
            self._lost_at = None
        if has_overflowed:
            self._intake.overflowed()
        self._intake.push(block.copy())

    def _watch(self) -> None:
        """Look whether the device still delivers, and open it again when it does not."""
        while not self._stop.wait(LOOK_SECONDS):
            silent_seconds = time.monotonic() - self._delivered_at
            if not self._stream.active or silent_seconds > SILENT_SECONDS:
                self._reopen()

    def _reopen(self) -> None:
        self._close()
        if self._lost_at is None:  # else it was opened, and gone again before it said a word
            self._lost_at = self._delivered_at
            self._intake.lost(f"{self.name}: gone; trying to open it again")
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.wait(pause):
            try:
                self._look_again()
                self._open()
                return
            except (DeviceError, UsageError):
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _look_again(self) -> None:
        """Have PortAudio look for devices, which it does only when it starts.

        That would end all streams, so not while another one delivers, or is being closed.
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
        """Give the stream up; a driver whose device is gone may never come back from that."""
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
            "PortAudio is missing, so no microphone can be heard. On Debian: "
            "apt install libportaudio2. A file, a URL or standard input (-) can be heard without."
        ) from error
    except Exception as error:  # of its own kind, which cannot be named as long as it is not there
        raise DeviceError(f"PortAudio does not start: {error}. Does the sound server?") from error
    return sounddevice  # type: ignore[no-any-return]


def _device(portaudio: ModuleType, index: int, about: dict[str, Any]) -> Device:
    return Device(
        index=index,
        name=_stable(about["name"]),
        host=portaudio.query_hostapis(about["hostapi"])["name"],
        n_channels=about["max_input_channels"],
        sample_rate=round(about["default_samplerate"]),
        is_default=index == portaudio.default.device[0],
    )


def _with_rates(portaudio: ModuleType, device: Device) -> Device:
    n_channels = min(FEW_CHANNELS, device.n_channels)
    counts = dict.fromkeys((n_channels, device.n_channels))
    rates = [r for r in RATES if any(_takes(portaudio, device, r, n) for n in counts)]
    return dataclasses.replace(device, rates=tuple(rates))


def _stable(name: str) -> str:
    """Return a name without the numbers of card and device, which change between starts."""
    return re.sub(r"\s*\((?:plug)?hw:\d+,\d+\)$", "", name).rstrip(": ")


def _settings(portaudio: ModuleType, device: Device, n_least: int) -> tuple[int, int]:
    """Return a rate and a number of channels that a device takes, its own rate first.

    Raises
    ------
    DeviceError
        If it takes none.
    """
    few = max(n_least, min(FEW_CHANNELS, device.n_channels))
    counts = dict.fromkeys((few, device.n_channels, n_least))
    for rate in dict.fromkeys((device.sample_rate, 48_000, 44_100, *RATES)):
        for n_channels in counts if MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE else ():
            if _takes(portaudio, device, rate, n_channels):
                return rate, n_channels
    raise DeviceError(
        f"{device.name}: takes none of the usual rates. Is another program using it? Close that, "
        "or choose another device from `sed devices`."
    )


def _takes(portaudio: ModuleType, device: Device, rate: int, n_channels: int) -> bool:
    try:
        portaudio.check_input_settings(
            device=device.index, channels=n_channels, dtype="float32", samplerate=rate
        )
    except (portaudio.PortAudioError, ValueError):
        return False
    return True


def _reason(error: Exception) -> str:
    return " ".join(part for part in error.args if isinstance(part, str))
