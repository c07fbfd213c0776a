"""Write the page docs/results.md from the results of training in docs/results/.

Each result was saved by the script that its section names, on the machine that it names.
"""

from __future__ import annotations

from benchmarks.store import DOCS, NOT_MEASURED, Results, read

METRICS = {
    "accuracy": "accuracy",
    "padded_cmap_5": "cmAP (5)",
    "padded_cmap_3": "cmAP (3)",
    "map": "mAP",
    "map_at_3": "MAP@3",
    "auc": "macro AUC",
}
NUMBERS = {
    "rmse": "RMSE",
    "rmse_of_mean": "RMSE of the mean",
    "mae": "MAE",
    "r2": "R²",
    "spearman": "Spearman",
}


def esc50(results: Results | None) -> str:
    """Return the table of the five folds."""
    if results is None:
        return NOT_MEASURED
    lines = [
        results["machine"],
        "",
        "```text",
        "sed train --fold all --recipe esc50 --data ESC-50/ \\",
        "    --init-weights mobilenetv1_100.audioset_yamnet.safetensors \\",
        "    --set loss.distill_embeddings=teacher_mn04.npz",
        "```",
        "",
        "| official fold held out | best epoch | accuracy | 4 passes | last epoch: accuracy | "
        "4 passes | cmAP (5) | seconds per epoch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in [*results["folds"], results["mean"] | {"name": "**mean**", "epoch": ""}]:
        cells = " | ".join(f"{row[key]:.4f}" for key in ("accuracy", "tta", "last", "last_tta"))
        lines.append(
            f"| {row['name']} | {row['epoch']} | {cells} | {row['padded_cmap_5']:.4f} | "
            f"{row['seconds_per_epoch']:.0f} |"
        )
    lines += [
        "",
        "The best epoch is chosen on the fold that it is evaluated on, as is usual for ESC-50; the "
        "last epoch involves no choice. The recipe was tuned on folds 1 to 3. Four passes: the "
        "mean over four rotations of each clip in time (`sed evaluate --tta 4`). The seconds were "
        "measured on a machine that was also used for other work.",
    ]
    return "\n".join(lines)


def ablation(results: Results | None) -> str:
    """Return the table of training with and without mixing."""
    if results is None:
        return NOT_MEASURED
    lines = [
        results["machine"],
        "",
        f"{results['n_scenes']} windows of two and of three clips of official fold 1 at once; "
        f"{results['epochs']} epochs on folds 2 to 5, everything else equal.",
        "",
        "| training | mAP, two at once | three at once | all found, two | three | "
        "accuracy on single clips |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results["models"].items():
        two, three = row["2"], row["3"]
        lines.append(
            f"| {name} | {two['map']:.3f} | {three['map']:.3f} | {two['found']:.1%} | "
            f"{three['found']:.1%} | {row['1']['accuracy']:.4f} |"
        )
    lines += [
        "",
        "All found: the labels of a window with k labels that are among its k highest classes.",
    ]
    return "\n".join(lines)


def training(results: Results | None) -> str:
    """Return the table of throughput and waiting for data."""
    if results is None:
        return NOT_MEASURED
    middle = results["median"]
    return "\n".join(
        [
            results["machine"],
            "",
            "| clips per second | a plain loop over tensors in memory | ratio | waiting for data |",
            "|---|---|---|---|",
            f"| {middle['clips_per_second']:.1f} | {middle['plain_clips_per_second']:.1f} | "
            f"{middle['ratio']:.2f} | {middle['data_wait_fraction']:.1%} |",
            "",
            "Medians of three alternating rounds, with prepared clips and the default recipe; the "
            "plain loop has no augmentation, no validation and no bookkeeping.",
        ]
    )


def few_shot(results: Results | None) -> str:
    """Return the tables of few-shot classes."""
    if results is None:
        return NOT_MEASURED
    lines = [
        results["machine"],
        "",
        f"{results['classes']} classes of ESC-50 are removed from training; the shipped recipe is "
        "trained on the other 30. Each is then fitted from examples of folds 2 to 5 against "
        f"{results['n_background']} clips of the 30 classes as background, and has to be found "
        "among all 400 clips of fold 1: 8 of it, 392 of the other 49 classes. Median over the "
        "classes of the average precision; in brackets the interval that 90 % of "
        f"{results['draws']} draws of examples lie in.",
        "",
        "| examples | " + " | ".join(f"`--head {kind}`" for kind in results["heads"]) + " |",
        "|---" * (len(results["heads"]) + 1) + "|",
    ]
    for rows in zip(*results["heads"].values(), strict=True):
        cells = " | ".join(f"{r['median']:.3f} ({r['low']:.3f} to {r['high']:.3f})" for r in rows)
        lines.append(f"| {rows[0]['n']} | {cells} |")
    hardest = sorted(results["per_class"].items(), key=lambda item: item[1])[:5]
    lines += [
        "",
        "`--head auto` stays with linear unless another head is better by 0.02 in "
        "cross-validation. The hardest classes from ten examples: "
        f"{', '.join(f'{name} {value:.2f}' for name, value in hardest)}. The head and its "
        "constants were chosen on the same classes, with fold 2 in the place of fold 1. For "
        f"{len(results['checked'])} classes the saved checkpoint was run on the files: its average "
        "precision is the same.",
    ]
    return "\n".join(lines)


def recipe(results: Results) -> str:
    """Return the commands and results of a recipe on its stand-in data."""
    lines = [results["machine"], "", "```text", *results["commands"], "```", ""]
    names = NUMBERS if "rmse" in results["results"][0]["metrics"] else METRICS
    lines.append("| result of | clips | " + " | ".join(names.values()) + " |")
    lines.append("|---" * (len(names) + 2) + "|")
    for result in results["results"]:
        cells = " | ".join(f"{result['metrics'][name]:.3f}" for name in names)
        lines.append(f"| {result['name']} | {result['n_clips']} | {cells} |")
    return "\n".join(lines)


def recipes() -> dict[str, str]:
    """Return the results of each recipe that was run, by name."""
    names = sorted(path.stem for path in (DOCS / "recipes").glob("*.md"))
    saved = {name: read(f"recipe-{name}") for name in names}
    return {name: recipe(found) if found else NOT_MEASURED for name, found in saved.items()}


def report() -> str:
    """Return the page."""
    parts = [
        "# What did training reach?",
        "Written by `benchmarks/pages.py` from `docs/results/`; do not edit.",
        "## ESC-50, five official folds",
        "`python -m benchmarks.quality.esc50_folds`",
        esc50(read("esc50")),
        "## What mixing recordings gains",
        "`python -m benchmarks.quality.ablation`",
        ablation(read("ablation")),
        "## A class from a few examples",
        "`python -m benchmarks.quality.few_shot`",
        few_shot(read("few-shot")),
        "## Waiting for data",
        "`python -m benchmarks.quality.training`",
        training(read("training")),
        "## On a GPU",
        "`python -m benchmarks.quality.training`, where there is one",
        training(read("gpu")),
        "## The reference recipes",
        "`python -m benchmarks.quality.recipes`",
    ]
    for name, text in recipes().items():
        parts.append(f"### {name}\n\n[What the recipe does](recipes/{name}.md)\n\n{text}")
    return "\n\n".join(parts) + "\n"
