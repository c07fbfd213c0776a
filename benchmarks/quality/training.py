"""Measure how long training waits for data, and its speed against a plain loop.

    python -m benchmarks.quality.training [--clips N]

Prepares clips of ESC-50 as a user would, trains the default recipe's network on them for an epoch,
and runs the shortest possible loop over tensors in memory: forward, loss, backward, step. Three
alternating rounds; saves docs/results/training.json (gpu.json where there is a GPU). Needs the data
folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from torch.nn import functional as F

from benchmarks.quality import scenes
from benchmarks.store import save
from sed.models.devices import choose_precision
from sed.models.heads.attention import SedOutput
from sed.models.losses import LOSSES
from train.config.recipe import load_recipe
from train.config.train import TrainConfig
from train.loop.initial import build_model
from train.loop.optimizer import freeze_stages, train_mode
from train.prepare.prepare import prepare
from train.run.train import train

ROUNDS = 3


def plain_loop(config: TrainConfig, n_clips: int, device: torch.device) -> float:
    """Return clips per second of the same network, loss and optimizer over tensors in memory."""
    optim = config.optim
    n_samples = round(config.data.window_seconds * config.log_mel.sample_rate)
    clips = 0.1 * torch.randn(n_clips, n_samples)
    targets = F.one_hot(torch.arange(n_clips) % 50, 50).float()
    model = build_model(config, [str(i) for i in range(50)])[0].to(device)
    model.to(memory_format=torch.channels_last)
    train_mode(model, freeze_stages(model, optim.frozen_stages), batch_norm="frozen")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    precision = choose_precision(optim.precision, device)
    started = time.perf_counter()
    for first in range(0, n_clips - optim.batch_size + 1, optim.batch_size):
        chosen = slice(first, first + optim.batch_size)
        columns = model.log_mel.forward_padded(clips[chosen].to(device))
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output = model.forward_log_mel(columns)
        output = SedOutput(*(part.float() for part in output))
        loss = LOSSES[config.loss.name](output, targets[chosen].to(device)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()
    return n_clips // optim.batch_size * optim.batch_size / (time.perf_counter() - started)


def measure(n_clips: int) -> dict[str, object]:
    """Return the results of all rounds."""
    config = load_recipe("default")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    esc50 = scenes.shared_folder() / "data" / "esc50"
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "esc50.csv"
        rows = pd.read_csv(esc50 / "esc50.csv")
        chosen = pd.concat([rows[rows["fold"] == 1][:64], rows[rows["fold"] != 1][:n_clips]])
        known = set(chosen[chosen["fold"] != 1]["category"])
        chosen = chosen[chosen["category"].isin(known)]
        chosen["filename"] = [str(esc50 / "audio" / name) for name in chosen["filename"]]
        chosen.to_csv(table, index=False)
        prepared = Path(folder) / "prepared"
        prepare(table, prepared, sample_rate=config.log_mel.sample_rate)
        for i in range(ROUNDS):
            run = Path(folder) / f"run{i}"
            train(prepared / "index.csv", 0, epochs=1, output=run, device=str(device))
            row = pd.read_csv(run / "history.csv").iloc[0]
            plain = plain_loop(config, n_clips, device)
            rounds.append(
                {
                    "data_wait_fraction": row["data_wait_fraction"],
                    "clips_per_second": row["clips_per_second"],
                    "plain_clips_per_second": plain,
                    "ratio": row["clips_per_second"] / plain,
                }
            )
    middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    return {"n_clips": n_clips, "rounds": rounds, "median": middle}


if __name__ == "__main__":
    n_clips = int(sys.argv[sys.argv.index("--clips") + 1]) if "--clips" in sys.argv else 640
    result = measure(n_clips)
    save("gpu" if torch.cuda.is_available() else "training", result)
    print(json.dumps(result["median"], indent=1))
