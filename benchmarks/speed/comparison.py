"""Measure `sed detect` and its rivals alternating, on the same recording."""

from __future__ import annotations

from benchmarks.speed import rivals as rival_programs
from benchmarks.speed.command import detect, median
from benchmarks.speed.recordings import Setup
from benchmarks.store import Results


def rivals(setup: Setup) -> Results:
    """Measure `sed detect` and the others alternating, on the same recording."""
    path = setup.recording("ogg", 32)
    found: list[Results] = []
    own = [detect(path, "--hop", "5")]
    for name in rival_programs.RIVALS:
        is_birdnet = name == "birdnet"
        try:
            rival = rival_programs.measure(
                name,
                path,
                python=setup.birdnet_python if is_birdnet else None,
                model=setup.birdnet_model if is_birdnet else None,
            )
        except rival_programs.NotMeasuredError as error:
            found.append({"name": name, "not_measured": str(error)})
            continue
        speed = rival.audio_seconds / rival.wall_seconds
        found.append({"name": name, "speed": speed} | rival._asdict())
        own.append(detect(path, "--hop", "5"))
    middle = median(own)
    for row in found:
        if "speed" in row:
            row["speedup"] = middle.speed / row["speed"]
    return {"sed_detect": middle._asdict(), "rows": found}
