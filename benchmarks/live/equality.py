"""Compare live events with those of the saved sound."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import soundfile

import sed
from benchmarks.live.listening import HOP, SED, listening, write_example
from benchmarks.live.virtual_microphone import VirtualMicrophone
from benchmarks.store import Results


def equality(minutes: float = 10.0) -> Results:
    """Play a recording into a microphone; compare live events with those of the saved sound."""
    with VirtualMicrophone() as microphone, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_example(folder / "played.wav", 60 * minutes)
        with listening(
            microphone, "--output", folder / "live.jsonl", "--save-audio", folder / "saved"
        ):
            microphone.play(folder / "played.wav")
            time.sleep(3.0)
        (saved,) = (folder / "saved").iterdir()
        offline = run("detect", saved, "--hop", HOP, "--lookahead", 1.0, "--format", "jsonl")
        live = sed.read_events(folder / "live.jsonl", "jsonl")
        gaps = (folder / "live.jsonl").read_text().count('"gap"')
        seconds = soundfile.info(str(saved)).duration
    rows = [json.loads(line) for line in offline.stdout.splitlines()]
    expected = [(e["onset"], e["offset"], e["label"], e["score"]) for e in rows]
    found = [(e.onset, e.offset, e.label, round(e.score, 4)) for e in live]
    return {
        "seconds": seconds,
        "live": len(found),
        "offline": len(expected),
        "same_to_the_frame": [f[:3] for f in found] == [e[:3] for e in expected],
        "largest_difference_of_score": max(
            (abs(f[3] - e[3]) for f, e in zip(found, expected, strict=False)), default=0.0
        ),
        "gaps": gaps,
    }


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run([SED, *map(str, arguments)], check=True, capture_output=True, text=True)
