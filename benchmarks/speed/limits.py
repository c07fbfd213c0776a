"""Measure the whole command against its limit: stages, formats and a network of BirdCLEF's size."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.speed import rivals as rival_programs
from benchmarks.speed.command import RUNS, Run, detect, median
from benchmarks.speed.recordings import Setup
from benchmarks.store import Results

if TYPE_CHECKING:
    from streaming.bench.stages import Stages

FORMATS, KILOHERTZ = ("wav", "flac", "ogg", "mp3"), (16, 32, 48)


def stages(setup: Setup) -> Results:
    """Measure the stages, the limit and the whole command."""
    paths = {"OGG 32 kHz": setup.recording("ogg", 32), "WAV 16 kHz": setup.recording("wav", 16)}
    return {"rows": against_limits(paths)}


def formats(setup: Setup) -> Results:
    """Measure every format at every sample rate."""
    paths = {
        f"{suffix.upper()} {kilohertz} kHz": setup.recording(suffix, kilohertz)
        for suffix in FORMATS
        for kilohertz in KILOHERTZ
    }
    return {"rows": against_limits(paths)}


def b0(setup: Setup) -> Results:
    """Measure a network of BirdCLEF's size: tf_efficientnet_b0, 128 mels at 32 kHz."""
    path = setup.folder / "b0.safetensors"
    save_untrained_b0(path)
    return {"rows": against_limits({"OGG 32 kHz": setup.recording("ogg", 32)}, path)}


def against_limits(paths: dict[str, Path], model: Path | None = None) -> list[Results]:
    """Return the stages, the limit and the whole command of each recording."""
    from streaming.bench.stages import measure_stages
    from streaming.engines.select import open_engine
    from streaming.pipeline.config import DetectorConfig

    options = ("--hop", "5") if model is None else ("--hop", "5", "--model", str(model))
    engine = open_engine(model)
    config = DetectorConfig(hop_seconds=5.0, batch_size=None)
    costs: dict[str, list[Stages]] = {name: [] for name in paths}
    runs: dict[str, list[Run]] = {name: [] for name in paths}
    for _ in range(RUNS):
        for name, path in paths.items():
            costs[name].append(measure_stages(path, engine, config))
            runs[name].append(detect(path, *options))
    return [{"name": name} | against_limit(costs[name], runs[name]) for name in paths]


def against_limit(costs: Sequence[Stages], runs: Sequence[Run]) -> Results:
    """Return the medians of some runs, and of the limits that were measured with them."""
    from sed.models.devices import n_cores

    limits = [cost.throughput_limit(n_cores()) for cost in costs]
    speeds = [run.speed for run in runs]
    all_costs = [dataclasses.asdict(cost) for cost in costs]
    return {
        "stages": {
            name: None if cost is None else statistics.median(costs[name] for costs in all_costs)
            for name, cost in all_costs[0].items()
        },
        "n_cores": n_cores(),
        "limit": statistics.median(limits),
        "efficiency": statistics.median(a / b for a, b in zip(speeds, limits, strict=True)),
        "lowest": min(speeds),
        "highest": max(speeds),
    } | median(runs)._asdict()


def save_untrained_b0(path: Path) -> None:
    """Save an untrained checkpoint of the size of BirdCLEF's winners."""
    import torch

    from sed.features.log_mel import LogMelConfig
    from sed.models.backbone import ModelConfig
    from sed.models.checkpoint import Checkpoint, save_checkpoint
    from sed.models.network import SedModel

    log_mel = LogMelConfig(
        sample_rate=32_000,
        win_length=1_024,
        hop_length=500,
        n_fft=1_024,
        n_mels=128,
        f_min=50.0,
        f_max=16_000.0,
        mel_scale="slaney",
        filter_interpolation="hz",
        power=2,
        log="db",
        amin=1e-10,
        mean=-40.0,
        std=20.0,
    )
    torch.manual_seed(0)
    labels = tuple(f"species {i}" for i in range(rival_programs.N_CLASSES))
    model = SedModel(ModelConfig("tf_efficientnet_b0"), log_mel, len(labels)).eval()
    save_checkpoint(Checkpoint(model, labels), path)
