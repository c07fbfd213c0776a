"""What training reached: writes docs/results.md from the figures in docs/results/.

    python -m benchmarks.quality.results

Each file there is written by the script that its section names, on the machine that it tells of;
what is missing is told as not measured. The figures of the recipes go to their pages as well.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

from sed.models.metadata import library_versions

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "results"
BEGIN, END = "<!-- result: written by benchmarks/quality/results.py -->", "<!-- end of result -->"
NOT_MEASURED = "Not measured."

Figures = Mapping[str, Any]


def machine() -> str:
    """Return what it was measured on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ] if Path("/proc/cpuinfo").exists() else [platform.processor()]  # fmt: skip
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    versions = ", ".join(f"{k} {v}" for k, v in library_versions().items())
    return f"{date.today()}, {os.cpu_count()} cores of {names[0]}, GPU: {gpu}; {versions}."


def read(name: str) -> Figures | None:
    """Return the figures that a script wrote, if it was run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def save(name: str, figures: Figures) -> None:
    """Write figures for this page."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine()} | dict(figures), indent=1) + "\n", "utf-8")


def esc50(figures: Figures | None) -> str:
    """Return the table of the five folds."""
    if figures is None:
        return NOT_MEASURED
    lines = [
        figures["machine"],
        "",
        "```",
        "sed train --fold all --recipe esc50 --data ESC-50/ \\",
        "    --initial mobilenetv1_100.audioset_yamnet.safetensors \\",
        "    --set learning.distil=teacher_mn04.npz",
        "```",
        "",
        "| official fold held out | best epoch | accuracy | 4 passes | last epoch: accuracy | "
        "4 passes | cmAP (5) | seconds per epoch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in [*figures["folds"], figures["mean"] | {"name": "**mean**", "epoch": ""}]:
        cells = " | ".join(f"{row[key]:.4f}" for key in ("accuracy", "tta", "last", "last_tta"))
        lines.append(
            f"| {row['name']} | {row['epoch']} | {cells} | {row['cmap5']:.4f} | "
            f"{row['seconds_per_epoch']:.0f} |"
        )
    lines += [
        "",
        "The best epoch is chosen by the fold that it is judged on, as is usual for ESC-50; the "
        "last epoch is chosen by nothing. The recipe was settled while looking at folds 1 to 3. "
        "Four passes: the mean over four turns of each clip "
        "(`sed evaluate --tta 4`). The seconds are of a machine that did other things beside it.",
    ]
    return "\n".join(lines)


def ablation(figures: Figures | None) -> str:
    """Return what mixing of recordings brings."""
    if figures is None:
        return NOT_MEASURED
    lines = [
        figures["machine"],
        "",
        f"{figures['n_scenes']} windows of two and of three clips of official fold 1 at once; "
        f"{figures['epochs']} epochs on folds 2 to 5, everything else equal.",
        "",
        "| training | mAP, two at once | three at once | all found, two | three | "
        "accuracy on single clips |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in figures["models"].items():
        two, three = row["2"], row["3"]
        lines.append(
            f"| {name} | {two['map']:.3f} | {three['map']:.3f} | {two['found']:.1%} | "
            f"{three['found']:.1%} | {row['1']['accuracy']:.4f} |"
        )
    lines += ["", "Found: the labels of a window that are among its as many highest classes."]
    return "\n".join(lines)


def training(figures: Figures | None) -> str:
    """Return how long training waits."""
    if figures is None:
        return NOT_MEASURED
    middle = figures["median"]
    return "\n".join(
        [
            figures["machine"],
            "",
            "| clips per second | a plain loop over tensors in memory | ratio | waiting for data |",
            "|---|---|---|---|",
            f"| {middle['clips_per_second']:.1f} | {middle['plain_clips_per_second']:.1f} | "
            f"{middle['ratio']:.2f} | {middle['waiting']:.1%} |",
            "",
            "Medians of three rounds in turn, with prepared clips and the default recipe; a plain "
            "loop has no augmentation, no validation and no bookkeeping.",
        ]
    )


def recipe(figures: Figures) -> str:
    """Return what a recipe reached on its stand-in."""
    names = ("accuracy", "cmap5", "cmap3", "map", "map3", "auc")
    heads = ("accuracy", "cmAP (5)", "cmAP (3)", "mAP", "MAP@3", "macro AUC")
    lines = [figures["machine"], "", "```", *figures["commands"], "```", ""]
    lines.append("| result of | clips judged | " + " | ".join(heads) + " |")
    lines.append("|---" * (len(names) + 2) + "|")
    for result in figures["results"]:
        cells = " | ".join(f"{result['figures'][name]:.3f}" for name in names)
        lines.append(f"| {result['name']} | {result['n_clips']} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    recipes = {path.stem: read(f"recipe-{path.stem}") for path in (DOCS / "recipes").glob("*.md")}
    gpu = read("gpu")
    parts = [
        "# OutputConfig of training",
        "Written by `benchmarks/quality/results.py` from what the scripts below measured; do not edit.",
        "## ESC-50, five official folds (`benchmarks/quality/esc50_folds.py`)",
        esc50(read("esc50")),
        "## What mixing recordings brings (`benchmarks/quality/ablation.py`)",
        ablation(read("ablation")),
        "## Waiting for data (`benchmarks/quality/training.py`)",
        training(read("training")),
        "## On a GPU (`benchmarks/quality/training.py`, where there is one)",
        NOT_MEASURED if gpu is None else training(gpu),
        "## The reference recipes (`benchmarks/quality/recipes.py`)",
    ]
    for name, figures in sorted(recipes.items()):
        text = NOT_MEASURED if figures is None else recipe(figures)
        parts.append(f"### [{name}](recipes/{name}.md)\n\n{text}")
        page = DOCS / "recipes" / f"{name}.md"
        before, rest = page.read_text("utf-8").split(BEGIN)
        after = rest.split(END)[1]
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")
    (DOCS / "results.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    print(f"written: {DOCS / 'results.md'}")


if __name__ == "__main__":
    main()
