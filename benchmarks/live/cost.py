"""Measure the share of a core that `sed listen` takes."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import sed
from benchmarks.live.listening import cpu_seconds, listening, write_example
from benchmarks.live.virtual_microphone import VirtualMicrophone
from benchmarks.store import Results


def cost(seconds: float = 60.0) -> Results:
    """Measure the share of a core that `sed listen` takes once it runs."""
    shares: Results = {}
    with VirtualMicrophone() as microphone, tempfile.TemporaryDirectory() as name:
        played = Path(name) / "played.wav"
        write_example(played, 4 * seconds)
        three = Path(name) / "three.safetensors"
        checkpoint = sed.load_model()
        checkpoint.window_seconds = 3.0
        sed.save_checkpoint(checkpoint, three)
        commands = {
            "microphone, hop 0.5 s, lines": (),
            "microphone, hop 0.5 s, view of 100 × 30": ("view",),
            "microphone, hop 0.5 s, page, database and clips": (
                *("--web", "127.0.0.1:0", "--db", Path(name) / "e.sqlite"),
                *("--clips", Path(name) / "clips"),
            ),
            "microphone, hop 2.5 s, lines": ("--hop", 2.5),
            "microphone, the same network in windows of 3 s without overlap, lines": (
                *("--model", three, "--hop", 3, "--lookahead", 0),
            ),
        }
        for name_of_run, options in commands.items():
            player = subprocess.Popen(["paplay", "-d", "room", played], env=microphone.environment)
            view = options == ("view",)
            with listening(microphone, *(() if view else options), view=view) as process:
                time.sleep(5.0)  # until the first windows are processed
                before, at = cpu_seconds(process.pid), time.monotonic()
                time.sleep(seconds)
                used = cpu_seconds(process.pid) - before
                shares[name_of_run] = used / (time.monotonic() - at)
            player.terminate()
            player.wait()
    return {"seconds": seconds, "shares": shares}
