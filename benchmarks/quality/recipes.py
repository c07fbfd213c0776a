"""Run each reference recipe on its stand-in data, from preparation to prediction.

    python -m benchmarks.quality.recipes [RECIPE ...]

Creates the stand-ins (`stand_ins.py`) in runs/stand-ins, prepares them, trains, and saves
docs/results/recipe-NAME.json with the commands and their results. Backbones that are too large for
two cores are replaced by `tf_efficientnet_lite0` with the weights in the data folder, as the
commands show. Needs the data folder and its weights.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality import scenes, stand_ins
from benchmarks.store import save
from train.evaluate.evaluate import evaluate

DATA = Path("runs") / "stand-ins"
RUNS = Path("runs") / "recipes"
IMAGENET = "tf_efficientnet_lite0.in1k.safetensors"
SMALL = ("--set", "model.backbone=tf_efficientnet_lite0", "--init-weights", IMAGENET)
FEW_CORES = ("--set", "optim.n_workers=1", "--set", "optim.batch_size=16")

Command = list[str]


def birdclef2023() -> tuple[list[Command], list[dict[str, Any]]]:
    """Pretrain on six kinds of animals, fine-tune on eight: the 562 to 264 of the original."""
    tables = {year: RUNS / f"birdclef{year}-prepared" / "index.csv" for year in (2022, 2023)}
    first, run = RUNS / "birdclef2022", RUNS / "birdclef2023"
    recipe = ("train", "--recipe", "birdclef2023", "--fold", "0", "--resume", *FEW_CORES)
    commands = [
        *(
            sed("prepare", DATA / f"birdclef{year}" / "train_metadata.csv", table.parent,
                "--max-seconds", "30", "--sample-rate", "32000")
            for year, table in tables.items()
        ),
        sed(*recipe, "--data", tables[2022], "--epochs", "5", "--output", first, *SMALL),
        sed(*recipe, "--data", tables[2023], "--epochs", "8", "--output", run, SMALL[0], SMALL[1],
            "--init-weights", first / "best.safetensors"),
        sed("predict", run, DATA / "birdclef2023" / "train_audio" / "crow", "--submission",
            "birdclef", "--output", RUNS / "birdclef2023.csv"),
    ]  # fmt: skip
    run_all(commands)
    return commands, [
        evaluate_run("six kinds, fold 0 held out", [first], tables[2022], "0"),
        evaluate_run("fine-tuned on eight, fold 0 held out", [run], tables[2023], "0"),
    ]


def urban_sounds() -> tuple[list[Command], list[dict[str, Any]]]:
    """Train on five classes, and evaluate with twelve passes."""
    source, prepared = DATA / "urban-sounds", RUNS / "urban-sounds-prepared"
    run = RUNS / "urban-sounds"
    submission = RUNS / "urban-sounds.csv"
    commands = [
        sed("prepare", source, prepared, "--sample-rate", "32000"),
        sed("train", "--recipe", "urban-sounds", "--data", prepared / "index.csv", "--fold", "0",
            "--epochs", "5", "--output", run, "--resume", *SMALL, *FEW_CORES),
        sed("predict", run, source / "siren", "--submission", "urban", "--tta", "12", "--output",
            submission),
    ]  # fmt: skip
    run_all(commands)
    return commands, [
        evaluate_run("fold 0 held out", [run], prepared / "index.csv", "0"),
        evaluate_run("the same, 12 passes", [run], prepared / "index.csv", "0", tta=12),
    ]


def freesound2018() -> tuple[list[Command], list[dict[str, Any]]]:
    """Train on two folds and their second stage, and take the geometric mean."""
    source, prepared = DATA / "freesound2018", RUNS / "freesound2018-prepared"
    runs = [RUNS / f"freesound2018-fold{k}" for k in (0, 1)]
    second = RUNS / "freesound2018-second"
    resnet = ("--set", "model.backbone=resnet18", "--init-weights", "none")
    commands = [
        sed("prepare", source, prepared, "--sample-rate", "44100", "--trim-db", "40"),
        *(
            sed("train", "--recipe", "freesound2018", "--data", prepared / "index.csv", "--fold",
                str(k), "--epochs", "40", "--output", run, "--resume", *resnet, *FEW_CORES)
            for k, run in enumerate(runs)
        ),
        sed("train", "--recipe", "freesound2018-second", "--data", prepared / "index.csv",
            "--fold", "0", "--init-weights", runs[0] / "best.safetensors", "--output", second,
            "--resume", "--set", "model.backbone=resnet18", *FEW_CORES),
        sed("predict", *runs, second, source / "FSDKaggle2018.audio_train", "--submission",
            "freesound", "--tta", "3", "--blend", "geometric", "--output",
            RUNS / "freesound2018.csv"),
    ]  # fmt: skip
    run_all(commands)
    return commands, [
        evaluate_run(f"fold {k} held out", [run], prepared / "index.csv", str(k), tta=3)
        for k, run in enumerate(runs)
    ]


def drone_car_speech() -> tuple[list[Command], list[dict[str, Any]]]:
    """Train on pieces of 2 s, after overfitting one batch, and evaluate on the test table."""
    source, prepared = DATA / "drone-car-speech", RUNS / "drone-car-speech-prepared"
    run, small = RUNS / "drone-car-speech", RUNS / "drone-car-speech-small"
    table = prepared / "index.csv"
    commands = [
        sed("prepare", source / "index.csv", prepared, "--sample-rate", "8000",
            "--segment-seconds", "2", "--split", "0.6,0.2,0.2"),
        sed("train", "--recipe", "drone-car-speech", "--data", table, "--overfit-batch"),
        sed("train", "--recipe", "drone-car-speech", "--data", table, "--output", run, "--resume"),
        sed("train", "--recipe", "drone-car-speech-small", "--data", table, "--output", small,
            "--resume"),
        sed("evaluate", run, "--data", table, "--fold", "test", "--output",
            RUNS / "drone-car-speech-test"),
    ]  # fmt: skip
    run_all(commands)
    return commands, [
        evaluate_run(f"{name}, {table_name}", [checkpoint], table, fold)
        for name, checkpoint in (("drone-car-speech", run), ("drone-car-speech-small", small))
        for table_name, fold in (("validation table", "0"), ("test table", "test"))
    ]


def audio_grammar() -> tuple[list[Command], list[dict[str, Any]]]:
    """Fit trees to a number twice, and predict it."""
    source = DATA / "audio-grammar"
    models = [RUNS / f"audio-grammar{suffix}.json" for suffix in ("", "-again")]
    fit = ("fit", source / "scenes.csv", "--target", "snr", "--task", "regress", "--head", "trees",
           "--search", "20", "--layer", "backbone.blocks.2", "-o")  # fmt: skip
    commands = [
        *(sed(*fit, model) for model in models),
        sed("predict", models[0], source, "--output", RUNS / "audio-grammar.csv"),
    ]
    run_all(commands)
    metrics = [json.loads(model.read_text("utf-8"))["metrics"] for model in models]
    names = "three tenths of the sources held out", "the same command again"
    return commands, [
        {"name": name, "n_clips": figures["n_held_out"], "metrics": figures}
        for name, figures in zip(names, metrics, strict=True)
    ]


def sed(*arguments: str | Path) -> Command:
    return ["sed", *map(str, arguments)]


def run_all(commands: Sequence[Command]) -> None:
    """Run commands; stop at the first that fails."""
    weights = scenes.shared_folder() / "weights" / IMAGENET
    for command in commands:
        print(shlex.join(command), flush=True)
        real = [str(weights) if part == IMAGENET else part for part in command[1:]]
        subprocess.run([sys.executable, "-m", "sed", *real], check=True)


def evaluate_run(
    name: str, runs: list[Path], table: Path, fold: str, tta: int = 1
) -> dict[str, Any]:
    """Return the metrics of a model on a fold."""
    result = evaluate(runs, table, fold=fold, tta=tta)
    n_clips = len(result.predictions.targets)
    return {"name": name, "n_clips": n_clips, "metrics": dict(result.metrics)}


RECIPES = {
    "birdclef2023": birdclef2023,
    "urban-sounds": urban_sounds,
    "freesound2018": freesound2018,
    "drone-car-speech": drone_car_speech,
    "audio-grammar": audio_grammar,
}

if __name__ == "__main__":
    if not DATA.is_dir():
        stand_ins.make(DATA, scenes.shared_folder() / "data")
    for name in sys.argv[1:] or RECIPES:
        commands, results = RECIPES[name]()
        save(f"recipe-{name}", {"commands": [shlex.join(c) for c in commands], "results": results})
    print("now: python -m benchmarks.pages")
