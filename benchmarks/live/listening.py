"""Run `sed listen` on repeated sound, and measure its process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import soundfile

from benchmarks.live.virtual_microphone import VirtualMicrophone

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "village.ogg"
SED = str(Path(sys.executable).with_name("sed-engine"))
HOP = 0.5


def write_example(path: Path, seconds: float) -> None:
    """Write the example repeatedly, until the file has a length in seconds."""
    samples, rate = soundfile.read(EXAMPLE, dtype="float32")
    missing = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1) as out:
        while missing > 0:
            out.write(samples[:missing])
            missing -= len(samples)


class listening:
    """Run `sed listen` on a virtual microphone for the length of a with block.

    With `view` it draws on a terminal of 100 × 30, otherwise it writes lines. Its last line is in
    `summary` afterwards.
    """

    def __init__(self, microphone: VirtualMicrophone, *options: object, view: bool = False) -> None:
        self._command = [SED, "listen", *map(str, options)]
        self._environment = microphone.environment | {
            "COLUMNS": "100",
            "LINES": "30",
            "TERM": "xterm",
        }
        self._view = view
        self.summary = ""

    def __enter__(self) -> listening:
        """Start the process, and wait until it reads from the microphone."""
        if self._view:
            self._terminal, out = os.openpty()
            threading.Thread(target=self._read_terminal, daemon=True).start()
        else:
            out = subprocess.DEVNULL
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=out, stderr=self._errors
        )
        self.pid = self._process.pid
        while "listening to" not in self._read():
            if self._process.poll() is not None:
                raise SystemExit(self._read())
            time.sleep(0.2)
        time.sleep(3.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)
        self.summary = self._read().strip().splitlines()[-1]
        self._errors.close()

    def _read_terminal(self) -> None:
        """Read what is drawn, as a terminal would."""
        with suppress(OSError):  # The other end was closed.
            while os.read(self._terminal, 1 << 16):
                pass

    def _read(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def n_files(pid: int) -> int:
    """Return the number of open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))
