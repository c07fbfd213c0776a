"""Create a microphone without hardware: a sound server with a virtual source.

The server is separate from that of the desktop. Needs PulseAudio with its ALSA plugin, and
PortAudio; on Debian: pulseaudio pulseaudio-utils libasound2-plugins libportaudio2.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType


def what_is_missing() -> str:
    """Return the packages that a virtual microphone needs and that are missing here."""
    programs = [name for name in ("pulseaudio", "pactl", "paplay") if not shutil.which(name)]
    library = [] if ctypes.util.find_library("portaudio") else ["libportaudio2"]
    plugins = Path("/usr/share/alsa/alsa.conf.d/pulse.conf")
    return ", ".join(programs + library + ([] if plugins.exists() else ["libasound2-plugins"]))


class VirtualMicrophone:
    """A sound server with one source; programs with `environment` connect to it.

    Parameters
    ----------
    rate, n_channels
        Samples per second and channels of the source.
    """

    def __init__(self, rate: int = 48_000, n_channels: int = 2) -> None:
        self._rate, self._n_channels = rate, n_channels

    def __enter__(self) -> VirtualMicrophone:
        self._folder = tempfile.TemporaryDirectory(prefix="microphone")
        self.environment = os.environ | {
            "XDG_RUNTIME_DIR": self._folder.name,
            "XDG_CONFIG_HOME": self._folder.name,
            "HOME": self._folder.name,
        }
        self._server = subprocess.Popen(
            ["pulseaudio", "-n", "--exit-idle-time=-1", "--load=module-native-protocol-unix"],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10.0
        while self._control("info", check=False).returncode:
            if time.monotonic() > deadline:
                raise SystemExit("the sound server did not start within 10 s")
            time.sleep(0.05)
        self.plug()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.terminate()
        self._server.wait(timeout=10)
        self._folder.cleanup()

    def plug(self) -> None:
        """Add the source."""
        loaded = self._control(
            "load-module",
            "module-null-sink",
            "sink_name=room",
            f"rate={self._rate}",
            f"channels={self._n_channels}",
        )
        self._module = loaded.stdout.strip()
        self._control("set-default-sink", "room")
        self._control("set-default-source", "room.monitor")

    def unplug(self) -> None:
        """Remove the source."""
        self._control("unload-module", self._module)

    def play(self, path: Path) -> None:
        """Play a file into the source; return when it is over."""
        subprocess.run(["paplay", "-d", "room", path], env=self.environment, check=True)

    def _control(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *arguments],
            env=self.environment,
            check=check,
            capture_output=True,
            text=True,
        )
