"""Train and evaluate a model on each of ESC-50's five official folds.

    python -m benchmarks.quality.esc50_folds [--output runs/esc50-all]

runs

    sed train --fold all --recipe esc50 --data ESC50 --init-weights YAMNET \
        --set loss.distill_embeddings=TEACHER

(resuming an earlier run), evaluates the best and the last checkpoint of each with four passes over
the fold held out, and saves docs/results/esc50.json. Needs the data folder and its weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from benchmarks.quality import scenes
from benchmarks.store import save
from train.evaluate.evaluate import evaluate
from train.run.crossval import train_all_folds
from train.run.train import TrainCallbacks

PASSES = 4


def main(out: Path) -> None:
    shared = scenes.shared_folder()
    data = shared / "data" / "esc50"
    callbacks = TrainCallbacks(
        on_epoch=lambda row: print(f"epoch {row['epoch']:.0f}: accuracy {row['accuracy']:.4f}")
    )
    results = train_all_folds(
        data,
        recipe="esc50",
        output=out,
        init_weights=str(shared / "weights" / "mobilenetv1_100.audioset_yamnet.safetensors"),
        overrides=[f"loss.distill_embeddings={data / 'teacher_mn04.npz'}"],
        resume=True,
        callbacks=callbacks,
        on_fold=lambda number, n_folds: print(f"fold {number} of {n_folds}"),
    )
    rows = []
    for row in results.folds.to_dict("records"):
        run = out / f"fold{row['fold']}"
        passes = {
            name: evaluate([run / f"{name}.safetensors"], data, fold=row["fold"], tta=PASSES)
            for name in ("best", "last")
        }
        rows.append(
            row
            | {
                "name": int(row["fold"]) + 1,
                "last": float(pd.read_csv(run / "history.csv")["accuracy"].iloc[-1]),
                "tta": float(passes["best"].metrics["accuracy"]),
                "last_tta": float(passes["last"].metrics["accuracy"]),
            }
        )
    table = pd.DataFrame(rows)
    columns = ["accuracy", "last", "tta", "last_tta", "padded_cmap_5", "seconds_per_epoch"]
    save("esc50", {"folds": rows, "mean": table[columns].mean().to_dict()})
    print(table[["name", *columns]].to_string(index=False))


if __name__ == "__main__":
    default = Path("runs/esc50-all")
    main(Path(sys.argv[sys.argv.index("--output") + 1]) if "--output" in sys.argv else default)
