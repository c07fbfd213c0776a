"""Create stand-ins for the data of the reference recipes from the data folder.

    python -m benchmarks.quality.stand_ins OUT

writes a folder for each recipe: ``birdclef2022`` and ``birdclef2023`` (kinds of animals of ESC-50
as a competition's ``train_metadata.csv``, with secondary labels), ``urban-sounds`` (five
classes of ESC-50 in folders), ``freesound2018`` (ESC-10's originals as a ``train.csv``),
``drone-car-speech`` (three classes, everything at 8 kHz, in a table that names the
source of each clip) and ``audio-grammar`` (sounds in noise, whose signal-to-noise ratio is known).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

import sed
from benchmarks.quality.scenes import esc50_rows, shared_folder

EARLIER = (
    "cat",
    "cow",
    "dog",
    "frog",
    "pig",
    "sheep",
)  # trained on first; two of them return in ANIMALS
ANIMALS = (
    "cat", "chirping_birds", "crickets", "crow", "frog", "hen", "insects", "rooster",
)  # fmt: skip
CITY = ("siren", "car_horn", "glass_breaking", "engine", "chainsaw")
LOW_RATE = 8_000
VOICES = ("cat", "crow", "dog", "frog", "hen", "laughing", "rooster", "sheep", "siren")
N_SCENES, SNR_DB = 409, (-10.0, 20.0)
SCENE_RATE, SCENE_SECONDS, SCENE_RMS = 16_000, 5, 0.05


def birdclef(esc50: Path, labels: Sequence[str], out: Path) -> None:
    """Write recordings with a second animal, listed in `secondary_labels`, behind every third."""
    generator = np.random.default_rng(0)
    rows = [row for row in esc50_rows(esc50) if row["category"] in labels]
    table = []
    for i, row in enumerate(rows):
        samples = sed.read_recording(esc50 / "audio" / row["filename"], 32_000)
        behind: list[str] = []
        if i % 3 == 0:
            # From the same official fold, so that no clip is on both sides of a split.
            others = [r for r in rows if r["fold"] == row["fold"]]
            other = others[int(generator.integers(len(others)))]
            if other["category"] != row["category"]:
                behind = [other["category"]]
                quiet = sed.read_recording(esc50 / "audio" / other["filename"], 32_000)
                samples = samples + 0.2 * quiet[: len(samples)]
        name = f"{row['category']}/{Path(row['filename']).stem}.ogg"
        write(out / "train_audio" / name, samples, 32_000)
        table.append([row["category"], str(behind), f"recordist {row['src_file']}", name])
    columns = ["primary_label", "secondary_labels", "author", "filename"]
    write_table(out / "train_metadata.csv", columns, table)


def urban_sounds(esc50: Path, out: Path) -> None:
    """Write a folder per class."""
    for row in esc50_rows(esc50):
        if row["category"] in CITY:
            samples = sed.read_recording(esc50 / "audio" / row["filename"], 32_000)
            write(out / row["category"] / row["filename"], samples, 32_000)


def freesound(originals: Path, out: Path) -> None:
    """Write originals of any length into one folder, with a table beside it."""
    table = []
    for path in sorted(originals.rglob("*.ogg")):
        label = path.parent.name.split(" - ")[1].replace(" ", "_")
        name = f"{path.stem}.wav"
        samples = sed.read_recording(path, 44_100)
        write(out / "FSDKaggle2018.audio_train" / name, samples, 44_100)
        table.append([name, label, "1"])
    write_table(out / "train.csv", ["fname", "label", "manually_verified"], table)


def drone_car_speech(data: Path, out: Path) -> None:
    """Write drones, engines and spoken digits at one rate: bandwidth must not reveal the class."""
    table = []
    for path in sorted((data / "drone").rglob("*.ogg")):
        if "drone" in path.stem.lower():
            table.append([copied(path, out, "drone"), "drone", path.stem])
    for row in esc50_rows(data / "esc50"):
        if row["category"] == "engine":
            name = copied(data / "esc50" / "audio" / row["filename"], out, "engine")
            table.append([name, "engine", f"freesound {row['src_file']}"])
    for path in sorted((data / "speech").rglob("*.wav")):
        speaker = path.stem.split("_")[1]
        table.append([copied(path, out, "speech"), "speech", f"speaker {speaker}"])
    write_table(out / "index.csv", ["file", "label", "group"], table)


def audio_grammar(data: Path, out: Path) -> None:
    """Write sounds in noise at a random signal-to-noise ratio, which is the target.

    All scenes have the same length and the same level as a whole, so that neither says anything.
    The level of a sound is that of its loudest second.
    """
    generator = np.random.default_rng(0)
    rows = [row for row in esc50_rows(data / "esc50") if row["category"] in VOICES]
    chosen = generator.choice(len(rows), N_SCENES, replace=len(rows) < N_SCENES)
    n, table = SCENE_RATE * SCENE_SECONDS, []
    noise = np.fft.rfft(generator.standard_normal((N_SCENES, n)))
    noise[:, 1:] /= np.sqrt(np.arange(1, noise.shape[1]))  # pink
    noise[:, 0] = 0
    for i, background in zip(chosen, np.fft.irfft(noise, n), strict=True):
        row = rows[int(i)]
        sound = sed.read_recording(data / "esc50" / "audio" / row["filename"], SCENE_RATE)
        sound = np.resize(sound, n)
        seconds = np.square(sound.reshape(SCENE_SECONDS, -1)).mean(axis=1)
        snr = float(generator.uniform(*SNR_DB))
        gain = 10 ** (snr / 20) * background.std() / np.sqrt(seconds.max() + 1e-12)
        scene = gain * sound + background
        name = f"{len(table):03}.wav"
        write(out / name, SCENE_RMS * scene / scene.std(), SCENE_RATE)
        table.append([name, row["src_file"], f"{snr:.3f}"])
    write_table(out / "scenes.csv", ["filename", "group", "snr"], table)


def copied(path: Path, out: Path, label: str) -> str:
    """Write a recording at the low rate; return its name in the table."""
    name = f"{label}/{path.stem}.wav"
    write(out / name, sed.read_recording(path, LOW_RATE), LOW_RATE)
    return name


def write(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.clip(-1, 1), sample_rate)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def make(out: Path, data: Path) -> None:
    """Write all of them."""
    birdclef(data / "esc50", EARLIER, out / "birdclef2022")
    birdclef(data / "esc50", ANIMALS, out / "birdclef2023")
    urban_sounds(data / "esc50", out / "urban-sounds")
    freesound(data / "esc10_44k", out / "freesound2018")
    drone_car_speech(data, out / "drone-car-speech")
    audio_grammar(data, out / "audio-grammar")


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 2:
        raise SystemExit("which folder? python -m benchmarks.quality.stand_ins OUT")
    make(Path(os.path.abspath(sys.argv[1])), shared_folder() / "data")
